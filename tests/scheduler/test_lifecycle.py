"""A task leaves its load balancer before it gets its stop signal."""

from __future__ import annotations

from dataclasses import replace

from scheduler import control, lifecycle
from scheduler.actions import Action, Deregister, Halt, Register, Start, Stop
from scheduler.state import State
from tests.scheduler.clusters import TASK, WEB, instance, said, state


def one_task(*, target: bool = True) -> State:
    cluster = state([instance("i-1")])
    groups = ("tg",) if target else ()
    service = cluster.deploy(replace(WEB, target_groups=groups), 1, 0)
    cluster.apply(Start("t", "web", service.primary.id, TASK, "i-1"), 0)
    return cluster


def look(cluster: State, now: float) -> list[Action]:
    done = []
    for action in lifecycle.decide(cluster, cluster.take_changed()):
        cluster.apply(action, now)
        done.append(action)
    return done


def stop(cluster: State, now: float) -> None:
    cluster.apply(Stop("t", "UserInitiated", "Task stopped by user"), now)


def status(cluster: State) -> tuple[str, str | None]:
    task = cluster.tasks["t"]
    return task.status, task.target


def test_a_task_is_registered_when_its_containers_run() -> None:
    cluster = one_task()
    cluster.started("t", 1)
    assert status(cluster) == ("ACTIVATING", None)
    assert look(cluster, 1)[0] == Register("t")
    assert status(cluster) == ("RUNNING", "initial")


def test_a_task_without_a_target_runs_at_once() -> None:
    cluster = one_task(target=False)
    cluster.started("t", 1)
    assert look(cluster, 1) == []
    assert status(cluster) == ("RUNNING", None)


def test_it_is_deregistered_first_and_halted_when_that_is_over() -> None:
    cluster = one_task()
    cluster.started("t", 1)
    look(cluster, 1)
    stop(cluster, 2)
    assert look(cluster, 2)[0] == Deregister("t")
    assert status(cluster) == ("DEACTIVATING", "draining")
    assert look(cluster, 3) == []
    cluster.set_target("t", None, 30)
    assert look(cluster, 30) == [Halt("t")]
    assert status(cluster) == ("STOPPING", None)
    assert look(cluster, 31) == []


def test_the_other_order_is_there_to_show_what_this_is_for() -> None:
    cluster = one_task()
    cluster.deregisters_first = False
    cluster.started("t", 1)
    look(cluster, 1)
    stop(cluster, 2)
    assert look(cluster, 2) == [Halt("t")]


def test_a_task_that_does_not_run_yet_is_halted_at_once() -> None:
    cluster = one_task()
    stop(cluster, 1)
    assert look(cluster, 1) == [Halt("t")]
    cluster.started("t", 2)
    assert status(cluster) == ("STOPPING", None)


def test_a_task_that_ended_by_itself_leaves_no_target_behind() -> None:
    cluster = one_task()
    cluster.started("t", 1)
    look(cluster, 1)
    cluster.stopped_itself("t", 2)
    assert look(cluster, 2)[0] == Deregister("t")
    assert look(cluster, 3) == []


def test_a_task_that_ended_unasked_is_told_of_with_its_reason() -> None:
    cluster = one_task()
    cluster.stopped_itself("t", 2, code="TaskFailedToStart", reason="CannotPullContainerError: no")
    told = "(service web) (task t) has stopped: CannotPullContainerError: no."
    assert said(look(cluster, 2)) == [told]
    assert said(look(cluster, 3)) == []


def test_a_task_that_was_stopped_is_not_told_of_again() -> None:
    cluster = one_task()
    stop(cluster, 1)
    look(cluster, 1)
    cluster.stopped_itself("t", 2, code="EssentialContainerExited", reason="exited")
    assert said(look(cluster, 2)) == []


def test_targets_that_come_and_go_are_told_in_the_words_of_real_events() -> None:
    cluster = one_task()
    cluster.started("t", 1)
    assert said(look(cluster, 1)) == ["(service web) registered 1 targets in (target-group tg)"]
    stop(cluster, 2)
    assert said(look(cluster, 2)) == [
        "(service web) deregistered 1 targets in (target-group tg)",
        "(service web) has begun draining connections on 1 tasks.",
    ]


def test_a_look_at_all_loops_takes_a_task_all_its_way() -> None:
    cluster = one_task()
    cluster.started("t", 1)
    assert Register("t") in control.step(cluster, 1)
