"""Lab 6: an instance that is drained and forgotten is no replaced instance."""

from __future__ import annotations

from typing import Any

import pytest

from labs import instances
from labs.place import Place
from tests.conftest import until
from tests.labs.playing import STEADY, Course
from tests.ops.world import World

UNTOUCHED = ("2 instances take tasks, as at the start", STEADY)

REMEMBERED: dict[str, Any] = {"capacity": 2, "desired": 2, "refreshes": ["old"], "revisions": []}


@pytest.fixture
def many(world: World, boats: Place) -> list[list[str]]:
    """Twelve instances that stay and one that goes, all drained; gives who was made ACTIVE."""
    staying = [f"i-{number:02}" for number in range(12)]
    there = [*((name, "InService") for name in staying), ("i-going", "Terminating:Wait")]
    active: list[list[str]] = []

    def updated(given: dict[str, Any]) -> dict[str, Any]:
        assert len(given["containerInstances"]) <= 10
        assert given["status"] == "ACTIVE"
        active.append(given["containerInstances"])
        return {}

    described = [
        {"containerInstanceArn": name, "ec2InstanceId": name, "status": "DRAINING"}
        for name, _ in there
    ]
    group = {
        "Instances": [{"InstanceId": name, "LifecycleState": state} for name, state in there],
        "DesiredCapacity": 2,
    }
    world.answer("ListContainerInstances", lambda _: {"containerInstanceArns": ["any"]})
    world.answer("DescribeContainerInstances", lambda _: {"containerInstances": described})
    world.answer("UpdateContainerInstancesState", updated)
    boats.describe_group = lambda: group  # type: ignore[method-assign,assignment,return-value]
    return active


def reset(place: Place) -> str:
    definition = place.describe_service()["taskDefinition"]
    remembered = {**REMEMBERED, "definition": definition, "revisions": [definition]}
    return "\n".join(instances.reset(place, remembered))


def test_only_instances_that_stay_take_tasks_again_ten_in_a_call(
    boats: Place, many: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "_refreshes", lambda _: [])
    assert "12 drained instances take tasks again." in reset(boats)
    assert [len(some) for some in many] == [10, 2]
    assert "i-going" not in [name for some in many for name in some]


def test_an_instance_that_its_group_ends_was_drained_by_nobody(
    boats: Place, many: list[list[str]]
) -> None:
    assert many == []
    there = boats.instances()
    for one in there:
        one |= {"runningTasksCount": 1, "pendingTasksCount": 0}
    there[-1]["runningTasksCount"] = 0
    boats.instances = lambda: there  # type: ignore[method-assign]
    remembered: dict[str, Any] = {}
    assert "i-00 is DRAINING and still runs 1 tasks" in instances._drained(boats, remembered).words
    assert remembered == {}
    there[3]["runningTasksCount"] = 0
    assert instances._drained(boats, remembered).right
    assert remembered == {"seen_drained": "i-03"}


@pytest.mark.parametrize(
    ("refresh", "status", "is_cancelled"),
    [("new", "InProgress", True), ("new", "Successful", False), ("old", "InProgress", False)],
)
def test_a_refresh_of_the_lab_that_goes_on_is_cancelled_first(
    world: World, boats: Place, many: list[list[str]], monkeypatch: pytest.MonkeyPatch,
    refresh: str, status: str, is_cancelled: bool,
) -> None:  # fmt: skip
    found = [{"InstanceRefreshId": refresh, "Status": status}]
    monkeypatch.setattr(instances, "_refreshes", lambda _: found)
    world.answer("CancelInstanceRefresh", lambda _: {"InstanceRefreshId": refresh})
    world.calls.clear()
    assert ("The instance refresh is cancelled" in reset(boats)) is is_cancelled
    assert ("CancelInstanceRefresh" in world.calls) is is_cancelled
    if is_cancelled:
        first = world.calls.index("CancelInstanceRefresh")
        assert first < world.calls.index("UpdateContainerInstancesState")
    assert many


@pytest.mark.engine
def test_an_instance_that_is_drained_and_left_so_is_named(course: Course) -> None:
    course.start(6, right=UNTOUCHED)
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


@pytest.mark.engine
def test_a_group_that_was_made_larger_is_not_as_it_was(course: Course) -> None:
    course.start(6, right=UNTOUCHED)
    group = course.played.client("autoscaling")
    (name,) = (
        one["AutoScalingGroupName"]
        for one in group.describe_auto_scaling_groups()["AutoScalingGroups"]
    )
    group.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
    assert "the group wants 3 instances, not 2 as at the start" in course.run("check", 6).said
    assert "desired capacity is 2 again" in course.run("reset", 6).said


@pytest.mark.engine
def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("06-instances.md")
    assert any("was lost with tasks on it" in done.said for done in answers)


def found(course: Course, instance: str) -> dict[str, object]:
    """Describe one container instance."""
    return next(one for one in course.played.instances() if one["ec2InstanceId"] == instance)
