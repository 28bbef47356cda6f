"""What is in an environment is found, however much of it there is and wherever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from labs.commands import _exports
from labs.place import Place
from ops.environment import Environment
from ops.watch.connection import Connection
from settings import merge, parse
from tests.labs.pages import PAGES
from tests.ops.world import World, microservice

ARN = "arn:aws:ecs:us-east-1:123456789012"


def with_monolith(world: World, place: Place, values: dict[str, Any]) -> Place:
    """Give the same place, whose settings name the monolith too."""
    lab = json.loads((PAGES / "monolith.json").read_text(encoding="utf-8"))
    settings = parse(merge(values, lab))["sandbox"]
    connection = Connection(world.environment, world.aws, "AWS")
    return Place(Environment("sandbox", settings), lambda: connection, place.notes)


def test_services_that_the_settings_name_and_nobody_deployed_are_left_out(
    world: World, boats: Place, values: dict[str, Any]
) -> None:
    place = with_monolith(world, boats, values)
    assert (place.service, place.other_services(), place.service_named("quotes")) == ("web", [], "")
    world.make_stack("Sandbox-Quotes", microservice("quotes"))
    world.make_stack("Sandbox-Monolith", microservice("monolith"))
    place = with_monolith(world, boats, values)
    assert set(place.other_services()) == {"quotes", "monolith"}
    assert place.service_named("quotes") == "quotes"


def test_a_shell_knows_quotes_by_name_whatever_else_is_there(
    world: World, boats: Place, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("target_group", "provider", "url"):
        monkeypatch.setattr(Place, name, name)
    assert not [line for line in _exports(boats) if "QUOTES" in line]
    world.make_stack("Sandbox-Quotes", microservice("quotes"))
    place = with_monolith(world, boats, values)
    assert "export QUOTES=quotes" in list(_exports(place))
    assert "export OTHERS=quotes" in list(_exports(place))
    world.make_stack("Sandbox-Monolith", microservice("monolith"))
    assert "export QUOTES=quotes" in list(_exports(with_monolith(world, boats, values)))


def test_more_instances_and_tasks_than_a_call_takes_are_all_described(
    world: World, boats: Place
) -> None:
    many = [f"{ARN}:one/{number}" for number in range(250)]

    def described(key: str, name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def answer(given: dict[str, Any]) -> dict[str, Any]:
            assert 0 < len(given[key]) <= 100
            return {key: [{name: arn} for arn in given[key]]}

        return answer

    world.answer("ListContainerInstances", lambda _: {"containerInstanceArns": many})
    world.answer("ListTasks", lambda _: {"taskArns": many})
    world.answer(
        "DescribeContainerInstances", described("containerInstances", "containerInstanceArn")
    )
    world.answer("DescribeTasks", described("tasks", "taskArn"))
    assert [one["containerInstanceArn"] for one in boats.instances()] == many
    assert [one["taskArn"] for one in boats.tasks()] == many
    world.answer("ListContainerInstances", lambda _: {"containerInstanceArns": []})
    assert boats.instances() == []


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:4566"])
def test_it_is_a_rehearsal_only_where_somebody_else_was_named(
    world: World, boats: Place, monkeypatch: pytest.MonkeyPatch, endpoint: str | None
) -> None:
    # As an account is asked by its dual-stack name.
    monkeypatch.setattr(world.aws.ecs.meta, "_endpoint_url", "https://ecs.us-east-1.api.aws")
    assert not boats.is_rehearsal
    connection = Connection(world.environment, world.aws, "somewhere", endpoint=endpoint)
    place = Place(world.environment, lambda: connection)
    assert (place.endpoint, place.is_rehearsal) == (endpoint, endpoint is not None)
