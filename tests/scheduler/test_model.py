"""The arithmetic of the nouns."""

from __future__ import annotations

import pytest

from scheduler.model import Breaker, Service, ServiceDefinition
from tests.scheduler.clusters import TASK, instance


@pytest.mark.parametrize(
    ("desired", "minimum", "maximum", "least", "most"),
    [(4, 50, 200, 2, 8), (2, 75, 100, 2, 2), (3, 100, 125, 3, 3), (0, 100, 200, 0, 0)],
)
def test_the_minimum_is_rounded_up_and_the_maximum_down(
    desired: int, minimum: int, maximum: int, least: int, most: int
) -> None:
    definition = ServiceDefinition(
        "web", TASK, minimum_healthy_percent=minimum, maximum_percent=maximum
    )
    service = Service(definition, desired, 0)
    assert (service.minimum_healthy, service.maximum) == (least, most)


@pytest.mark.parametrize(
    ("breaker", "desired", "threshold"),
    [
        (Breaker(), 1, 3),
        (Breaker(), 25, 13),
        (Breaker(), 400, 200),
        (Breaker(), 800, 200),
        (Breaker("UNBOUNDED_PERCENT", 50), 800, 400),
        (Breaker("UNBOUNDED_PERCENT", 50), 3, 2),
        (Breaker("COUNT", 5), 800, 5),
    ],
)
def test_the_breakers_threshold_is_that_of_its_type(
    breaker: Breaker, desired: int, threshold: int
) -> None:
    assert breaker.threshold(desired) == threshold


def test_a_breaker_takes_at_least_one_failed_task() -> None:
    assert Breaker("UNBOUNDED_PERCENT", 50).threshold(0) == 1


def test_an_instance_knows_its_zone_and_type_as_attributes() -> None:
    one = instance("i-1", "a")
    assert one.attributes == {"ecs.availability-zone": "a", "ecs.instance-type": "large"}


@pytest.mark.parametrize(
    ("status", "agent", "accepts"),
    [("ACTIVE", True, True), ("ACTIVE", False, False), ("DRAINING", True, False)],
)
def test_only_an_active_instance_with_its_agent_takes_tasks(
    status: str, agent: bool, accepts: bool
) -> None:
    assert instance("i-1", status=status, agent=agent).accepts is accepts
