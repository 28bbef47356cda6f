"""Lab 6: an instance that is drained and forgotten is no replaced instance."""

from __future__ import annotations

import pytest

from tests.conftest import until
from tests.labs.playing import Course

pytestmark = pytest.mark.engine


def test_an_instance_that_is_drained_and_left_so_is_named(course: Course) -> None:
    course.start(6)
    played = course.played
    drained = played.instances()[0]
    played.client("ecs").update_container_instances_state(
        cluster=played.cluster,
        containerInstances=[drained["containerInstanceArn"]],
        status="DRAINING",
    )
    until(lambda: found(course, drained["ec2InstanceId"])["runningTasksCount"] == 0, seconds=60)
    played.settle()
    done = course.run("check", 6)
    assert done.code == 1
    left = f"{drained['ec2InstanceId']} is left DRAINING and takes no tasks; end it"
    assert left in done.said
    assert course.run("reset", 6).code == 0
    assert found(course, drained["ec2InstanceId"])["status"] == "ACTIVE"


def test_a_group_that_was_made_larger_is_not_as_it_was(course: Course) -> None:
    course.start(6)
    group = course.played.client("autoscaling")
    (name,) = (
        one["AutoScalingGroupName"]
        for one in group.describe_auto_scaling_groups()["AutoScalingGroups"]
    )
    group.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
    assert "the group wants 3 instances, not 2 as at the start" in course.run("check", 6).said
    assert "desired capacity is 2 again" in course.run("reset", 6).said


def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("06-instances.md")
    assert any("was lost with tasks on it" in done.said for done in answers)


def found(course: Course, instance: str) -> dict[str, object]:
    """Describe one container instance."""
    return next(one for one in course.played.instances() if one["ec2InstanceId"] == instance)
