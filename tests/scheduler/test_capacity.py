"""Hosts come and go as managed scaling, the group, its refresh and managed draining say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest

from scheduler import capacity
from scheduler.actions import Action, Drain, EndInstance, Launch, Resize, Start, Terminate
from scheduler.capacity import DRAIN_SECONDS, additional_instances, measure, termination_order
from scheduler.model import (
    Constraint,
    Group,
    Instance,
    InstanceKind,
    ManagedScaling,
    Reading,
    Refresh,
    Task,
    TaskDefinition,
)
from scheduler.state import State
from tests.scheduler.clusters import KIND, TASK, WEB, Watched, group, instance, state

SERVED = replace(WEB, provider="provider", target_groups=("tg",))


def clustered(made: Group, zones: str = "", *, busy: int = 0) -> State:
    """A group with an instance in each of those zones, the first of them with a task each."""
    cluster = state()
    cluster.add_group(made)
    for number, zone in enumerate(zones):
        cluster.add_instance(
            instance(f"i-{number}", zone, group="group", template="1", launched_at=-9999.0)
        )
    if busy:
        service = cluster.deploy(SERVED, busy, 0)
        for number in range(busy):
            start = Start(f"t{number}", "web", service.primary.id, TASK, f"i-{number}")
            cluster.apply(start, 0)
    return cluster


def waiting(number: int, need: TaskDefinition = TASK, *constraints: Constraint) -> Iterable[Task]:
    for index in range(number):
        yield Task(f"w{index}", "g", need, 0, provider="provider", constraints=constraints)


def decide(cluster: State, now: float = 0) -> list[Action]:
    """One look at the group, with its books kept."""
    done = []
    for action in capacity.decide(cluster, cluster.groups["group"], now):
        cluster.apply(action, now)
        done.append(action)
    return done


def only(done: list[Action], *kinds: type) -> list[Action]:
    return [one for one in done if isinstance(one, kinds)]


# CapacityProviderReservation.


@pytest.mark.parametrize(
    ("zones", "busy", "waits", "value"),
    [
        ("", 0, 0, 100),
        ("", 0, 3, 200),
        ("ab", 2, 0, 100),
        ("ab", 1, 0, 50),
        ("ab", 0, 0, 0),
        ("ab", 2, 8, 150),
        ("ab", 2, 9, 200),
    ],
)
def test_the_reservation_is_instances_needed_over_instances_running(
    zones: str, busy: int, waits: int, value: float
) -> None:
    cluster = clustered(group(), zones, busy=busy)
    for task in waiting(waits):
        cluster.run(task, None)
    assert measure(cluster, cluster.groups["group"], 0).value == value


def test_what_boots_for_a_task_is_not_asked_for_twice() -> None:
    cluster = clustered(group(), "a", busy=1)
    cluster.apply(Launch("i-9", "group", "b", 0, "1"), 0)
    for task in waiting(4):
        cluster.run(task, None)
    reading = measure(cluster, cluster.groups["group"], 0)
    assert (reading.needed, reading.running) == (2, 2)


@pytest.mark.parametrize(
    ("need", "number"),
    [
        (TaskDefinition("cpu", 1024, 1), 5),
        (TaskDefinition("memory", 1, 2000), 5),
        (TaskDefinition("ports", 1, 1, dynamic_ports=50), 5),
        (TaskDefinition("interfaces", 1, 1, interfaces=1), 4),
        (TaskDefinition("host port", 1, 1, host_ports=frozenset({(80, "tcp")})), 10),
    ],
)
def test_waiting_tasks_are_packed_by_every_resource(need: TaskDefinition, number: int) -> None:
    assert additional_instances(group(), waiting(10, need), Random(0)) == number


def test_distinct_instances_need_one_each() -> None:
    asked = waiting(4, TASK, Constraint("distinctInstance"))
    assert additional_instances(group(), asked, Random(0)) == 4


def test_the_largest_kind_counts_and_the_smallest_must_hold_a_task() -> None:
    small = InstanceKind("small", 512, 1000, 3, 100)
    both = group(kinds=(small, KIND))
    assert additional_instances(both, waiting(8), Random(0)) == 1
    assert additional_instances(both, waiting(1, TaskDefinition("big", 1024, 1)), Random(0)) is None


def test_tasks_that_are_not_compatible_leave_the_reservation_at_its_target() -> None:
    cluster = clustered(group(scaling=ManagedScaling(target=80)), "ab", busy=2)
    for task in waiting(1, TaskDefinition("big", 4096, 1)):
        cluster.run(task, None)
    assert measure(cluster, cluster.groups["group"], 0).value == 80


def test_a_task_of_another_provider_asks_for_nothing() -> None:
    cluster = clustered(group(), "a", busy=1)
    for task in waiting(1):
        task.provider = None
        cluster.run(task, None)
    assert measure(cluster, cluster.groups["group"], 0).value == 100


# Managed scaling.


@pytest.mark.parametrize(
    ("scaling", "waits", "desired"),
    [
        (ManagedScaling(), 20, 5),
        (ManagedScaling(minimum_step=4), 4, 6),
        (ManagedScaling(maximum_step=2), 40, 4),
        (ManagedScaling(target=50), 4, 6),
        (ManagedScaling(), 400, 10),
    ],
)
def test_a_scale_out_is_as_large_as_its_steps_let_it(
    scaling: ManagedScaling, waits: int, desired: int
) -> None:
    cluster = clustered(group(scaling=scaling), "ab", busy=2)
    for task in waiting(waits):
        cluster.run(task, None)
    (resize,) = only(decide(cluster), Resize)
    assert isinstance(resize, Resize)
    assert resize.desired == desired


@pytest.mark.parametrize("target", [100, 90, 50])
def test_from_none_it_is_two_instances(target: int) -> None:
    made = group(desired=0, scaling=ManagedScaling(target=target))
    cluster = clustered(made)
    decide(cluster)
    assert made.desired == 0, "nothing is needed yet"
    for task in waiting(30):
        cluster.run(task, None)
    assert len(only(decide(cluster, 60), Launch)) == 2


def test_nothing_is_added_while_an_instance_warms_up() -> None:
    made = group()
    cluster = clustered(made, "ab", busy=2)
    cluster.instances["i-1"].launched_at = 0
    for task in waiting(4):
        cluster.run(task, None)
    assert not only(decide(cluster, 299), Resize)
    assert only(decide(cluster, 360), Resize)


def test_it_looks_each_minute() -> None:
    cluster = clustered(group(), "ab", busy=2)
    decide(cluster, 0)
    for task in waiting(4):
        cluster.run(task, None)
    assert not only(decide(cluster, 59), Resize)
    assert only(decide(cluster, 60), Resize)


def minutes(cluster: State, number: int, *, since: int = 0) -> list[tuple[int, int]]:
    """Let minutes pass; give each at which the desired capacity changed, and to what."""
    found = []
    for minute in range(since, since + number):
        found += [
            (minute, action.desired)
            for action in decide(cluster, minute * 60)
            if isinstance(action, Resize)
        ]
    return found


def test_a_scale_in_takes_fifteen_readings_below_the_target() -> None:
    cluster = clustered(group(), "ab", busy=1)
    assert minutes(cluster, 16) == [(14, 1)]


def test_it_is_at_least_one_and_less_than_half_each_minute() -> None:
    cluster = clustered(group(desired=9, drains=False), "abababab" + "a")
    assert minutes(cluster, 22) == [(14, 5), (15, 3), (16, 2), (17, 1), (18, 0)]


def test_a_scale_in_keeps_the_minimum_and_what_is_needed() -> None:
    cluster = clustered(group(desired=4, minimum=3, drains=False), "abab")
    assert minutes(cluster, 30) == [(14, 3)]
    half = group(desired=4, scaling=ManagedScaling(target=50), protects=True)
    cluster = clustered(half, "abab", busy=1)
    assert minutes(cluster, 30) == [(14, 3), (15, 2)]


def test_a_scale_in_waits_fifteen_minutes_after_a_scale_out() -> None:
    made = group(scaled_out_at=600.0)
    cluster = clustered(made, "ab", busy=1)
    assert minutes(cluster, 27) == [(25, 1)]


def test_a_minute_that_needs_the_hosts_begins_the_count_anew() -> None:
    made = group()
    cluster = clustered(made, "ab", busy=1)
    assert minutes(cluster, 10) == []
    made.readings.append(Reading(600, 100, 2, 2))
    assert minutes(cluster, 20, since=11) == [(25, 1)]


# The group.


def test_instances_are_launched_in_the_zones_with_the_fewest() -> None:
    cluster = clustered(group(desired=5), "a")
    zones = Counter(one.zone for one in only(decide(cluster), Launch) if isinstance(one, Launch))
    assert zones == {"a": 2, "b": 2}


def test_nothing_boots_in_a_lost_zone_or_from_an_exhausted_account() -> None:
    made = group(desired=4)
    made.lost_zones.add("a")
    launched = only(decide(clustered(made)), Launch)
    assert [one.zone for one in launched if isinstance(one, Launch)] == ["b"] * 4
    assert not only(decide(clustered(group(desired=4, is_exhausted=True))), Launch)


def test_a_scale_in_ends_the_fullest_zones_outdated_and_oldest_first() -> None:
    instances = [
        instance("b-old", "b", template="1", launched_at=1.0),
        instance("a-new", "a", template="1", launched_at=9.0),
        instance("a-old", "a", template="1", launched_at=5.0),
        instance("a-outdated", "a", template="0", launched_at=7.0),
    ]
    order = [one.id for one in termination_order(group(), instances)]
    assert order == ["a-outdated", "a-old", "b-old", "a-new"]


def test_a_protected_instance_counts_for_its_zone_and_never_ends() -> None:
    instances = [
        instance("b-1", "b", template="1"),
        instance("a-1", "a", template="1", is_protected=True),
        instance("a-2", "a", template="1"),
    ]
    assert [one.id for one in termination_order(group(), instances)] == ["a-2", "b-1"]


def test_under_termination_protection_only_empty_instances_end() -> None:
    made = group(desired=3, protects=True)
    cluster = clustered(made, "aba", busy=2)
    decide(cluster)
    assert [one.is_protected for one in cluster.instances.values()] == [True, True, False]
    made.desired = 1
    assert only(decide(cluster, 1), EndInstance) == [EndInstance("i-2", "desired capacity")]


def test_a_drained_instance_loses_its_protection() -> None:
    cluster = clustered(group(protects=True), "ab", busy=2)
    decide(cluster)
    cluster.set_instance_status("i-0", "DRAINING")
    cluster.stopped_itself("t0", 1)
    decide(cluster, 1)
    assert not cluster.instances["i-0"].is_protected


def test_a_zone_that_is_back_gets_its_share_again() -> None:
    made = group(desired=4)
    cluster = clustered(made, "bbbb", busy=4)
    made.lost_zones.add("a")
    assert not only(decide(cluster, 0), Launch)
    made.lost_zones.clear()
    (launch,) = only(decide(cluster, 1), Launch, EndInstance)
    assert isinstance(launch, Launch)
    assert launch.zone == "a"
    assert not only(decide(cluster, 2), Launch, EndInstance), "it boots before another ends"
    cluster.registered(launch.instance, 90)
    (ended,) = only(decide(cluster, 90), EndInstance)
    assert isinstance(ended, EndInstance)
    assert cluster.instances[ended.instance].zone == "b"


def test_where_all_are_protected_no_zone_is_balanced() -> None:
    cluster = clustered(group(desired=4, protects=True), "bbbb", busy=4)
    decide(cluster)
    assert not only(decide(cluster, 1), Launch)


# Draining.


def test_an_instance_that_ends_is_drained_and_goes_when_it_is_empty() -> None:
    cluster = clustered(group(desired=1), "ab", busy=2)
    first = decide(cluster)
    (ended,) = only(first, EndInstance)
    assert isinstance(ended, EndInstance)
    assert only(decide(cluster, 1), Drain) == [Drain(ended.instance)]
    assert not only(decide(cluster, 2), Terminate)
    for task in list(cluster.instances[ended.instance].tasks):
        cluster.stopped_itself(task, 3)
    assert only(decide(cluster, 3), Terminate) == [Terminate(ended.instance)]


def test_draining_ends_after_48_hours_whatever_runs() -> None:
    cluster = clustered(group(desired=1), "ab", busy=2)
    decide(cluster, 0)
    decide(cluster, 1)
    assert not only(decide(cluster, DRAIN_SECONDS), Terminate)
    assert only(decide(cluster, DRAIN_SECONDS + 1), Terminate)


def test_an_instance_that_was_drained_by_hand_has_its_48_hours_too() -> None:
    cluster = clustered(group(), "ab", busy=2)
    cluster.set_instance_status("i-0", "DRAINING")
    late = 10 * DRAIN_SECONDS
    cluster.apply(EndInstance("i-0", "by hand"), late)
    assert not only(decide(cluster, late + 60), Terminate)


def test_without_managed_draining_tasks_die_with_their_instance() -> None:
    cluster = clustered(group(desired=1, drains=False), "ab", busy=2)
    decide(cluster)
    decide(cluster, 1)
    assert len(cluster.instances) == 1
    assert len(cluster.tasks) == 1


# Instance refresh.


def refreshing(made: Group, zones: str, *, protected: str = "Refresh", busy: int = 0) -> State:
    cluster = clustered(made, zones, busy=busy)
    made.template = "2"
    made.refresh = Refresh("r", "2", 0, protected=protected)  # type: ignore[arg-type]
    return cluster


@pytest.mark.parametrize(
    ("minimum", "maximum", "launched", "ended"),
    [(100, 200, 4, 0), (100, 100, 1, 0), (100, 150, 2, 0), (50, 100, 2, 2), (90, 100, 1, 1)],
)
def test_a_refresh_begins_as_its_bounds_let_it(
    minimum: int, maximum: int, launched: int, ended: int
) -> None:
    made = group(
        desired=4, minimum_healthy_percent=minimum, maximum_healthy_percent=maximum, scaling=None
    )
    done = decide(refreshing(made, "abab"))
    assert (len(only(done, Launch)), len(only(done, EndInstance))) == (launched, ended)


@pytest.mark.parametrize(
    ("minimum", "maximum"), [(100, 200), (100, 100), (50, 100), (90, 100), (0, 100), (90, 120)]
)
def test_a_refresh_replaces_every_instance_and_keeps_its_bounds(minimum: int, maximum: int) -> None:
    made = group(
        desired=4, minimum=4, minimum_healthy_percent=minimum, maximum_healthy_percent=maximum
    )
    cluster = Watched([made])
    cluster.begin((SERVED, 4))
    cluster.run(600, settles=True)
    made.template = "2"
    made.refresh = Refresh("r", "2", cluster.now)
    lower = min(-(-4 * minimum // 100), 4 if minimum == 100 or maximum > 100 else 3)
    upper = max(4 * maximum // 100, 5)
    while made.refresh.status == "InProgress":
        cluster.run(cluster.now + 5)
        there = capacity.members(cluster.state, made)
        serving = [one for one in there if one.lifecycle == "InService"]
        assert len(serving) >= lower
        assert len(there) <= upper
        assert cluster.now < 5000
    assert made.refresh.status == "Successful"
    assert {one.template for one in cluster.state.instances.values()} == {"2"}
    cluster.run(cluster.now + 600, settles=True)
    assert cluster.is_settled()


def test_a_refresh_of_what_matches_succeeds_at_once() -> None:
    made = group()
    cluster = clustered(made, "ab", busy=2)
    made.refresh = Refresh("r", "1", 0)
    decide(cluster)
    assert made.refresh.status == "Successful"


def test_a_refresh_can_name_instances_that_match() -> None:
    made = group()
    cluster = clustered(made, "ab", busy=2)
    made.refresh = Refresh("r", "1", 0, every=frozenset({"i-0"}))
    assert len(only(decide(cluster), Launch)) == 1


def test_protected_instances_are_replaced_ignored_or_waited_for() -> None:
    ended: dict[str, str] = {}
    for mode in ("Refresh", "Ignore", "Wait"):
        made = group(protects=True)
        cluster = refreshing(made, "ab", protected=mode, busy=2)
        for now in range(0, 8000, 30):
            decide(cluster, now)
            for one in list(cluster.instances.values()):
                if one.lifecycle == "Pending":
                    cluster.registered(one.id, now)
        assert made.refresh is not None
        ended[mode] = made.refresh.status
        templates = {one.template for one in capacity.members(cluster, made)}
        assert templates == ({"2"} if mode == "Refresh" else {"1"})
    assert ended == {"Refresh": "InProgress", "Ignore": "Successful", "Wait": "Failed"}


def test_a_refresh_that_cannot_launch_fails_after_an_hour() -> None:
    made = group(minimum=2, is_exhausted=True)
    cluster = refreshing(made, "ab")
    assert made.refresh is not None
    for now in range(0, 3600, 60):
        decide(cluster, now)
        assert made.refresh.status == "InProgress"
    decide(cluster, 3600)
    assert made.refresh.status == "Failed"


def test_what_leaves_and_what_boots_is_told_from_what_serves() -> None:
    made = group()
    one = Instance("i-1", KIND, "a", group="group", template="1")
    assert not capacity.is_warm(made, one, 1000)
    one.lifecycle, one.in_service_at = "InService", 900
    assert capacity.is_warm(made, one, 1000)
    assert not capacity.is_warm(replace(made, warmup_seconds=200), one, 1000)
