"""Target tracking asks for the tasks at which its metric meets the target, out sooner than in."""

from __future__ import annotations

import pytest

from scheduler import scaling
from scheduler.actions import Scale
from scheduler.model import Service
from scheduler.scaling import Policy, Scaler
from tests.scheduler.clusters import WEB, state

CPU = Policy("cpu", "ECSServiceAverageCPUUtilization", 60, out_cooldown=60, in_cooldown=300)
REQUESTS = Policy("requests", "ALBRequestCountPerTarget", 600, out_cooldown=60, in_cooldown=300)


def scaled(desired: int = 4, *policies: Policy) -> tuple[Scaler, Service]:
    cluster = state()
    service = cluster.deploy(WEB, desired, 0)
    service.primary.rollout = "COMPLETED"
    return Scaler("web", 2, 10, policies or (CPU,)), service


def minutes(
    scaler: Scaler, service: Service, number: int, *, since: int = 0, **values: float
) -> list[tuple[int, int]]:
    """Let minutes pass in which the metrics stay as they are; give each change and its minute."""
    found = []
    for minute in range(since, since + number):
        scaler.observe(values, minute * 60)
        for action in scaling.decide(scaler, service, service.desired, minute * 60):
            assert isinstance(action, Scale)
            service.desired = action.desired
            found.append((minute, action.desired))
    return found


def test_three_minutes_above_the_target_scale_out_in_proportion() -> None:
    scaler, service = scaled()
    assert minutes(scaler, service, 3, cpu=90) == [(2, 6)]


@pytest.mark.parametrize(("cpu", "desired"), [(60.1, 5), (75, 5), (76, 6), (1000, 10)])
def test_a_scale_out_is_rounded_up_and_ends_at_the_maximum(cpu: float, desired: int) -> None:
    scaler, service = scaled()
    assert minutes(scaler, service, 3, cpu=cpu) == [(2, desired)]


def test_two_minutes_above_the_target_are_not_enough() -> None:
    scaler, service = scaled()
    assert minutes(scaler, service, 2, cpu=90) == []
    assert minutes(scaler, service, 2, since=2, cpu=50) == []


def test_fifteen_minutes_far_below_the_target_scale_in() -> None:
    scaler, service = scaled()
    assert minutes(scaler, service, 15, cpu=30) == [(14, 2)]


def test_a_little_below_the_target_nothing_scales_in() -> None:
    scaler, service = scaled()
    assert minutes(scaler, service, 60, cpu=54) == []


def test_half_a_task_is_no_scale_in() -> None:
    scaler, service = scaled(3)
    assert minutes(scaler, service, 60, cpu=50) == []


def test_a_scale_in_ends_at_the_minimum() -> None:
    scaler, service = scaled()
    assert minutes(scaler, service, 60, cpu=1) == [(14, 2)]


def test_of_several_policies_the_largest_wins() -> None:
    scaler, service = scaled(4, CPU, REQUESTS)
    assert minutes(scaler, service, 3, cpu=90, requests=1200) == [(2, 8)]


def test_it_scales_in_only_where_every_policy_would() -> None:
    scaler, service = scaled(4, CPU, REQUESTS)
    assert minutes(scaler, service, 30, cpu=10, requests=590) == []
    assert minutes(scaler, service, 15, since=30, cpu=10, requests=400) == [(44, 3)]


def test_while_a_deployment_goes_on_it_scales_out_but_not_in() -> None:
    scaler, service = scaled()
    service.primary.rollout = "IN_PROGRESS"
    assert minutes(scaler, service, 30, cpu=10) == []
    assert minutes(scaler, service, 3, since=30, cpu=90) == [(32, 6)]


def test_a_scale_in_waits_for_its_cooldown() -> None:
    slow = Policy("cpu", "CPU", 60, in_cooldown=1800)
    scaler, service = scaled(10, slow)
    first = minutes(scaler, service, 15, cpu=40)
    assert first == [(14, 7)]
    assert minutes(scaler, service, 60, since=15, cpu=40) == [(44, 5), (74, 4)]


def test_a_larger_scale_out_passes_the_cooldown_of_the_one_before() -> None:
    scaler, service = scaled(2, Policy("cpu", "CPU", 60, out_cooldown=3600))
    assert minutes(scaler, service, 3, cpu=90) == [(2, 3)]
    assert minutes(scaler, service, 1, since=3, cpu=120) == [(3, 6)]


def test_a_scale_in_waits_for_the_cooldown_of_a_scale_out() -> None:
    scaler, service = scaled(2, Policy("cpu", "CPU", 60, out_cooldown=3600, in_cooldown=0))
    minutes(scaler, service, 3, cpu=120)
    assert minutes(scaler, service, 70, since=3, cpu=10) == [(62, 2)]


def test_the_bounds_of_the_target_hold_at_once() -> None:
    scaler, service = scaled(1)
    assert minutes(scaler, service, 1, cpu=60) == [(0, 2)]
    scaler, service = scaled(12)
    assert minutes(scaler, service, 1, cpu=60) == [(0, 10)]


def test_suspended_it_does_nothing() -> None:
    scaler, service = scaled()
    scaler.is_suspended = True
    assert minutes(scaler, service, 30, cpu=1000) == []


def test_a_metric_is_due_each_minute() -> None:
    scaler, _ = scaled()
    scaler.observe({"cpu": 60}, 100)
    assert not scaler.is_due(159)
    assert scaler.is_due(160)
