"""All loops look until none has more to say, each keeping the books before the next."""

from __future__ import annotations

from dataclasses import replace

from scheduler import control
from scheduler.actions import Assign, Start, Stop
from scheduler.model import Constraint, Task, TaskDefinition
from scheduler.state import WAITING_SECONDS, State
from tests.scheduler.clusters import TASK, WEB, group, instance, keeps_limits, state

PROVIDED = replace(WEB, provider="provider")


def waits(*, desired: int = 2, need: TaskDefinition = TASK) -> State:
    cluster = state()
    cluster.add_group(group(desired=0, maximum=0))
    cluster.deploy(replace(PROVIDED, task_definition=need), desired, 0)
    control.step(cluster, 0)
    return cluster


def test_nobody_counts_on_room_that_was_just_taken() -> None:
    cluster = state([instance("i-1")])
    for name in ("one", "two"):
        cluster.deploy(replace(WEB, name=name, task_definition=TaskDefinition(name, 1024, 1)), 2, 0)
    control.step(cluster, 0)
    assert len(cluster.tasks) == 2
    keeps_limits(cluster.instances["i-1"])


def test_a_second_look_at_the_same_moment_has_nothing_to_say() -> None:
    cluster = state([instance("i-1"), instance("i-2", "b")])
    cluster.add_group(group())
    cluster.deploy(PROVIDED, 4, 0)
    assert control.step(cluster, 0)
    assert control.step(cluster, 0) == []


def test_who_waits_longest_is_placed_first() -> None:
    cluster = waits(desired=1)
    cluster.deploy(PROVIDED, 3, 10)
    control.step(cluster, 10)
    first, *_ = cluster.waiting
    kind = replace(instance("x").kind, cpu=TASK.cpu)
    cluster.add_instance(instance("i-1", group="group", kind=kind))
    assert [one for one in control.step(cluster, 20) if isinstance(one, Assign)] == [
        Assign(first, "i-1")
    ]


def test_a_task_of_no_service_waits_by_its_own_constraints() -> None:
    cluster = waits(desired=0)
    distinct = (Constraint("distinctInstance"),)
    for name in ("a", "b"):
        task = Task(name, "batch", TASK, 0, provider="provider", constraints=distinct)
        cluster.run(task, None)
    cluster.add_instance(instance("i-1", group="group"))
    control.step(cluster, 1)
    assert list(cluster.waiting) == ["b"]


def test_a_task_gives_up_waiting_after_twenty_minutes_and_another_is_tried() -> None:
    cluster = waits()
    before = list(cluster.waiting)
    assert cluster.next_timer() == WAITING_SECONDS
    assert not [one for one in control.step(cluster, WAITING_SECONDS - 1) if isinstance(one, Stop)]
    done = control.step(cluster, WAITING_SECONDS)
    assert [one.task for one in done if isinstance(one, Stop)] == before
    assert len([one for one in done if isinstance(one, Start)]) == 2
    assert cluster.services["web"].failed_starts == 2


def test_its_stopped_reason_says_what_lacked() -> None:
    reasons = {}
    for name, one in {
        "EMPTY CAPACITY PROVIDER": None,
        "NO ACTIVE INSTANCES": instance("i", group="group", status="DRAINING"),
        "AGENT": instance("i", group="group", agent=False),
        "RESOURCE:CPU": instance("i", group="group", cpu_left=0),
        "RESOURCE:MEMORY": instance("i", group="group", memory_left=0),
    }.items():
        cluster = waits(desired=1)
        if one is not None:
            cluster.add_instance(one)
        control.step(cluster, WAITING_SECONDS)
        reasons[name] = (cluster.stopped[0].stop_code, cluster.stopped[0].stop_reason)
    assert reasons == {
        name: ("TaskFailedToStart", f"TaskFailedToStart: {name}") for name in reasons
    }


def test_a_constraint_that_nothing_fulfils_has_its_own_words() -> None:
    need = replace(TASK, constraints=(Constraint("memberOf", "attribute:rack exists"),))
    cluster = waits(desired=1, need=need)
    cluster.add_instance(instance("i-1", group="group"))
    control.step(cluster, WAITING_SECONDS)
    assert cluster.stopped[0].stop_reason == (
        "TaskFailedToStart: MemberOf placement constraint unsatisfied"
    )
