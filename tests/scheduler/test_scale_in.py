"""Too many tasks go where the service's strategies say, one after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import scale_in
from scheduler.actions import Start
from scheduler.model import Instance, Service, Strategy, Task, TaskDefinition
from scheduler.placement import SERVICE_DEFAULT
from scheduler.state import State
from tests.scheduler.clusters import BY_INSTANCE, BY_ZONE, TASK, WEB, instance, state


def running(
    where: list[Instance], strategies: tuple[Strategy, ...] = (), *, seed: int = 0
) -> tuple[State, Service]:
    """A service with a running task on each of those instances, one more for each mention."""
    cluster = state(dict.fromkeys(where), seed=seed)
    service = cluster.deploy(replace(WEB, strategies=strategies), len(where), 0)
    for number, one in enumerate(where):
        start = Start(f"t{number}", "web", service.primary.id, TASK, one.id)
        cluster.apply(start, 0)
        cluster.started(f"t{number}", 0)
    return cluster, service


def chosen(cluster: State, service: Service, count: int) -> list[str]:
    found = scale_in.choose(cluster, service, list(cluster.tasks.values()), count, 0)
    return [task.instance.id if task.instance else "" for task in found]


A1, A2, B1 = "a1", "a2", "b1"


def hosts() -> dict[str, Instance]:
    return {name: instance(name, name[0]) for name in (A1, A2, B1)}


def test_without_strategies_the_fullest_zone_and_in_it_the_fullest_instance_give() -> None:
    at = hosts()
    cluster, service = running([at[A1], at[A1], at[A2], at[B1]])
    assert chosen(cluster, service, 1) == [A1]
    assert Counter(name[0] for name in chosen(cluster, service, 3)) == {"a": 2, "b": 1}


def test_a_spread_over_zones_keeps_them_even() -> None:
    at = hosts()
    cluster, service = running([at[A1]] * 4 + [at[B1]] * 2, (BY_ZONE,))
    assert chosen(cluster, service, 2) == [A1, A1]
    assert Counter(chosen(cluster, service, 4)) == {A1: 3, B1: 1}


def test_a_spread_over_an_attribute_looks_at_that_attribute() -> None:
    at = hosts()
    at[A1].attributes["rack"] = at[B1].attributes["rack"] = "1"
    at[A2].attributes["rack"] = "2"
    cluster, service = running([at[A1], at[A2], at[B1]], (Strategy("spread", "attribute:rack"),))
    assert chosen(cluster, service, 1)[0] in {A1, B1}


def test_a_binpack_empties_the_instance_that_is_left_with_the_most_room() -> None:
    at = hosts()
    cluster, service = running([at[A1]] * 3 + [at[A2]] * 2, (Strategy("binpack", "memory"),))
    assert chosen(cluster, service, 3) == [A2, A2, A1]


def test_within_a_zone_chance_decides() -> None:
    found = set()
    for seed in range(20):
        at = hosts()
        cluster, service = running([at[A1], at[A2]], (BY_ZONE,), seed=seed)
        found.add(chosen(cluster, service, 1)[0])
    assert found == {A1, A2}


def test_tasks_that_do_not_run_yet_go_first() -> None:
    at = hosts()
    cluster, service = running([at[A1], at[A1], at[A1]], (BY_ZONE,))
    cluster.add_instance(at[B1])
    cluster.apply(Start("new", "web", service.primary.id, TASK, B1), 0)
    cluster.apply(Start("waits", "web", service.primary.id, TASK, None), 0)
    assert chosen(cluster, service, 3) == ["", B1, A1]


def test_a_protected_task_never_goes() -> None:
    at = hosts()
    cluster, service = running([at[A1], at[B1]])
    cluster.tasks["t0"].protected_until = 10
    assert chosen(cluster, service, 2) == [B1]


def naive(service: Service, left: list[Task], gone: list[Task]) -> list[Task]:
    """The tasks of which any may go next, by plainly asking every strategy in turn."""
    best = [task for task in left if task.status != "RUNNING"] or left
    for strategy in service.definition.strategies or SERVICE_DEFAULT:
        scores = [rank(strategy, task, left, gone) for task in best]
        best = [task for task, each in zip(best, scores, strict=True) if each == max(scores)]
    return best


def rank(strategy: Strategy, task: Task, left: list[Task], gone: list[Task]) -> int:
    one = task.instance
    assert one is not None
    if strategy.kind == "binpack":
        freed = sum(each.definition.memory for each in gone if each.instance is one)
        return one.memory_left + freed + task.definition.memory
    if strategy.kind == "random":
        return 0
    if strategy.field == "instanceId":
        return sum(each.instance is one for each in left)
    return sum(each.instance is not None and each.instance.zone == one.zone for each in left)


STRATEGIES = [
    (),
    (BY_ZONE,),
    (BY_ZONE, BY_INSTANCE),
    (BY_ZONE, Strategy("binpack", "memory")),
    (Strategy("binpack", "memory"),),
    (BY_INSTANCE,),
    (Strategy("random"),),
    (BY_INSTANCE, BY_ZONE),
]


@settings(max_examples=300)
@given(st.randoms(use_true_random=True))
def test_each_choice_is_the_documented_one(chance: Random) -> None:
    where = [chance.choice(["a1", "a2", "b1", "b2", "c1"]) for _ in range(chance.randint(1, 12))]
    at = {name: instance(name, name[0]) for name in sorted(set(where))}
    cluster, service = running([at[name] for name in where], chance.choice(STRATEGIES))
    for task in cluster.tasks.values():
        task.status = chance.choice(["RUNNING", "RUNNING", "PENDING"])
    count = chance.randint(0, len(where) + 1)
    found = scale_in.choose(cluster, service, list(cluster.tasks.values()), count, 0)
    assert len(found) == min(count, len(where))
    left, gone = list(cluster.tasks.values()), list[Task]()
    for task in found:
        assert task in naive(service, left, gone)
        left.remove(task)
        gone.append(task)


def test_definitions_of_different_size_on_one_instance_are_told_apart() -> None:
    one = instance("i-1")
    cluster, service = running([one], (Strategy("binpack", "memory"),))
    big = TaskDefinition("big", cpu=1, memory=900)
    cluster.apply(Start("big", "web", service.primary.id, big, "i-1"), 0)
    cluster.started("big", 0)
    found = scale_in.choose(cluster, service, list(cluster.tasks.values()), 1, 0)
    assert [task.id for task in found] == ["big"]


@pytest.mark.parametrize("count", [0, -1])
def test_none_go_where_none_are_too_many(count: int) -> None:
    cluster, service = running([instance("i-1")])
    assert scale_in.choose(cluster, service, list(cluster.tasks.values()), max(count, 0), 0) == []
