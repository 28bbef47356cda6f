"""Lab 7: only what the breaker took back, and a good change after it, and two shifts pass."""

from __future__ import annotations

import pytest

from tests.conftest import until
from tests.labs.playing import STEADY, Course

pytestmark = pytest.mark.engine

UNTOUCHED = (
    "the service deploys by ROLLING",
    "alarms watch deployments, and none rings",
    STEADY,
)


def test_a_rollback_is_not_taken_for_a_deployment(redeployed: Course) -> None:
    course = redeployed
    course.start(7, right=UNTOUCHED)
    played = course.played
    before = played.described()["taskDefinition"]
    played.fail("image", "web", "crash")
    until(lambda: is_rolled_back(course, before), seconds=120)
    played.settle()
    done = course.run("check", 7)
    assert done.code == 1
    assert "right    the circuit breaker rolled deployment" in done.said
    assert "right    the service is steady" in done.said
    assert "its newest deployment is ROLLBACK_SUCCESSFUL" in done.said
    assert "A steady service is not a deployed one" in done.said
    assert "missing  no deployment has moved the traffic in steps" in done.said
    assert "missing  no blue/green deployment was taken back" in done.said
    # Or whoever names the family alone would run the broken one.
    assert "of the lab is deregistered" in course.run("reset", 7).said


def test_what_is_under_way_is_no_start_and_no_end(redeployed: Course) -> None:
    course, played = redeployed, redeployed.played
    course.start(7, right=UNTOUCHED)
    played.client("ecs").update_service(
        cluster=played.cluster, service=played.service, forceNewDeployment=True
    )
    refused = course.run("start", 8)
    assert refused.code == 1
    assert "is not steady, so nobody could tell" in refused.said
    assert "is not steady yet: 2 deployments are under way" in course.run("reset", 7).said


def test_its_page_passes_it(redeployed: Course) -> None:
    answers = [done.said for done in redeployed.follow("07-deployments.md")]
    assert any("A steady service is not a deployed one" in said for said in answers)
    # On a busy machine the step is over before the page's loop looks at the weights.
    assert any("receives 20 percent" in said for said in redeployed.played.events())
    assert any("Service deployment stopped by user." in said for said in answers)
    assert "Lab 7 is passed." in "".join(answers)


def is_rolled_back(course: Course, before: str) -> bool:
    found = course.played.described()
    return found["taskDefinition"] == before and len(found["deployments"]) == 1
