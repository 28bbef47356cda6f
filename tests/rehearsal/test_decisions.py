"""What is decided of a task is carried out as its definition says."""

from __future__ import annotations

import pytest

from templates import Graph
from tests.rehearsal.acting import acting_world


def test_a_container_is_essential_unless_its_definition_says_the_word_for_no(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = acting_world(graph, monkeypatch)
    try:
        (task, *_) = world.state.tasks.values() or [None]
        while task is None:
            world.tick()
            (task, *_) = world.state.tasks.values() or [None]
        definition = world.definitions[task.definition.name]
        found = []
        for essential in (True, "true", False, "false"):
            for container in definition.properties["ContainerDefinitions"]:
                container["Essential"] = essential
            record = world._decisions.note(task)
            found += [one.essential for one in record.containers.values()]
        assert found == [True, True, False, False]
    finally:
        world.close()
