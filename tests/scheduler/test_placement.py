"""A task goes where the documented greedy rule says, as long as any instance holds it."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model import Constraint, Instance, InstanceKind, Strategy, TaskDefinition
from scheduler.placement import Request, place, refusals
from tests.scheduler.clusters import BY_INSTANCE, BY_ZONE, KIND, TASK, instance

BIG = TaskDefinition("big", cpu=1024, memory=1000)
BINPACK = Strategy("binpack", "memory")
HTTP = (80, "tcp")


def used(one: Instance, **left: int) -> Instance:
    for name, value in left.items():
        setattr(one, name, value)
    return one


def fits(request: Request, one: Instance) -> bool:
    return bool(place(request, 1, [one], random=Random(0)))


def names(request: Request, count: int, instances: list[Instance], seed: int = 0) -> list[str]:
    return [one.id for one in place(request, count, instances, random=Random(seed))]


CPU = "has insufficient CPU units available"
MEMORY = "has insufficient memory available"
PORTS = "is already using a port required by your task"
INTERFACES = "has insufficient ENI capacity available"


@pytest.mark.parametrize(
    ("need", "left", "code", "words"),
    [
        ({"cpu": 300}, {"cpu_left": 299}, "RESOURCE:CPU", CPU),
        ({"memory": 300}, {"memory_left": 299}, "RESOURCE:MEMORY", MEMORY),
        ({"host_ports": frozenset({HTTP})}, {"host_ports": {HTTP}}, "RESOURCE:PORTS", PORTS),
        ({"dynamic_ports": 2}, {"dynamic_ports_left": 1}, "RESOURCE:PORTS", PORTS),
        ({"interfaces": 1}, {"interfaces_left": 0}, "RESOURCE:ENI", INTERFACES),
        ({}, {"agent": False}, "AGENT", 'encountered error "AGENT"'),
        ({}, {"status": "DRAINING"}, "INACTIVE", "is DRAINING"),
    ],
)
def test_what_does_not_fit_is_refused_with_ecs_words(
    need: dict[str, Any], left: dict[str, Any], code: str, words: str
) -> None:
    asked = TaskDefinition("t", **{"cpu": 1, "memory": 1, **need})
    one = instance("i-1", **left)
    request = Request(asked, "g")
    assert not fits(request, one)
    assert [(each.code, each.words) for each in refusals(request, [one])] == [(code, words)]


def test_every_resource_may_be_used_to_the_last_of_it() -> None:
    need = TaskDefinition("t", cpu=2048, memory=4000, dynamic_ports=100, interfaces=3)
    assert names(Request(need, "g"), 2, [instance("i-1")]) == ["i-1"]


def test_a_port_that_the_host_itself_takes_is_never_given() -> None:
    need = TaskDefinition("t", 1, 1, host_ports=frozenset({(51678, "tcp")}))
    assert not fits(Request(need, "g"), instance("i-1"))


def test_a_host_port_is_given_once_an_instance() -> None:
    need = TaskDefinition("t", 1, 1, host_ports=frozenset({HTTP}))
    found = names(Request(need, "g"), 3, [instance("i-1"), instance("i-2")])
    assert sorted(found) == ["i-1", "i-2"]


def test_each_protocol_has_host_ports_of_its_own() -> None:
    one = instance("i-1", host_ports={(53, "tcp")})
    for protocol, has_room in (("tcp", False), ("udp", True)):
        need = TaskDefinition("t", 1, 1, host_ports=frozenset({(53, protocol)}))
        assert fits(Request(need, "g"), one) is has_room
        assert bool(refusals(Request(need, "g"), [one])) is not has_room


def test_distinct_instances_hold_one_task_of_the_group_each() -> None:
    request = Request(TASK, "g", constraints=(Constraint("distinctInstance"),))
    busy = instance("i-1")
    busy.of_group["g"] = 1
    assert names(request, 3, [busy, instance("i-2")]) == ["i-2"]
    (refused,) = refusals(request, [busy])
    assert "distinctInstance" in refused.code


def test_a_member_of_constraint_is_the_services_or_the_task_definitions() -> None:
    arm = Constraint("memberOf", "attribute:ecs.cpu-architecture == arm64")
    of_arm = instance(
        "i-2", kind=InstanceKind("m7g", 2048, 4000, 3, 9, {"ecs.cpu-architecture": "arm64"})
    )
    for request in (
        Request(TASK, "g", constraints=(arm,)),
        Request(TaskDefinition("t", 1, 1, constraints=(arm,)), "g"),
    ):
        assert names(request, 1, [instance("i-1"), of_arm]) == ["i-2"]
        assert refusals(request, [instance("i-1")])[0].code == "ATTRIBUTE"


def test_binpack_takes_the_instance_with_the_least_left() -> None:
    instances = [used(instance("i-1"), memory_left=3000), used(instance("i-2"), memory_left=2000)]
    assert names(Request(BIG, "g", (BINPACK,)), 3, instances) == ["i-2", "i-2", "i-1"]
    by_cpu = [used(instance("i-1"), cpu_left=1500), used(instance("i-2"), cpu_left=1100)]
    assert names(Request(BIG, "g", (Strategy("binpack", "CPU"),)), 1, by_cpu) == ["i-2"]


def test_spread_takes_the_zone_with_the_fewest_of_the_groups_tasks() -> None:
    instances = [instance("i-1", "a"), instance("i-2", "a"), instance("i-3", "b")]
    instances[0].of_group["g"] = 2
    request = Request(TASK, "g", (BY_ZONE, BY_INSTANCE))
    assert names(request, 4, instances) == ["i-3", "i-3", "i-2", "i-3"]


def test_spread_counts_tasks_on_instances_that_take_none_now() -> None:
    full, room = instance("i-1", "a", status="DRAINING"), instance("i-2", "a")
    full.of_group["g"] = 1
    request = Request(TASK, "g", (BY_ZONE,))
    assert names(request, 1, [full, room, instance("i-3", "b")]) == ["i-3"]


def test_strategies_apply_one_after_the_other() -> None:
    instances = [
        used(instance("i-1", "a"), memory_left=3000),
        used(instance("i-2", "a"), memory_left=2000),
        used(instance("i-3", "b"), memory_left=4000),
    ]
    request = Request(BIG, "g", (BY_ZONE, BINPACK))
    assert names(request, 3, instances) == ["i-2", "i-3", "i-2"]


def test_a_request_for_one_zone_stays_in_it() -> None:
    request = Request(TASK, "g", zone="b")
    assert names(request, 1, [instance("i-1", "a"), instance("i-2", "b")]) == ["i-2"]
    assert refusals(request, [instance("i-1", "a")])[0].code == "LOCATION"


def test_random_takes_each_instance_as_often_as_another() -> None:
    instances = [instance(f"i-{number}") for number in range(4)]
    request = Request(TaskDefinition("t", 1, 1), "g", (Strategy("random"),))
    counts = Counter(names(request, 1600, instances))
    assert all(330 < counts[one.id] < 470 for one in instances), counts


def test_a_task_without_strategies_goes_anywhere() -> None:
    instances = [instance(f"i-{number}") for number in range(8)]
    found = {names(Request(TASK, "g"), 1, instances, seed)[0] for seed in range(40)}
    assert len(found) > 4


def test_the_instances_stay_as_they_are() -> None:
    one = instance("i-1")
    place(Request(TASK, "g"), 3, [one], random=Random(0))
    assert (one.cpu_left, one.tasks, one.of_group) == (KIND.cpu, {}, Counter())


def test_the_closest_match_comes_first() -> None:
    near = used(instance("near"), memory_left=400)
    far = used(instance("far"), memory_left=10)
    worse = used(instance("worse"), memory_left=400, cpu_left=0)
    found = refusals(Request(TASK, "g"), [worse, far, near, instance("fits")])
    assert [one.instance.id for one in found] == ["near", "far", "worse"]


# The documented rule, computed as plainly as it can be: of the instances that fit, keep those that
# are best by the first strategy, of these those that are best by the second, and so on.


def naive(request: Request, one: list[Instance]) -> set[str]:
    best = [each for each in one if fits(request, each)]
    for strategy in request.strategies:
        scores = {each.id: score(strategy, each, one, request.group) for each in best}
        best = [each for each in best if scores[each.id] == min(scores.values())]
    return {each.id for each in best}


def score(strategy: Strategy, one: Instance, every: list[Instance], group: str) -> float:
    if strategy.kind == "binpack":
        return one.cpu_left if strategy.field == "cpu" else one.memory_left
    if strategy.kind == "random":
        return 0
    if strategy.field == "instanceId":
        return one.of_group[group]
    # Within what the strategies before it chose; they are spreads over zones, or come alone.
    name = strategy.field.removeprefix("attribute:")
    return sum(
        each.of_group[group] for each in every if each.attributes[name] == one.attributes[name]
    )


def hold(one: Instance, need: TaskDefinition, group: str) -> None:
    one.cpu_left -= need.cpu
    one.memory_left -= need.memory
    one.interfaces_left -= need.interfaces
    one.dynamic_ports_left -= need.dynamic_ports
    one.host_ports |= need.host_ports
    one.of_group[group] += 1


STRATEGIES = [
    (BINPACK,),
    (Strategy("binpack", "cpu"), BINPACK),
    (BY_ZONE,),
    (BY_INSTANCE,),
    (BY_ZONE, BINPACK),
    (BY_ZONE, BY_INSTANCE),
    (BY_ZONE, BY_INSTANCE, Strategy("binpack", "cpu")),
    (BY_INSTANCE, BY_ZONE),
    (BINPACK, BY_ZONE),
    (Strategy("random"),),
    (BY_ZONE, Strategy("random")),
]


def any_request(chance: Random) -> Request:
    need = TaskDefinition(
        "t",
        cpu=chance.choice([1, 1, 256, 700]),
        memory=chance.choice([1, 1, 500, 1500]),
        host_ports=chance.choice([frozenset()] * 3 + [frozenset({HTTP})]),
        dynamic_ports=chance.choice([0, 0, 1, 2]),
        interfaces=chance.choice([0, 0, 1]),
    )
    constraints = (Constraint("distinctInstance"),) if chance.random() < 0.2 else ()
    return Request(need, "g", chance.choice(STRATEGIES), constraints)


def any_cluster(chance: Random) -> list[Instance]:
    found = []
    for number in range(chance.randint(0, 7)):
        one = instance(
            f"i-{number}",
            chance.choice("abc"),
            agent=chance.random() < 0.9,
            status=chance.choice(["ACTIVE"] * 6 + ["DRAINING"]),
        )
        one.cpu_left = chance.choice([100, 1000, 2048])
        one.memory_left = chance.choice([400, 2000, 4000])
        one.interfaces_left = chance.randint(0, 3)
        one.dynamic_ports_left = chance.randint(0, 5)
        one.host_ports = chance.choice([set(), set(), {HTTP}])
        one.of_group["g"] = chance.choice([0, 0, 1, 2])
        found.append(one)
    return found


@settings(max_examples=500)
@given(st.randoms(use_true_random=True))
def test_each_choice_is_the_documented_one_and_none_is_missed(chance: Random) -> None:
    cluster, request, count = any_cluster(chance), any_request(chance), chance.randint(1, 8)
    placed = place(request, count, cluster, random=chance)
    for one in placed:
        assert one.id in naive(request, cluster)
        hold(one, request.definition, "g")
    assert len(placed) == count or not any(fits(request, one) for one in cluster)


@settings(max_examples=200)
@given(st.randoms(use_true_random=True))
def test_every_instance_that_is_not_refused_can_take_the_task(chance: Random) -> None:
    cluster, request = any_cluster(chance), any_request(chance)
    refused = {each.instance.id for each in refusals(request, cluster)}
    assert {one.id for one in cluster if fits(request, one)} == {
        one.id for one in cluster
    } - refused
