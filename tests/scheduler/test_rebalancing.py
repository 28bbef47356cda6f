"""A service's tasks follow its instances over the zones, one at a time, and then rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.model import Constraint, Service, Strategy
from scheduler.rebalancing import may_rebalance
from scheduler.state import State
from tests.scheduler.clusters import BY_ZONE, WEB, instance, live, messages, state

BALANCED = replace(WEB, rebalancing=True, target_groups=("tg",), strategies=(BY_ZONE,))


def crowded(
    desired: int = 4, *, rebalancing: bool = True, minimum: int = 100
) -> tuple[State, Service]:
    """A steady service with all its tasks in one zone, and instances in another, just there."""
    cluster = state([instance("a-1", "a")])
    definition = replace(BALANCED, rebalancing=rebalancing, minimum_healthy_percent=minimum)
    service = cluster.deploy(definition, desired, 0)
    live(cluster, 30)
    cluster.add_instance(instance("b-1", "b"))
    return cluster, service


def zones(cluster: State) -> dict[str, int]:
    found: dict[str, int] = {}
    for task in cluster.tasks.values():
        if task.wanted and task.instance is not None:
            found[task.instance.zone] = found.get(task.instance.zone, 0) + 1
    return found


def test_tasks_move_to_a_zone_that_has_too_few() -> None:
    cluster, service = crowded()
    live(cluster, 60, since=31)
    assert zones(cluster) == {"a": 2, "b": 2}
    assert service.is_steady


@pytest.mark.parametrize("minimum", [100, 0])
def test_a_task_is_healthy_there_before_one_goes_here(minimum: int) -> None:
    cluster, service = crowded(minimum=minimum)
    healthy = []
    for now in range(31, 91):
        live(cluster, 1, since=now)
        healthy.append(sum(one.was_healthy and one.wanted for one in cluster.tasks.values()))
    assert min(healthy) == 4
    assert max(healthy) <= 5
    assert service.rebalancing is None


def test_what_it_does_is_told() -> None:
    cluster, service = crowded(3)
    live(cluster, 60, since=31)
    told = messages(service)
    assert (
        "(service web) is not AZ balanced with 3 tasks in a, 0 tasks in b. AZ Rebalancing in "
        "progress."
    ) in told
    assert any("has started 1 tasks in b to AZ Rebalance: (task " in one for one in told)
    assert told[-1] == "(service web) is AZ balanced with 2 tasks in a, 1 tasks in b."


@pytest.mark.parametrize("desired", [1, 2, 3, 4, 5, 7])
def test_it_comes_to_rest_and_moves_no_more_than_it_must(desired: int) -> None:
    cluster, service = crowded(desired)
    live(cluster, 100, since=31)
    counts = zones(cluster)
    assert abs(counts.get("a", 0) - counts.get("b", 0)) <= 1
    started = len(cluster.stopped) + len(cluster.tasks)
    assert started == desired + desired // 2
    live(cluster, 100, since=140)
    assert len(cluster.stopped) + len(cluster.tasks) == started
    assert service.is_steady


def test_it_is_off_unless_asked_for() -> None:
    cluster, _ = crowded(rebalancing=False)
    live(cluster, 60, since=31)
    assert zones(cluster) == {"a": 4}


def test_where_the_zone_has_no_place_that_is_told_and_nothing_moves() -> None:
    cluster, service = crowded()
    cluster.instances["b-1"].cpu_left = 0
    live(cluster, 60, since=31)
    assert zones(cluster) == {"a": 4}
    assert messages(service)[-1] == (
        "(service web) is unable to place a task in b because no container instance met all of its "
        "requirements."
    )


def test_a_task_that_dies_on_its_way_is_tried_again() -> None:
    cluster, service = crowded(2)
    while service.rebalancing is None:
        live(cluster, 1, since=31)
    cluster.stopped_itself(service.rebalancing, 32, code="TaskFailedToStart", reason="no image")
    live(cluster, 60, since=32)
    assert zones(cluster) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"strategies": ()}, True),
        ({"strategies": (Strategy("binpack", "memory"), BY_ZONE)}, False),
        ({"maximum_percent": 100}, False),
        (
            {"constraints": (Constraint("memberOf", "attribute:ecs.availability-zone in [a, b]"),)},
            False,
        ),
        ({"rebalancing": False}, False),
    ],
)
def test_only_the_services_that_aws_allows_are_rebalanced(
    changes: dict[str, object], may: bool
) -> None:
    assert may_rebalance(replace(BALANCED, **changes)) is may  # type: ignore[arg-type]
