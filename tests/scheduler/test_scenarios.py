"""Each scenario does what its name says, and its outcome says what capacity lacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from scheduler.environment import DeclaredService, Environment
from scheduler.model import Group, TaskDefinition
from scheduler.scaling import Policy
from scheduler.scenarios import (
    LOST_SECONDS,
    NOTICE_SECONDS,
    SCENARIOS,
    SPIKE_SECONDS,
    Outcome,
    ScenarioError,
    Shortfall,
    play,
    timings_of,
)
from scheduler.simulation import Sample, Timing
from templates import Resource
from tests.scheduler.clusters import BY_ZONE, TASK, WEB, group

RESOURCE = Resource("Small/Web", "Service", "AWS::ECS::Service", {})
DEFINITION = replace(
    WEB,
    provider="provider",
    target_groups=("tg",),
    strategies=(BY_ZONE,),
    rebalancing=True,
    # One fills half a host, so that more tasks need more hosts.
    task_definition=replace(TASK, cpu=1024),
)
SERVICE = DeclaredService(
    DEFINITION,
    2,
    RESOURCE,
    RESOURCE,
    minimum=2,
    maximum=8,
    policies=(Policy("requests", "ALBRequestCountPerTarget", 600, 60, 300),),
    check_seconds=10,
    deregistration_seconds=30,
)


@dataclass(frozen=True)
class Small(Environment):
    """An environment without templates: one service on two hosts in two zones."""

    make: Callable[[], list[Group]] = lambda: [group(minimum=2, desired=2, drains_on_notice=True)]

    def make_groups(self) -> list[Group]:
        return self.make()


def small(service: DeclaredService = SERVICE, **given: object) -> Small:
    return Small("small", {}, (service,), **given)  # type: ignore[arg-type]


def texts(outcome: Outcome) -> list[str]:
    return [line.text for line in outcome.lines]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_comes_to_rest_and_its_lines_begin_with_what_it_does(scenario: str) -> None:
    outcome = play(small(), scenario)
    assert outcome.is_settled
    assert outcome.obstacles == ()
    assert outcome.lines[0].text == outcome.marks[0].text
    assert outcome.marks[0].at == 0
    assert all(0 <= line.at <= outcome.ended_at for line in outcome.lines)
    assert outcome.samples[0].at <= 0
    assert outcome.samples[-1].at <= outcome.ended_at


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_seed_gives_the_same_outcome(scenario: str) -> None:
    assert play(small(), scenario, seed=3) == play(small(), scenario, seed=3)


def test_a_rollout_replaces_every_task_and_is_never_short() -> None:
    outcome = play(small(), "rollout")
    assert outcome.shortfalls == []
    assert outcome.samples[-1].healthy == 2
    assert any("deployment completed" in text for text in texts(outcome))


def test_a_spike_is_short_until_tasks_and_hosts_have_come_and_they_go_again() -> None:
    outcome = play(small(), "spike")
    # 600 requests a minute and five times as many: 1 task, then 5.
    assert {one.demand for one in outcome.samples if one.at >= 0} == {1, 5}
    (short,) = outcome.shortfalls
    assert short.at == 0
    assert 180 < short.seconds < 900
    assert short.tasks == 3
    assert outcome.peak_hosts > 2
    assert outcome.samples[-1].hosts == 2
    assert [mark.at for mark in outcome.marks] == [0, SPIKE_SECONDS]
    assert "600 requests a minute" in outcome.remarks[0]


def test_a_lost_zone_boots_nothing_until_it_is_back_and_then_has_its_share() -> None:
    outcome = play(small(), "az-loss")
    zone = outcome.marks[0].text.split()[1]
    boots = [line for line in outcome.lines if line.text.endswith(f"boots in {zone}")]
    assert boots
    assert all(line.at >= LOST_SECONDS for line in boots)
    assert [mark.at for mark in outcome.marks] == [0, LOST_SECONDS]
    assert any("is AZ balanced with 1 tasks in a, 1 tasks in b." in text for text in texts(outcome))
    assert outcome.shortfalls[0].tasks == 1


def test_a_refresh_replaces_the_hosts_and_is_never_short() -> None:
    outcome = play(small(), "instance-refresh")
    assert "instance refresh: Successful" in texts(outcome)
    assert outcome.peak_hosts == 4
    assert outcome.shortfalls == []


@pytest.mark.parametrize(
    ("drains", "on_notice", "is_drained"),
    [(False, True, True), (True, False, True), (False, False, False)],
)
def test_a_spot_instance_is_drained_at_its_notice_if_anything_does_and_then_gone(
    drains: bool, on_notice: bool, is_drained: bool
) -> None:
    hosts = group(minimum=2, drains=drains, drains_on_notice=on_notice)
    outcome = play(small(make=lambda: [replace(hosts)]), "spot-interruption")
    drained = [line.at for line in outcome.lines if line.text.endswith("is DRAINING")]
    assert bool(drained) is is_drained
    gone = outcome.marks[1]
    assert gone.at == NOTICE_SECONDS
    assert gone.text.endswith(f"with {int(not is_drained)} tasks still on it")
    assert bool(outcome.shortfalls) is not is_drained


def test_from_zero_two_hosts_come_back() -> None:
    outcome = play(small(), "scale-to-zero")
    assert min(one.hosts for one in outcome.samples) == 0
    back = outcome.marks[1].at
    boots = [line for line in outcome.lines if "boots in" in line.text and line.at >= back]
    assert len(boots) == 2
    assert outcome.samples[-1].healthy == 2
    (short,) = outcome.shortfalls
    assert (short.at, short.tasks) == (back, 2)


def test_what_is_declared_goes_before_defaults_and_what_is_asked_for_before_that() -> None:
    found = timings_of(small(), Timing(), {"boot": 7, "check": 3})
    assert found == {"web": Timing(boot=7, check=3, deregistration=30)}
    plain = small(replace(SERVICE, check_seconds=None, deregistration_seconds=None))
    assert timings_of(plain, Timing(), {}) == {"web": Timing()}


def test_a_slower_boot_is_seen() -> None:
    fast, slow = (
        play(small(), "scale-to-zero", overrides={"boot": seconds}) for seconds in (30, 300)
    )
    assert slow.shortfalls[0].seconds > fast.shortfalls[0].seconds + 200


def test_a_spike_without_a_policy_on_requests_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match="small: expected a service with a scaling policy on ALB"
    ):
        play(small(replace(SERVICE, policies=())), "spike")


def test_an_environment_that_is_not_steady_before_is_refused_with_the_reason() -> None:
    big = replace(DEFINITION, task_definition=TaskDefinition("big", 4096, 1))
    with pytest.raises(
        ScenarioError, match=r"expected a steady state before rollout.*insufficient CPU"
    ):
        play(small(replace(SERVICE, definition=big)), "rollout")


def test_a_scenario_that_does_not_end_says_what_holds_it() -> None:
    stuck = replace(DEFINITION, maximum_percent=100)
    outcome = play(small(replace(SERVICE, definition=stuck)), "instance-refresh")
    assert not outcome.is_settled
    assert any("minimumHealthyPercent or maximumPercent" in one for one in outcome.obstacles)


def outcome_of(*rows: tuple[float, int, int]) -> Outcome:
    """An outcome of samples, each a time, a demand, and the healthy tasks."""
    samples = tuple(
        Sample(at, 1, 0, 0, demand, healthy, healthy, 0, demand) for at, demand, healthy in rows
    )
    timings: Mapping[str, Timing] = {}
    return Outcome("e", "s", 0, timings, samples, (), (), (), 100, is_settled=True)


@pytest.mark.parametrize(
    ("rows", "shortfalls"),
    [
        ([(0, 2, 2)], []),
        ([(0, 2, 3)], []),
        ([(0, 2, 1)], [Shortfall(0, 100, 1)]),
        ([(0, 2, 2), (10, 4, 2), (20, 4, 1), (30, 4, 4)], [Shortfall(10, 20, 3)]),
        ([(0, 2, 1), (10, 2, 2), (90, 2, 0)], [Shortfall(0, 10, 1), Shortfall(90, 10, 2)]),
    ],
)
def test_a_shortfall_is_how_long_and_by_how_much_at_the_worst(
    rows: list[tuple[float, int, int]], shortfalls: list[Shortfall]
) -> None:
    assert outcome_of(*rows).shortfalls == shortfalls
