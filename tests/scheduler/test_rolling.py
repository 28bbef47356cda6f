"""A service keeps its count and rolls over within the bounds of its deployment configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler import control
from scheduler.actions import Start, Stop
from scheduler.model import ROLLING, Bucket, Service, ServiceDefinition, Shift, TaskDefinition
from scheduler.state import STARTS_A_MINUTE, State
from tests.scheduler.clusters import TASK, WEB, Watched, group, instance, live, messages, state

SERVED = replace(WEB, target_groups=("tg",))
NEXT = replace(TASK, name="web:2")


def running(
    definition: ServiceDefinition = SERVED, desired: int = 4, *, hosts: int = 3
) -> tuple[State, Service]:
    """A service whose first deployment has completed."""
    cluster = state([instance(f"i-{number}", "ab"[number % 2]) for number in range(hosts)])
    service = cluster.deploy(definition, desired, 0)
    live(cluster, 60)
    assert service.is_steady
    return cluster, service


def counts(service: Service) -> dict[str, int]:
    return {bucket.name: number for bucket in Bucket if (number := service.number(bucket))}


def step(cluster: State, now: float, *, kinds: tuple[type, ...] = (Start, Stop)) -> list[str]:
    done = control.step(cluster, now)
    return [type(one).__name__ for one in done if isinstance(one, kinds)]


def test_a_service_starts_as_many_as_are_wanted() -> None:
    _, service = running()
    assert counts(service) == {"HEALTHY": 4}
    assert messages(service)[-2:] == [
        f"(service web) (deployment {service.primary.id}) deployment completed.",
        "(service web) has reached a steady state.",
    ]


def test_a_task_that_stopped_is_replaced() -> None:
    cluster, service = running()
    first = next(iter(cluster.tasks))
    cluster.stopped_itself(first, 61, code="EssentialContainerExited", reason="it crashed")
    assert step(cluster, 61) == ["Start"]
    assert not service.is_steady
    live(cluster, 60, since=62)
    assert counts(service) == {"HEALTHY": 4}
    assert service.is_steady


@pytest.mark.parametrize(
    ("minimum", "maximum", "started", "stopped"),
    [(100, 200, 4, 0), (50, 100, 0, 2), (100, 150, 2, 0), (50, 150, 2, 2), (0, 100, 0, 4)],
)
def test_a_deployment_begins_as_its_bounds_let_it(
    minimum: int, maximum: int, started: int, stopped: int
) -> None:
    bounds = replace(SERVED, minimum_healthy_percent=minimum, maximum_percent=maximum)
    cluster, service = running(bounds)
    cluster.deploy(replace(bounds, task_definition=NEXT), 4, 61)
    done = step(cluster, 61)
    assert (done.count("Start"), done.count("Stop")) == (started, stopped)
    live(cluster, 120, since=62)
    assert counts(service) == {"HEALTHY": 4}
    assert {task.definition for task in cluster.tasks.values()} == {NEXT}
    assert len(service.deployments) == 1


def test_bounds_that_let_nothing_move_are_told() -> None:
    stuck = replace(SERVED, minimum_healthy_percent=75, maximum_percent=125)
    cluster, service = running(stuck, 2)
    cluster.deploy(replace(stuck, task_definition=NEXT), 2, 61)
    live(cluster, 60, since=61)
    assert counts(service) == {"HEALTHY": 2}
    told = [one for one in messages(service) if "unable to stop or start" in one]
    assert told == [
        "(service web) was unable to stop or start tasks during a deployment because of the "
        "service deployment configuration. Update the minimumHealthyPercent or maximumPercent "
        "value and try again."
    ]


def test_old_tasks_stop_only_as_new_ones_turn_healthy() -> None:
    cluster, service = running()
    cluster.deploy(replace(SERVED, task_definition=NEXT), 4, 61)
    control.step(cluster, 61)
    new = [task.id for task in cluster.tasks.values() if task.definition == NEXT]
    for name in new:
        cluster.started(name, 62)
    control.step(cluster, 62)
    cluster.set_target(new[0], "healthy", 63)
    assert step(cluster, 63) == ["Stop"]
    assert counts(service) == {"SETTLING": 3, "HEALTHY": 4, "ENDING": 1}
    assert cluster.tasks[new[0]].wanted


def test_of_an_old_deployment_an_unhealthy_task_goes_before_healthy_ones() -> None:
    cluster, _ = running()
    sick = next(iter(cluster.tasks))
    cluster.deploy(replace(SERVED, task_definition=NEXT), 4, 61)
    control.step(cluster, 61)
    cluster.set_target(sick, "unhealthy", 62, "Request timed out")
    control.step(cluster, 62)
    assert cluster.tasks[sick].wanted, "its replacement is not healthy yet"
    new = [task.id for task in cluster.tasks.values() if task.definition == NEXT]
    cluster.started(new[0], 63)
    control.step(cluster, 63)
    cluster.set_target(new[0], "healthy", 64)
    control.step(cluster, 64)
    assert [task.id for task in cluster.tasks.values() if not task.wanted] == [sick]


def test_an_unhealthy_task_goes_when_its_replacement_is_healthy() -> None:
    cluster, service = running()
    sick = next(iter(cluster.tasks))
    cluster.set_target(sick, "unhealthy", 61, "Health checks failed with these codes: [500]")
    assert step(cluster, 61) == ["Start"]
    assert cluster.tasks[sick].wanted
    live(cluster, 3, since=62)
    task = cluster.tasks.get(sick) or next(one for one in cluster.stopped if one.id == sick)
    assert task.stop_reason == "Task failed ELB health checks in (target-group tg)"
    assert (
        f"(service web) (task {sick}) is unhealthy in (target-group tg) due to "
        "(reason Health checks failed with these codes: [500])."
    ) in messages(service)
    live(cluster, 60, since=70)
    assert counts(service) == {"HEALTHY": 4}


def test_without_room_for_a_replacement_unhealthy_tasks_go_one_at_a_time() -> None:
    full = replace(SERVED, minimum_healthy_percent=50, maximum_percent=100)
    cluster, service = running(full)
    for name in list(cluster.tasks)[:3]:
        cluster.set_target(name, "unhealthy", 61, "Request timed out")
    assert step(cluster, 61) == ["Stop"]
    assert step(cluster, 62) == []
    live(cluster, 60, since=63)
    assert counts(service) == {"HEALTHY": 4}


def test_an_old_task_that_died_is_replaced_by_its_own_revision_while_new_ones_fail() -> None:
    cluster, service = running()
    cluster.deploy(replace(SERVED, task_definition=NEXT), 4, 61)
    control.step(cluster, 61)
    # The new revision backs off; the old one has nothing to do with that.
    service.retry_at = 1e9
    died = next(name for name, task in cluster.tasks.items() if task.definition == TASK)
    cluster.stopped_itself(died, 62, code="EssentialContainerExited", reason="it crashed")
    started = [one for one in control.step(cluster, 62) if isinstance(one, Start)]
    assert [one.definition for one in started] == [TASK]


def test_a_scale_in_stops_what_is_too_much_and_no_more() -> None:
    cluster, service = running()
    cluster.deploy(SERVED, 1, 61)
    assert step(cluster, 61) == ["Stop"] * 3
    live(cluster, 60, since=62)
    assert counts(service) == {"HEALTHY": 1}


def test_a_scale_out_in_a_deployment_starts_the_new_revision() -> None:
    cluster, service = running()
    cluster.deploy(replace(SERVED, task_definition=NEXT), 4, 61)
    control.step(cluster, 61)
    cluster.deploy(service.definition, 6, 62)
    started = [one for one in control.step(cluster, 62) if isinstance(one, Start)]
    assert [one.definition for one in started] == [NEXT] * 2
    live(cluster, 60, since=63)
    assert counts(service) == {"HEALTHY": 6}


def test_desired_none_stops_all() -> None:
    cluster, service = running()
    cluster.deploy(SERVED, 0, 61)
    live(cluster, 60, since=61)
    assert counts(service) == {}
    assert service.is_steady


# Draining.


@pytest.mark.parametrize(
    ("minimum", "maximum", "first"), [(100, 200, "Start"), (50, 100, "Stop"), (0, 100, "Stop")]
)
def test_draining_moves_tasks_within_the_same_bounds(
    minimum: int, maximum: int, first: str
) -> None:
    bounds = replace(SERVED, minimum_healthy_percent=minimum, maximum_percent=maximum)
    cluster, service = running(bounds)
    cluster.set_instance_status("i-1", "DRAINING")
    assert set(step(cluster, 61)) == {first}
    live(cluster, 120, since=62)
    assert counts(service) == {"HEALTHY": 4}
    assert not cluster.instances["i-1"].tasks
    assert service.is_steady


def test_draining_within_bounds_of_a_hundred_says_why_it_does_not_end() -> None:
    cluster, service = running(replace(SERVED, maximum_percent=100))
    cluster.set_instance_status("i-1", "DRAINING")
    live(cluster, 60, since=61)
    assert cluster.instances["i-1"].tasks
    assert "minimumHealthyPercent or maximumPercent" in messages(service)[-1]
    assert not service.is_steady
    # Taken back, it is steady again, and would tell of the same trouble again.
    cluster.set_instance_status("i-1", "ACTIVE")
    live(cluster, 5, since=125)
    assert service.is_steady
    cluster.set_instance_status("i-1", "DRAINING")
    live(cluster, 5, since=130)
    assert "minimumHealthyPercent or maximumPercent" in messages(service)[-1]


def test_pending_tasks_leave_a_draining_instance_at_once() -> None:
    cluster = state([instance("i-1"), instance("i-2")])
    service = cluster.deploy(SERVED, 4, 0)
    control.step(cluster, 0)
    cluster.set_instance_status("i-1", "DRAINING")
    done = step(cluster, 1)
    assert (done.count("Stop"), done.count("Start")) == (2, 2)
    assert "(service web) stopped 2 pending tasks." in messages(service)


def test_a_service_is_not_steady_while_a_task_has_yet_to_move() -> None:
    cluster, service = running()
    cluster.set_instance_status("i-1", "DRAINING")
    control.step(cluster, 61)
    assert not service.is_steady


# Places, quotas, protection, bake time.


def test_where_no_instance_holds_a_task_each_ones_reason_is_told_once() -> None:
    cluster = state([instance("i-1"), instance("i-2", agent=False)])
    service = cluster.deploy(replace(WEB, task_definition=TaskDefinition("big", 4096, 1)), 1, 0)
    for now in range(100):
        control.step(cluster, now)
    assert messages(service) == [
        "(service web) was unable to place a task because no container instance met all of its "
        "requirements. The closest matching (container-instance i-1) has insufficient CPU units "
        'available. Of the others, (container-instance i-2) encountered error "AGENT". For more '
        "information, see the Troubleshooting section of the Amazon ECS Developer Guide."
    ]


def test_without_instances_that_is_the_reason() -> None:
    cluster = state()
    service = cluster.deploy(WEB, 1, 0)
    control.step(cluster, 0)
    assert "Reason: No Container Instances were found in your cluster." in messages(service)[0]


def test_trouble_is_told_again_after_six_hours() -> None:
    cluster = state()
    service = cluster.deploy(WEB, 1, 0)
    control.step(cluster, 0)
    control.step(cluster, 6 * 3600 - 1)
    assert len(service.events) == 1
    control.step(cluster, 6 * 3600)
    assert len(service.events) == 2


def test_a_task_without_managed_scaling_is_tried_again_and_does_not_wait() -> None:
    cluster = state()
    cluster.deploy(WEB, 1, 0)
    control.step(cluster, 0)
    assert not cluster.tasks
    cluster.add_instance(instance("i-1"))
    assert step(cluster, 30) == ["Start"]


def test_with_managed_scaling_a_task_waits_for_its_instance() -> None:
    cluster = state()
    cluster.add_group(group())
    service = cluster.deploy(replace(WEB, provider="provider"), 1, 0)
    control.step(cluster, 0)
    assert [task.status for task in cluster.waiting.values()] == ["PROVISIONING"]
    cluster.add_instance(instance("i-1", group="group"))
    control.step(cluster, 30)
    assert not cluster.waiting
    assert service.number(Bucket.STARTING) == 1


@pytest.mark.parametrize("desired", [2, 4, 5, 6])
def test_without_strategies_zones_and_in_them_instances_get_the_fewest_each(desired: int) -> None:
    hosts = [instance("a-1", "a"), instance("a-2", "a"), instance("b-1", "b")]
    # What others have there does not count.
    hosts[2].of_group["service:other"] = 5
    cluster = state(hosts)
    cluster.deploy(replace(WEB, strategies=()), desired, 0)
    control.step(cluster, 0)
    first, second, other = (len(one.tasks) for one in hosts)
    # Which of two that are level comes first is not said.
    assert abs((first + second) - other) <= 1
    assert abs(first - second) <= 1
    assert first + second + other == desired


def test_a_service_starts_five_hundred_tasks_a_minute() -> None:
    many = [instance(f"i-{number}") for number in range(200)]
    cluster = state(many)
    cluster.deploy(replace(WEB, task_definition=TaskDefinition("s", 1, 1)), 800, 0)
    assert len(step(cluster, 0)) == STARTS_A_MINUTE
    assert step(cluster, 59) == []
    assert len(step(cluster, 60)) == 300


def test_at_most_five_hundred_tasks_wait_for_instances() -> None:
    cluster = state()
    cluster.add_group(group())
    service = cluster.deploy(replace(WEB, provider="provider"), 400, 0)
    other = cluster.deploy(replace(WEB, name="other", provider="provider"), 400, 0)
    control.step(cluster, 0)
    assert len(cluster.waiting) == 500
    limit = "because the tasks provisioning capacity limit was exceeded."
    assert not any(limit in one for one in messages(service))
    assert any(limit in one for one in messages(other))


def test_protected_tasks_stay_and_are_named() -> None:
    cluster, service = running()
    for task in cluster.tasks.values():
        task.protected_until = 10_000
    cluster.deploy(SERVED, 2, 61)
    live(cluster, 60, since=61)
    assert counts(service) == {"HEALTHY": 4}
    assert messages(service)[-1] == (
        f"(service web) was unable to reach steady state because (taskSet {service.primary.id}) "
        "was unable to scale in due to (reason 4 tasks under protection)"
    )


def test_a_rolling_deployment_bakes_before_it_is_complete() -> None:
    baking = replace(WEB, provider="provider", shift=Shift(ROLLING, bake_seconds=300))
    cluster = Watched([group()]).begin((baking, 2))
    cluster.run(100)
    assert cluster.state.services["web"].primary.rollout == "IN_PROGRESS"
    cluster.run(1000, settles=True)
    done = cluster.state.services["web"].primary.completed_at
    assert done is not None
    assert done >= 300


def test_a_new_revision_in_the_midst_of_a_rollout_replaces_both() -> None:
    cluster, service = running()
    cluster.deploy(replace(SERVED, task_definition=NEXT), 4, 61)
    control.step(cluster, 61)
    third = replace(TASK, name="web:3")
    cluster.deploy(replace(SERVED, task_definition=third), 4, 62)
    live(cluster, 120, since=62)
    assert counts(service) == {"HEALTHY": 4}
    assert {task.definition for task in cluster.tasks.values()} == {third}
