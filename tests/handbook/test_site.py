"""The site holds together: clicked through in Chromium, served and from files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from tests.conftest import tracked

pytestmark = pytest.mark.browser
HOSTS_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
# Documents for a site are all that are for GitHub.
DOCUMENTS = [
    name for name in tracked() if re.fullmatch(r"(docs/.*|README|CONTRIBUTING|CHANGELOG)\.md", name)
]


class Watched:
    """A page that remembers what went wrong on it, and what it asked of another host."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"{self.page.url}: {error}"))
        self.page.on("console", self._note)
        self.page.on("request", self._see)

    def _note(self, said: ConsoleMessage) -> None:
        if said.type in {"error", "warning"}:
            self.wrong.append(f"{self.page.url}: {said.text}")

    def _see(self, request: Request) -> None:
        to = urlsplit(request.url)
        if to.scheme not in {"data", "file"} and to.hostname != "127.0.0.1":
            self.wrong.append(f"{self.page.url} asks {request.url}")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page of a desk's width; whatever went wrong on it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    found = Watched(context)
    yield found
    context.close()
    assert found.wrong == []


@pytest.fixture
def phone(browser: Browser) -> Iterator[Watched]:
    """The same of a phone's width, for a reader who likes it dark."""
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True
    )
    found = Watched(context)
    yield found
    context.close()
    assert found.wrong == []


LINKS = "links => links.map(link => link.href)"
PARTS = "parts => parts.map(part => part.id)"


def test_every_page_is_reached_by_links_and_none_is_dead(watched: Watched, address: str) -> None:
    start = f"{address}/index.html"
    waiting, ids, asked = [start], {}, set()
    while waiting:
        here = waiting.pop()
        answer = watched.page.goto(here)
        assert answer is not None
        assert answer.status == 200, here
        ids[here] = set(watched.page.eval_on_selector_all("[id]", PARTS))
        for link in watched.page.eval_on_selector_all("a[href]", LINKS):
            target, part = urldefrag(link)
            if not target.startswith(address):
                to = urlsplit(target)
                assert to.scheme in {"https", "http"}, f"{here}: {link}"
                assert to.hostname, f"{here}: {link}"
                assert to.hostname == "127.0.0.1" or HOSTS_NAME.fullmatch(to.hostname), link
                continue
            asked.add((here, target, part))
            if target not in ids and target not in waiting:
                waiting.append(target)
    dead = {
        (here, target, part) for here, target, part in asked if part and part not in ids[target]
    }
    assert not dead
    assert len(ids) == len(DOCUMENTS)


def test_the_navigation_leads_by_clicks_to_every_part(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"{address}/index.html")
    said = page.locator(".sidebar-tree a").all_inner_texts()
    for wanted in (
        "Start", "Rehearsal", "Conformance table", "Scheduler", "Lab 10: Kubernetes and pods",
        "Operations", "Architecture", "Diagrams", "Findings", "Cost", "Decisions", "Contributing",
        "Changelog",
    ):  # fmt: skip
        assert wanted in said
    assert said.index("Start") == 0
    for name in said:
        page.locator(".sidebar-tree").get_by_role("link", name=name, exact=True).click()
        if name == "Conformance table":
            assert page.url.endswith("/rehearsal.html#conformance")
            assert page.locator("section#conformance table").count() > 1
        else:
            assert page.locator(".sidebar-tree a[aria-current]").inner_text() == name


def test_a_search_finds_a_word_served_and_from_files(
    watched: Watched, address: str, site: Path
) -> None:
    page = watched.page
    for place in (address, site.as_uri()):
        page.goto(f"{place}/cost.html")
        page.locator("input.sidebar-search").fill("hypothesis")
        page.locator("input.sidebar-search").press("Enter")
        found = page.locator("#search-results li a", has_text="Contributing")
        found.first.click()
        assert "/contributing.html" in page.url
        assert "hypothesis" in page.locator("article").inner_text()


# What may be wider scrolls by itself: tables, drawings, code. The theme hides what else sticks out.
STICKS_OUT = """
() => [...document.querySelectorAll("article *")]
  .filter(one => !one.closest(".table-wrapper, .drawing, pre, .headerlink"))
  .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(one => one.outerHTML.slice(0, 80))
"""


def test_no_page_is_wider_than_a_phone(phone: Watched, address: str, site: Path) -> None:
    for path in sorted(site.rglob("*.html")):
        phone.page.goto(f"{address}/{path.relative_to(site).as_posix()}")
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360, path.name
        assert phone.page.evaluate(STICKS_OUT) == [], path.name


def test_a_drawing_has_the_pages_colours_and_words(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"{address}/diagrams.html")
    drawing = page.get_by_role("img", name="The path of a request in Production")
    assert "us-east-1c" in str(drawing.locator("desc").text_content())
    colours = set()
    for theme in ("light", "dark"):
        page.evaluate("theme => document.body.dataset.theme = theme", theme)
        style = "(element, name) => getComputedStyle(element)[name]"
        ink = drawing.locator("text.title").first.evaluate(style, "fill")
        paper = drawing.locator("rect.paper").evaluate(style, "fill")
        assert ink != paper
        colours |= {ink, paper}
    assert len(colours) == 4
