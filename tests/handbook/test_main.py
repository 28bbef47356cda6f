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
    """The documents and what makes a site of them, free to be damaged."""
    for name in tracked():
        if (
            name.startswith(("docs/", "handbook/"))
            or name.endswith(".md")
            or name == "templates.py"
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, tmp_path / name)
    (tmp_path / "labs" / "kubernetes").mkdir(parents=True)
    (tmp_path / "labs" / "kubernetes" / "identify.py").touch()
    return tmp_path


def test_a_warning_is_an_error_and_a_new_lab_is_picked_up(copied: Path) -> None:
    labs = copied / "docs" / "labs"
    (labs / "02-images.md").write_text(
        "# Images\n\n[the source](../../labs/kubernetes/identify.py)\n"
    )
    (labs / "README.md").write_text("# The course\n")
    (labs / "glossary.md").write_text(
        "# Words\n\n```mermaid\nflowchart LR\n  a --> b[<two>]\n```\n"
    )
    out = copied / "site"
    code, said = build_site(out, "--repository", "https://example.org/r", project=copied)
    assert code == 0, said
    navigation = (out / "index.html").read_text(encoding="utf-8").partition("sidebar-tree")[2]
    labs_part = navigation.partition("Labs")[2].partition("Run it")[0]
    assert re.findall(r'href="([^"]*)"', labs_part) == [
        f"labs/{name}.html" for name in ("index", "02-images", "10-kubernetes", "glossary")
    ]
    page = (out / "labs" / "02-images.html").read_text(encoding="utf-8")
    assert 'href="https://example.org/r/blob/main/labs/kubernetes/identify.py"' in page
    (labs / "02-images.md").write_text("# Images\n\n[gone](../cost.md#nothing), [gone](../no.md)\n")
    (labs / "glossary.md").write_text("# Words\n\n```mermaid\nsequenceDiagram\n```\n")
    code, said = build_site(out, project=copied)
    assert code != 0
    assert "nothing" in said
    assert "no.md" in said
    assert "expected a flowchart, got 'sequenceDiagram'" in said
