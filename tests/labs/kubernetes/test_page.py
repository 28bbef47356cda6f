"""docs/labs/10-kubernetes.md says what the manifests say, and links both sides' pages."""

from __future__ import annotations

import re
import shlex

import pytest

import templates
from labs.kubernetes.environment import KUBERNETES, translate
from labs.kubernetes.notes import NO_COUNTERPART
from tests.conftest import Assembly
from tests.labs.pages import PAGES, commands

PAGE = PAGES / "10-kubernetes.md"
TEXT = PAGE.read_text(encoding="utf-8")
WORDS = {
    "task definition": "Pod",
    "task": "Pod",
    "service": "Deployment",
    "target group": "Service",
    "capacity provider": "node pool",
}


def rows(title: str) -> list[list[str]]:
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\|(.*)\|$", section, re.MULTILINE)[2:]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_every_word_of_either_side_links_its_own_page() -> None:
    found = rows("The words")
    for ours, theirs, *_ in found:
        assert "https://docs.aws.amazon.com/" in ours, ours
        assert "https://kubernetes.io/docs/" in theirs, theirs
    for ecs, kubernetes in WORDS.items():
        pairs = [(ours, theirs) for ours, theirs, *_ in found if f"[{ecs}]" in ours]
        assert any(kubernetes in theirs for _, theirs in pairs), ecs
    assert any("[ReplicaSet]" in theirs for _, theirs, *_ in found)


@pytest.mark.parametrize("name", ["sandbox", "production"])
def test_everything_without_a_counterpart_stands_on_the_page(
    graph: templates.Graph, name: str
) -> None:
    environment = translate(graph, name)
    check([*environment.notes, *(note for one in environment.services for note in one.notes)])


def test_so_does_what_the_other_settings_bring(variants: Assembly) -> None:
    graph = templates.read(variants.directory)
    for name in ("bluegreen", "canary", "linear"):
        check([note for one in translate(graph, name).services for note in one.notes])


def check(notes: list[templates.Value]) -> None:
    listed = " ".join(cell for row in rows("What has no counterpart") for cell in row)
    for note in notes:
        if note.kind == NO_COUNTERPART:
            properties = note.place.split(".")[1:]
            own = [part for part in properties if part not in ("web", "quotes")]
            assert any(part in listed for part in own), note.place


def test_every_command_can_be_copied_and_none_is_left_to_clean_up() -> None:
    found = [command.text for command in commands(PAGE)]
    assert len(found) > 10
    for text in found:
        assert shlex.split(text)
    assert any("kube play" in text for text in found)
    assert any("kube down" in text for text in found)


def test_the_releases_are_those_of_the_schemas() -> None:
    assert f"Kubernetes {KUBERNETES[1]} and {KUBERNETES[0]}" in TEXT
