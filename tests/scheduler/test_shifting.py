"""Traffic moves from one set of tasks to the other as the strategy says, and back when it must."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from scheduler import actions
from scheduler.actions import Action
from scheduler.model import (
    BLUE_GREEN,
    CANARY,
    LINEAR,
    Bucket,
    Deployment,
    Service,
    Shift,
    TaskDefinition,
)
from scheduler.shifting import steps
from tests.scheduler.clusters import TASK, WEB, Watched, group, messages

SHIFTS = {
    BLUE_GREEN: Shift(BLUE_GREEN, bake_seconds=300),
    CANARY: Shift(CANARY, 10, 120, 300),
    LINEAR: Shift(LINEAR, 30, 60, 300),
}
BASE = replace(WEB, provider="provider", target_groups=("blue", "green"), alarms=("Errors",))
NEXT, THIRD = replace(TASK, name="web:2"), replace(TASK, name="web:3")


@dataclass
class Weighed(Watched):
    """Notes each weight, and in which order all that touches targets was done."""

    shifted: list[tuple[float, str, float]] = field(default_factory=list)
    order: list[Action] = field(default_factory=list)

    def carry_out(self, action: Action) -> None:
        super().carry_out(action)
        if isinstance(action, (actions.Enter, actions.Stop, actions.Deregister)):
            self.order.append(action)

    def _do_enter(self, action: actions.Enter) -> None:
        super()._do_enter(action)
        self.shifted.append((self.now, action.stage, action.percent))


def running(kind: str) -> tuple[Weighed, Service]:
    cluster = Weighed([group(desired=3)])
    cluster.begin((replace(BASE, shift=SHIFTS[kind]), 3))
    cluster.run(400, settles=True)
    cluster.shifted.clear()
    return cluster, cluster.state.services["web"]


def deploy(cluster: Weighed, service: Service, task: TaskDefinition = NEXT) -> Deployment:
    cluster.deploy(replace(service.definition, task_definition=task), service.desired)
    return service.primary


@pytest.mark.parametrize(
    ("shift", "weights"),
    [
        (SHIFTS[BLUE_GREEN], [100]),
        (SHIFTS[CANARY], [10, 100]),
        (SHIFTS[LINEAR], [30, 60, 90, 100]),
        (Shift(LINEAR, 33.3), [33.3, 66.6, 99.9, 100]),
        (Shift(LINEAR, 100), [100]),
    ],
)
def test_the_steps_are_those_of_the_strategy(shift: Shift, weights: list[float]) -> None:
    assert list(steps(shift)) == weights


@pytest.mark.parametrize(
    ("kind", "weights", "waits"),
    [
        (BLUE_GREEN, [0, 100], []),
        (CANARY, [0, 10, 100], [120]),
        (LINEAR, [0, 30, 60, 90, 100], [60, 60, 60]),
    ],
)
def test_traffic_moves_step_by_step_and_then_bakes(
    kind: str, weights: list[float], waits: list[float]
) -> None:
    cluster, service = running(kind)
    deploy(cluster, service)
    cluster.run(cluster.now + 2000, settles=True)
    stages = [(stage, percent) for _, stage, percent in cluster.shifted]
    traffic = [("PRODUCTION_TRAFFIC_SHIFT", percent) for percent in weights[1:]]
    assert stages == [("SCALE_UP", 0), *traffic, ("BAKE_TIME", 100), ("CLEAN_UP", 100)]
    times = [at for at, stage, _ in cluster.shifted if stage == "PRODUCTION_TRAFFIC_SHIFT"]
    assert [later - one for one, later in pairwise(times)] == waits
    bake, clean_up = [at for at, stage, _ in cluster.shifted if stage in {"BAKE_TIME", "CLEAN_UP"}]
    assert bake == times[-1], "a step's wait is not for the last"
    assert clean_up - bake == 300
    assert cluster.is_settled()
    assert {task.definition for task in cluster.state.tasks.values()} == {NEXT}


def test_no_traffic_moves_before_the_new_set_is_whole_and_healthy() -> None:
    cluster, service = running(CANARY)
    green = deploy(cluster, service)
    while green.percent == 0:
        cluster.run(cluster.now + 1)
    assert green.number(Bucket.HEALTHY) == 3
    assert service.number(Bucket.HEALTHY) == 6


def test_traffic_does_not_jump_to_a_set_that_is_not_ready_when_the_old_one_dies() -> None:
    cluster, service = running(CANARY)
    blue = service.primary
    green = deploy(cluster, service)
    cluster.run(cluster.now + 1)
    for name in list(blue.tasks[Bucket.HEALTHY]):
        cluster.state.stopped_itself(name, cluster.now)
    cluster.run(cluster.now + 1)
    assert blue in service.deployments
    while green.percent == 0:
        cluster.run(cluster.now + 1)
    assert green.percent == 10
    assert green.number(Bucket.HEALTHY) == 3


def test_the_old_set_stays_whole_until_the_bake_time_is_over() -> None:
    cluster, service = running(LINEAR)
    blue = service.primary
    green = deploy(cluster, service)
    while green.stage != "CLEAN_UP":
        assert blue.number(Bucket.HEALTHY) == 3
        cluster.run(cluster.now + 1)
    cluster.run(cluster.now + 100, settles=True)
    assert service.deployments == [green]


@pytest.mark.parametrize("kind", SHIFTS)
@pytest.mark.parametrize("stage", ["SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME"])
def test_an_alarm_gives_the_traffic_back_before_the_new_set_goes(kind: str, stage: str) -> None:
    cluster, service = running(kind)
    blue = service.primary
    green = deploy(cluster, service)
    while not (green.stage == stage or (green.percent and stage not in {"SCALE_UP", "BAKE_TIME"})):
        cluster.run(cluster.now + 1)
    cluster.state.alarms.add("Errors")
    cluster.order.clear()
    cluster.run(cluster.now + 1)
    assert cluster.order[0] == actions.Enter("web", blue.id, "SCALE_UP", 100)
    cluster.run(cluster.now + 600, settles=True)
    assert cluster.is_settled()
    assert service.deployments == [blue]
    assert blue.rollout == "COMPLETED"
    assert {task.definition for task in cluster.state.tasks.values()} == {TASK}


def test_an_alarm_while_the_old_set_is_stopped_changes_nothing() -> None:
    cluster, service = running(BLUE_GREEN)
    green = deploy(cluster, service)
    while green.stage != "CLEAN_UP":
        cluster.run(cluster.now + 1)
    cluster.state.alarms.add("Errors")
    cluster.run(cluster.now + 600, settles=True)
    assert service.deployments == [green]
    assert green.rollout == "COMPLETED"


def test_each_deployment_takes_the_target_group_that_serves_nobody() -> None:
    cluster, service = running(BLUE_GREEN)
    used = [service.primary.target_group]
    for task in (NEXT, THIRD):
        deploy(cluster, service, task)
        cluster.run(cluster.now + 1000, settles=True)
        used.append(service.primary.target_group)
    assert used == [0, 1, 0]


@pytest.mark.parametrize("until", ["SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME"])
def test_a_newer_revision_halfway_ends_the_one_before_and_never_shares_its_targets(
    until: str,
) -> None:
    cluster, service = running(CANARY)
    blue = service.primary
    second = deploy(cluster, service)
    while second.stage != until:
        cluster.run(cluster.now + 1)
    third = deploy(cluster, service, THIRD)
    assert third.target_group == second.target_group != blue.target_group
    while third.percent == 0:
        assert blue.number(Bucket.HEALTHY) == 3
        assert second.is_empty or third.is_empty
        cluster.run(cluster.now + 1)
    cluster.run(cluster.now + 1000, settles=True)
    assert service.deployments == [third]
    assert cluster.is_settled()


def test_a_newer_revision_in_the_clean_up_leaves_the_one_that_serves() -> None:
    cluster, service = running(BLUE_GREEN)
    second = deploy(cluster, service)
    while second.stage != "CLEAN_UP":
        cluster.run(cluster.now + 1)
    third = deploy(cluster, service, THIRD)
    assert third.target_group != second.target_group
    while third.percent == 0:
        assert second.number(Bucket.HEALTHY) == 3
        cluster.run(cluster.now + 1)
    cluster.run(cluster.now + 1000, settles=True)
    assert service.deployments == [third]


def test_a_revision_after_the_shift_goes_back_to_the_one_that_serves() -> None:
    cluster, service = running(BLUE_GREEN)
    second = deploy(cluster, service)
    while second.stage != "CLEAN_UP":
        cluster.run(cluster.now + 1)
    third = deploy(cluster, service, THIRD)
    while third.percent == 0:
        cluster.run(cluster.now + 1)
    cluster.state.alarms.add("Errors")
    cluster.run(cluster.now + 600, settles=True)
    assert third.rollout == "FAILED"
    assert service.deployments == [second]
    assert second.rollout == "COMPLETED"
    assert cluster.is_settled()


def test_a_failed_shift_without_rollback_keeps_the_old_set_and_its_weights() -> None:
    cluster, service = running(CANARY)
    blue = service.primary
    definition = replace(service.definition, alarm_rollback=False, task_definition=NEXT)
    cluster.deploy(definition, 3)
    green = service.primary
    while green.percent == 0:
        cluster.run(cluster.now + 1)
    cluster.state.alarms.add("Errors")
    cluster.run(cluster.now + 1000)
    assert (green.rollout, green.percent) == ("FAILED", 10)
    assert blue.number(Bucket.HEALTHY) == 3
    cluster.state.stopped_itself(next(iter(blue.tasks[Bucket.HEALTHY])), cluster.now)
    cluster.state.stopped_itself(next(iter(green.tasks[Bucket.HEALTHY])), cluster.now)
    cluster.run(cluster.now + 100)
    assert (blue.number(Bucket.HEALTHY), green.number(Bucket.HEALTHY)) == (3, 2)


def test_both_sets_follow_the_desired_count() -> None:
    cluster, service = running(LINEAR)
    blue = service.primary
    green = deploy(cluster, service)
    while green.percent == 0:
        cluster.run(cluster.now + 1)
    cluster.deploy(service.definition, 2)
    cluster.run(cluster.now + 50)
    assert (blue.live, green.live) == (2, 2)


def test_draining_in_a_shift_moves_the_tasks_of_both_sets() -> None:
    cluster, service = running(LINEAR)
    green = deploy(cluster, service)
    while green.percent == 0:
        cluster.run(cluster.now + 1)
    drained = next(iter(cluster.state.instances))
    cluster.state.set_instance_status(drained, "DRAINING")
    cluster.run(cluster.now + 2000, settles=True)
    assert not cluster.state.instances[drained].tasks
    assert service.deployments == [green]
    assert cluster.is_settled()


def test_scaled_to_none_in_a_shift_the_service_is_steady() -> None:
    cluster, service = running(CANARY)
    green = deploy(cluster, service)
    while green.percent == 0:
        cluster.run(cluster.now + 1)
    cluster.deploy(service.definition, 0)
    cluster.run(cluster.now + 3000, settles=True)
    assert cluster.is_settled()
    assert service.deployments == [green]


def test_traffic_that_moves_is_told() -> None:
    cluster, service = running(CANARY)
    green = deploy(cluster, service)
    cluster.run(cluster.now + 1000, settles=True)
    assert [one for one in messages(service) if "percent" in one] == [
        f"(service web) (deployment {green.id}) receives {percent} percent of the production "
        "traffic."
        for percent in (10, 100)
    ]
