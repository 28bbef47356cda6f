"""A page of a real Chromium, whose errors are the test's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.chromium import browser as browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own; an error in its scripts, or against its policy, fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    # That a server is gone, or refuses, is for the page to show, and Chromium says it too.
    assert [one for one in wrong if not one.startswith("Failed to load resource")] == []
