"""The diagrams in the repository are those of its templates."""

from __future__ import annotations

from pathlib import Path

import pytest

import templates
from handbook.diagrams import DIAGRAMS, files, write
from handbook.environments import pictures
from tests.conftest import PROJECT


def test_the_diagrams_in_the_repository_are_those_of_the_templates(
    graph: templates.Graph, request: pytest.FixtureRequest
) -> None:
    found = files(pictures(graph))
    if request.config.getoption("--accept-snapshots"):
        write(found, PROJECT)
    assert {path for path in found if path.suffix == ".svg"} == {
        path.relative_to(PROJECT) for path in (PROJECT / DIAGRAMS).iterdir()
    }
    for path, content in found.items():
        stored = (PROJECT / path).read_text(encoding="utf-8")
        assert stored == content, f"{path} is not of these templates: make snapshots"


def test_a_picture_of_what_is_no_more_is_removed(tmp_path: Path, graph: templates.Graph) -> None:
    (tmp_path / DIAGRAMS).mkdir(parents=True)
    (tmp_path / DIAGRAMS / "staging-stacks.svg").touch()
    write(files(pictures(graph)), tmp_path)
    assert len(list((tmp_path / DIAGRAMS).iterdir())) == 6
