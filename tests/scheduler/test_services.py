"""What fails is given up as breaker and alarms say; starts that fail become rarer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from scheduler import control
from scheduler.actions import Start
from scheduler.model import (
    BLUE_GREEN,
    Breaker,
    Bucket,
    Deployment,
    Service,
    ServiceDefinition,
    Shift,
    TaskDefinition,
)
from scheduler.services import FIRST_BACK_OFF, LONGEST_BACK_OFF
from scheduler.shifting import STAGE_SECONDS
from scheduler.state import State
from tests.scheduler.clusters import (
    TASK,
    WEB,
    Watched,
    bring_on,
    group,
    instance,
    live,
    messages,
    state,
)

SERVED = replace(WEB, target_groups=("tg",))
NEXT = replace(TASK, name="web:2")
CRASHES, SICK, NO_IMAGE = "crashes", "unhealthy", "cannot be pulled"


def simulated(definition: ServiceDefinition, fates: dict[str, str], desired: int = 4) -> Watched:
    """A service whose first deployment has completed, on hosts with room for another."""
    definition = replace(definition, provider="provider")
    cluster = Watched(
        [group(desired=3)], fate=lambda task: fates.get(task.definition.name, "healthy")
    )
    cluster.begin((definition, desired))
    cluster.run(400, settles=True)
    return cluster


def roll_out(cluster: Watched, task: TaskDefinition = NEXT, *, seconds: float = 3000) -> Service:
    service = cluster.state.services["web"]
    cluster.deploy(replace(service.definition, task_definition=task), service.desired)
    cluster.run(cluster.now + seconds, settles=True)
    return service


@pytest.mark.parametrize("fate", [CRASHES, SICK, NO_IMAGE])
@pytest.mark.parametrize(
    "breaker",
    [
        Breaker(),
        Breaker("COUNT", 3),
        Breaker("UNBOUNDED_PERCENT", 50, reset_on_healthy_task=False),
    ],
)
def test_a_deployment_that_fails_goes_back_to_the_last_that_completed(
    fate: str, breaker: Breaker
) -> None:
    cluster = simulated(replace(SERVED, breaker=breaker), {NEXT.name: fate})
    first = cluster.state.services["web"].primary
    service = roll_out(cluster)
    assert cluster.is_settled()
    assert service.primary is first
    assert {task.definition for task in cluster.state.tasks.values()} == {TASK}
    told = [one for one in messages(service) if "deployment failed" in one or "rolling" in one]
    assert told[0].endswith("deployment failed: tasks failed to start.")
    assert told[1] == f"(service web) rolling back to deployment {first.id}."


@pytest.mark.parametrize("fate", [CRASHES, SICK, NO_IMAGE])
def test_a_failed_deployment_without_rollback_launches_nothing_and_takes_nothing_away(
    fate: str,
) -> None:
    breaker = Breaker(rollback=False)
    cluster = simulated(replace(SERVED, breaker=breaker), {NEXT.name: fate})
    service = roll_out(cluster, seconds=600)
    assert service.primary.rollout == "FAILED"
    assert service.primary.reason == "ECS deployment circuit breaker: tasks failed to start."
    assert service.number(Bucket.HEALTHY) == 4
    told = len(cluster.lines)
    cluster.run(cluster.now + 3600)
    assert not [line for line in cluster.lines[told:] if "has started" in line.text]
    assert service.number(Bucket.HEALTHY) == 4


def test_with_a_low_minimum_too_a_failed_deployment_leaves_the_old_tasks() -> None:
    low = replace(
        SERVED, breaker=Breaker(rollback=False), minimum_healthy_percent=50, maximum_percent=100
    )
    cluster = simulated(low, {NEXT.name: CRASHES})
    service = roll_out(cluster, seconds=600)
    assert service.primary.rollout == "FAILED"
    assert service.number(Bucket.HEALTHY) == 2


def test_a_new_task_that_turns_healthy_after_the_failure_takes_no_old_one_away() -> None:
    cluster, service = served(Breaker(rollback=False), minimum_healthy_percent=50)
    cluster.deploy(replace(service.definition, task_definition=NEXT), 4, 61)
    control.step(cluster, 61)
    late, *others = service.primary.tasks[Bucket.STARTING]
    for name in others:
        cluster.stopped_itself(name, 62, code="TaskFailedToStart", reason="no image")
    control.step(cluster, 62)
    assert service.primary.rollout == "FAILED"
    assert service.number(Bucket.HEALTHY) == 2
    cluster.started(late, 63)
    control.step(cluster, 63)
    cluster.set_target(late, "healthy", 64)
    control.step(cluster, 64)
    assert service.number(Bucket.HEALTHY) == 3


def test_the_first_deployment_has_nothing_to_go_back_to() -> None:
    cluster = Watched([group(desired=3)], fate=lambda _: CRASHES)
    cluster.begin((replace(SERVED, provider="provider", breaker=Breaker()), 4))
    cluster.run(2000)
    service = cluster.state.services["web"]
    assert service.primary.rollout == "FAILED"
    assert not any("rolling back" in one for one in messages(service))


def test_a_rollback_that_fails_is_not_rolled_back_again() -> None:
    fates = {NEXT.name: CRASHES}
    low = replace(SERVED, breaker=Breaker(), minimum_healthy_percent=0, maximum_percent=100)
    cluster = simulated(low, fates)
    fates[TASK.name] = CRASHES
    service = roll_out(cluster, seconds=1500)
    assert service.primary.is_rollback
    assert service.primary.rollout == "FAILED"
    assert sum("rolling back" in one for one in messages(service)) == 1


def test_a_rollback_starts_the_old_tasks_again_that_are_gone() -> None:
    low = replace(SERVED, breaker=Breaker(), minimum_healthy_percent=0, maximum_percent=100)
    cluster = simulated(low, {NEXT.name: CRASHES})
    service = roll_out(cluster)
    assert cluster.is_settled()
    assert {task.definition for task in cluster.state.tasks.values()} == {TASK}
    assert not service.primary.is_rollback, "it has completed again"


def test_while_a_rollback_goes_on_a_new_deployment_cannot_roll_back() -> None:
    cluster, service = served(Breaker(), minimum_healthy_percent=0, maximum_percent=100)
    fail(cluster, service, NEXT, 61)
    assert service.primary.is_rollback
    newer = fail(cluster, service, replace(TASK, name="web:3"), 90)
    assert service.primary is newer
    assert newer.rollout == "FAILED"


def served(breaker: Breaker, **bounds: int) -> tuple[State, Service]:
    cluster = state([instance(f"i-{number}") for number in range(3)])
    service = cluster.deploy(replace(SERVED, breaker=breaker, **bounds), 4, 0)  # type: ignore[arg-type]
    live(cluster, 60)
    return cluster, service


def fail(cluster: State, service: Service, task: TaskDefinition, now: int) -> Deployment:
    """Deploy a revision, and let its first tasks fail to start."""
    cluster.deploy(replace(service.definition, task_definition=task), 4, now)
    new = service.primary
    control.step(cluster, now)
    while not (starting := list(new.tasks[Bucket.STARTING])):
        now += 1
        for one in [task for task in cluster.tasks.values() if not task.wanted]:
            bring_on(cluster, one, now)
        control.step(cluster, now)
    for name in starting:
        cluster.stopped_itself(name, now, code="TaskFailedToStart", reason="no image")
    control.step(cluster, now)
    return new


def test_a_healthy_task_resets_the_count_unless_the_breaker_says_otherwise() -> None:
    for resets, failed in ((True, 0), (False, 2)):
        cluster, service = served(Breaker("COUNT", 3, reset_on_healthy_task=resets))
        cluster.deploy(replace(service.definition, task_definition=NEXT), 4, 61)
        control.step(cluster, 61)
        new = [one for one in cluster.tasks.values() if one.definition == NEXT]
        for one in new[:2]:
            cluster.stopped_itself(one.id, 62, code="TaskFailedToStart", reason="no image")
        assert service.primary.failed_tasks == 2
        cluster.started(new[2].id, 63)
        control.step(cluster, 63)
        cluster.set_target(new[2].id, "healthy", 64)
        assert service.primary.failed_tasks == failed


def test_the_threshold_follows_the_desired_count() -> None:
    cluster, service = served(Breaker("UNBOUNDED_PERCENT", 100))
    new = fail(cluster, service, NEXT, 61)
    assert new.rollout == "FAILED"
    cluster, service = served(Breaker("UNBOUNDED_PERCENT", 100))
    cluster.deploy(replace(service.definition, task_definition=NEXT), 8, 61)
    control.step(cluster, 61)
    for one in [each for each in cluster.tasks.values() if each.definition == NEXT][:4]:
        cluster.stopped_itself(one.id, 61, code="TaskFailedToStart", reason="no image")
    control.step(cluster, 61)
    assert service.primary.rollout == "IN_PROGRESS"


@pytest.mark.parametrize("rollback", [True, False])
def test_an_alarm_fails_a_deployment(rollback: bool) -> None:
    definition = replace(SERVED, alarms=("Errors",), alarm_rollback=rollback)
    cluster = simulated(definition, {})
    service = cluster.state.services["web"]
    first = service.primary
    cluster.deploy(replace(service.definition, task_definition=NEXT), 4)
    cluster.run(cluster.now + 3)
    failed = service.primary
    cluster.state.alarms.add("Errors")
    cluster.run(cluster.now + 600, settles=True)
    assert failed.rollout == "FAILED"
    assert failed.reason == "ECS deployment alarm: alarm detected."
    assert service.primary is (first if rollback else failed)
    # It rings on, and the rollback does not mind.
    assert first.rollout == "COMPLETED"


def test_an_alarm_that_rang_before_is_not_watched() -> None:
    cluster = simulated(replace(SERVED, alarms=("Errors",)), {})
    cluster.state.alarms.add("Errors")
    service = roll_out(cluster)
    assert service.primary.rollout == "COMPLETED"
    assert service.primary.definition.task_definition == NEXT


def test_an_alarm_after_a_deployment_changes_nothing() -> None:
    cluster = simulated(replace(SERVED, alarms=("Errors",)), {})
    cluster.state.alarms.add("Errors")
    cluster.run(cluster.now + 100)
    assert cluster.is_settled()


def test_starts_that_fail_wait_longer_and_longer_up_to_27_minutes() -> None:
    cluster = Watched([group(minimum=3, desired=3)], fate=lambda _: NO_IMAGE)
    cluster.begin((replace(SERVED, provider="provider"), 3))
    cluster.run(6 * 3600)
    starts = [line.at for line in cluster.lines if "has started" in line.text]
    # The first few may fail at once; and each try takes the time of a pull.
    waits = [later - one for one, later in pairwise(starts[3:])]
    assert FIRST_BACK_OFF <= waits[0] < 60
    assert all(one < later + 5 for one, later in pairwise(waits))
    assert LONGEST_BACK_OFF <= waits[-1] < LONGEST_BACK_OFF + 60
    assert any(
        "is unable to consistently start tasks successfully." in one
        for one in messages(cluster.state.services["web"])
    )


def test_tasks_that_stop_after_they_ran_do_not_slow_the_next_start() -> None:
    cluster = Watched([group(desired=3)], fate=lambda _: CRASHES)
    cluster.begin((replace(SERVED, provider="provider"), 3))
    cluster.run(600)
    assert cluster.state.services["web"].retry_at == 0


def test_a_new_revision_ends_the_back_off() -> None:
    cluster = Watched(
        [group(minimum=3, desired=3)],
        fate=lambda task: NO_IMAGE if task.definition == TASK else "healthy",
    )
    cluster.begin((replace(SERVED, provider="provider"), 3))
    cluster.run(2000)
    service = cluster.state.services["web"]
    assert service.retry_at > cluster.now
    cluster.deploy(replace(service.definition, task_definition=NEXT), 3)
    control.step(cluster.state, cluster.now)
    assert service.number(Bucket.STARTING) == 3


def test_a_stage_that_takes_a_day_fails_its_deployment() -> None:
    shifting = replace(
        WEB,
        target_groups=("blue", "green"),
        shift=Shift(BLUE_GREEN, bake_seconds=300),
    )
    cluster = state([instance("i-1")])
    service = cluster.deploy(shifting, 2, 0)
    live(cluster, 60)
    first = service.primary
    cluster.deploy(replace(shifting, task_definition=TaskDefinition("big", 4096, 1)), 2, 100)
    control.step(cluster, 100)
    control.step(cluster, 99 + STAGE_SECONDS)
    assert service.primary is not first
    control.step(cluster, 100 + STAGE_SECONDS)
    assert service.primary is first


def test_a_deleted_service_is_gone_when_its_tasks_are() -> None:
    cluster, _ = served(Breaker())
    cluster.remove("web")
    control.step(cluster, 61)
    assert "web" in cluster.services
    live(cluster, 30, since=62)
    assert not cluster.services
    assert not cluster.tasks
    assert not [one for one in control.step(cluster, 93) if isinstance(one, Start)]
