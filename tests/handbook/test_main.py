"""The site is built strictly, from whatever documents there are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import PROJECT, tracked
from tests.handbook.conftest import build_site


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The project's files, free to be damaged."""
    for name in tracked():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def test_a_warning_is_an_error_and_a_new_lab_is_picked_up(copied: Path) -> None:
    labs = copied / "docs" / "labs"
    new, before = labs / "12-more.md", sorted(path.stem for path in labs.glob("[0-9]*.md"))
    new.write_text(
        "# More\n\n[the source](../../labs/kubernetes/identify.py)\n\n"
        "```mermaid\nflowchart LR\n  a --> b[<two>]\n```\n"
    )
    out = copied / "site"
    code, said = build_site(out, "--repository", "https://example.org/r", project=copied)
    assert code == 0, said
    navigation = (out / "index.html").read_text(encoding="utf-8").partition("sidebar-tree")[2]
    labs_part = navigation.partition("Labs")[2].partition("Run it")[0]
    assert re.findall(r'href="([^"]*)"', labs_part) == [
        f"labs/{name}.html" for name in ("index", *before, "12-more", "glossary")
    ]
    page = (out / "labs" / "12-more.html").read_text(encoding="utf-8")
    assert 'href="https://example.org/r/blob/main/labs/kubernetes/identify.py"' in page
    new.write_text(
        "# More\n\n[gone](../cost.md#nothing), [gone](../no.md)\n\n"
        "```mermaid\nsequenceDiagram\n```\n"
    )
    code, said = build_site(out, project=copied)
    assert code != 0
    assert "nothing" in said
    assert "no.md" in said
    assert "expected a flowchart, got 'sequenceDiagram'" in said
