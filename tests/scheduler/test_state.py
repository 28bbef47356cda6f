"""The books of what was decided and observed: what counts as healthy, and what a start takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.actions import Deregister, Launch, Register, Start, Stop
from scheduler.model import Bucket, ServiceDefinition, TaskDefinition
from scheduler.state import SETTLING_SECONDS, STOPPED_SECONDS, State
from tests.scheduler.clusters import TASK, WEB, group, instance, keeps_limits, state

CHECKED = replace(TASK, has_health_check=True)


def started(definition: ServiceDefinition = WEB, *, task: TaskDefinition = TASK) -> State:
    """A cluster with one task, which has just been placed."""
    cluster = state([instance("i-1")])
    service = cluster.deploy(replace(definition, task_definition=task), 1, 0)
    cluster.apply(Start("t", "web", service.primary.id, task, "i-1"), 0)
    return cluster


def bucket(cluster: State) -> Bucket | None:
    return cluster.tasks["t"].bucket


def test_a_task_without_checks_is_healthy_after_forty_seconds() -> None:
    cluster = started()
    assert bucket(cluster) is Bucket.STARTING
    cluster.started("t", 5)
    assert bucket(cluster) is Bucket.SETTLING
    cluster.tick(5 + SETTLING_SECONDS - 1)
    assert bucket(cluster) is Bucket.SETTLING
    cluster.tick(5 + SETTLING_SECONDS)
    assert bucket(cluster) is Bucket.HEALTHY


def test_a_task_with_a_container_check_is_healthy_once_that_passes() -> None:
    cluster = started(task=CHECKED)
    cluster.started("t", 5)
    cluster.tick(1000)
    assert bucket(cluster) is Bucket.SETTLING
    cluster.set_health("t", "HEALTHY", 1001)
    assert bucket(cluster) is Bucket.HEALTHY


@pytest.mark.parametrize("first", ["container", "target"])
def test_with_a_target_both_checks_must_pass(first: str) -> None:
    cluster = started(replace(WEB, target_groups=("tg",)), task=CHECKED)
    cluster.started("t", 5)
    cluster.apply(Register("t"), 5)
    for check in (first, "target" if first == "container" else "container"):
        assert bucket(cluster) is Bucket.SETTLING
        if check == "container":
            cluster.set_health("t", "HEALTHY", 6)
        else:
            cluster.set_target("t", "healthy", 6)
    assert bucket(cluster) is Bucket.HEALTHY


@pytest.mark.parametrize("failing", ["container", "target"])
def test_in_its_grace_period_no_failed_check_counts(failing: str) -> None:
    cluster = started(replace(WEB, target_groups=("tg",), grace_seconds=60), task=CHECKED)
    cluster.started("t", 10)
    cluster.apply(Register("t"), 10)
    if failing == "container":
        cluster.set_health("t", "UNHEALTHY", 20)
    else:
        cluster.set_target("t", "unhealthy", 20, "Request timed out")
    assert bucket(cluster) is Bucket.SETTLING
    assert cluster.next_timer() == 70
    cluster.tick(69)
    assert bucket(cluster) is Bucket.SETTLING
    cluster.tick(70)
    assert bucket(cluster) is Bucket.UNHEALTHY


def test_what_runs_takes_its_reservation_until_it_has_stopped() -> None:
    cluster = started()
    one = cluster.instances["i-1"]
    assert (one.cpu_left, one.memory_left, one.dynamic_ports_left) == (1792, 3500, 99)
    assert one.of_group["service:web"] == 1
    cluster.apply(Stop("t", "UserInitiated", "Task stopped by user"), 1)
    # distinctInstance and spread look at what is wanted, resources at what is there.
    assert one.of_group["service:web"] == 0
    assert one.cpu_left == 1792
    keeps_limits(one)
    cluster.stopped_itself("t", 2)
    assert one.cpu_left == 2048
    keeps_limits(one)


def test_a_lost_instance_takes_its_tasks_along() -> None:
    cluster = started()
    (gone,) = cluster.lost("i-1", 7)
    assert (gone.status, gone.stop_code) == ("STOPPED", "TerminationNotice")
    assert gone.stop_reason == "Host EC2 (instance i-1) terminated."
    assert not cluster.instances
    assert not cluster.tasks


def test_a_task_that_was_never_to_run_counts_as_failed() -> None:
    cluster = started()
    cluster.stopped_itself("t", 3, code="TaskFailedToStart", reason="CannotPullContainerError")
    service = cluster.services["web"]
    assert (service.failed_starts, service.primary.failed_tasks) == (1, 1)


def test_a_running_task_that_goes_with_its_host_is_no_failed_task() -> None:
    cluster = started()
    cluster.started("t", 1)
    cluster.lost("i-1", 2)
    service = cluster.services["web"]
    assert (service.failed_starts, service.primary.failed_tasks) == (0, 0)


def test_a_task_that_runs_ends_the_back_off() -> None:
    cluster = started()
    service = cluster.services["web"]
    service.failed_starts, service.backed_off_at, service.retry_at = 7, 6, 900.0
    cluster.started("t", 1)
    assert (service.failed_starts, service.backed_off_at, service.retry_at) == (0, 0, 0)


def test_another_task_definition_begins_a_deployment_and_bounds_do_not() -> None:
    cluster = started()
    service = cluster.services["web"]
    cluster.deploy(replace(service.definition, maximum_percent=150), 3, 1)
    assert (len(service.deployments), service.desired, service.maximum) == (1, 3, 4)
    cluster.deploy(replace(service.definition, task_definition=CHECKED), 3, 2)
    assert [one.is_primary for one in service.deployments] == [True, False]
    cluster.deploy(service.definition, 3, 3, force=True)
    assert len(service.deployments) == 3


def test_a_name_is_free_again_only_when_its_service_is_gone() -> None:
    cluster = started()
    cluster.remove("web")
    with pytest.raises(ValueError, match="web: expected a name that is free, got a service"):
        cluster.deploy(WEB, 1, 1)


def test_a_stopped_task_is_known_for_an_hour() -> None:
    cluster = started()
    cluster.stopped_itself("t", 10)
    cluster.tick(10 + STOPPED_SECONDS)
    assert [task.id for task in cluster.stopped] == ["t"]
    cluster.tick(11 + STOPPED_SECONDS)
    assert not cluster.stopped


def test_the_target_of_a_task_that_ended_is_deregistered_after_it() -> None:
    cluster = started(replace(WEB, target_groups=("tg",)))
    cluster.started("t", 1)
    cluster.apply(Register("t"), 1)
    cluster.stopped_itself("t", 2)
    (task,) = [one for one in cluster.take_changed() if one.status == "STOPPED"]
    cluster.apply(Deregister("t"), 3)
    assert task.target is None


@pytest.mark.parametrize(
    ("base", "percent", "spot"),
    [
        (0, 100, [False, False, False, False]),
        (1, 0, [False, True, True, True]),
        (0, 50, [False, True, False, True]),
        (2, 25, [False, False, False, True]),
    ],
)
def test_on_demand_comes_first_and_then_its_share(
    base: int, percent: int, spot: list[bool]
) -> None:
    cluster = state()
    cluster.add_group(group(on_demand_base=base, on_demand_percent=percent))
    for name in "1234":
        cluster.apply(Launch(name, "group", "a", 0, "1"), 0)
    assert [one.spot for one in cluster.instances.values()] == spot


def test_protection_begins_when_an_instance_is_in_service() -> None:
    cluster = state()
    cluster.add_group(group(protects=True))
    cluster.apply(Launch("i-1", "group", "a", 0, "1"), 0)
    assert not cluster.instances["i-1"].is_protected
    cluster.registered("i-1", 90)
    one = cluster.instances["i-1"]
    assert (one.is_protected, one.lifecycle, one.status) == (True, "InService", "ACTIVE")
