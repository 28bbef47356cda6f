"""Lab 8: a group that is enlarged by hand is no capacity that came for tasks."""

from __future__ import annotations

import pytest

from tests.labs.playing import SIZES, STEADY, Course

pytestmark = pytest.mark.engine


def test_a_group_that_is_enlarged_by_hand_is_named(course: Course) -> None:
    course.start(8, right=("the group has 2 instances in service", STEADY, *SIZES))
    autoscaling = course.played.client("autoscaling")
    (group,) = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    autoscaling.set_desired_capacity(
        AutoScalingGroupName=group["AutoScalingGroupName"], DesiredCapacity=3
    )
    course.played.settle_hosts()
    done = course.run("check", 8)
    assert done.code == 1
    assert "do not enlarge the group, ask for tasks" in done.said
    assert "the group has 3 instances (3 in service), at the start 2" in done.said
    assert course.run("reset", 8).code == 0


def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("08-scaling.md")
    assert any("has insufficient memory available" in done.said for done in answers)
    assert any(done.said.strip() == "503" for done in answers)
