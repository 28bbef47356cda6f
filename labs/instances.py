"""Lab 6: the instances that the containers stand on are yours to drain, replace and lose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from labs import services
from labs.lab import Item, Lab, Remembered
from labs.place import Place
from ops.watch.read import batches

if TYPE_CHECKING:
    from types_boto3_autoscaling.type_defs import InstanceRefreshTypeDef
    from types_boto3_ecs.type_defs import ContainerInstanceTypeDef

# ECS's words for a task whose instance has ended, as answers of AWS's have them.
HOST_IS_GONE = re.compile(r"Host EC2 \(instance (i-\w+)\) (?:terminated|stopped)")

# What UpdateContainerInstancesState takes at most in one call.
# Source: https://docs.aws.amazon.com/AWSJavaSDK/latest/javadoc/com/amazonaws/services/ecs/model/UpdateContainerInstancesStateRequest.html
# read on 2026-11-29
UPDATED_A_CALL = 10
# Those of a refresh that can be cancelled.
# Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/cancel-instance-refresh.html and the
# list of its statuses, read on 2026-11-29; that Baking is one of them no page says.
UNDER_WAY = {"Pending", "InProgress", "Baking", "RollbackInProgress"}


def begin(place: Place) -> Remembered:
    """Remember the service, the group's size and instances, and its refreshes so far."""
    group = place.describe_group()
    return services.remember(place) | {
        "instances": sorted(one["InstanceId"] for one in group["Instances"]),
        "capacity": group["DesiredCapacity"],
        "refreshes": [one["InstanceRefreshId"] for one in _refreshes(place)],
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for an instance that was drained, one that was lost, a refresh, and all being whole."""
    yield _drained(place, remembered)
    yield _lost(place, remembered)
    yield _refreshed(place, remembered)
    yield _replaced(place, remembered)
    yield _whole(place, remembered)
    yield services.is_steady(place, remembered)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Let tasks come to drained instances again; give group and service their size of the start.

    An instance that is on its way out stays drained, as the group will end it; a refresh that goes
    on would drain others.
    """
    if any(one["Status"] in UNDER_WAY for one in _new_refreshes(place, remembered)):
        place.aws.autoscaling.cancel_instance_refresh(AutoScalingGroupName=place.group)
        yield "The instance refresh is cancelled; what it has replaced stays replaced."
    arns = [one["containerInstanceArn"] for one in _draining(place)]
    for some in batches(arns, UPDATED_A_CALL):
        place.aws.ecs.update_container_instances_state(
            cluster=place.cluster, containerInstances=some, status="ACTIVE"
        )
    if arns:
        yield f"{len(arns)} drained instances take tasks again."
    if place.describe_group()["DesiredCapacity"] != remembered["capacity"]:
        place.aws.autoscaling.set_desired_capacity(
            AutoScalingGroupName=place.group, DesiredCapacity=remembered["capacity"]
        )
        yield f"The group's desired capacity is {remembered['capacity']} again."
    yield from services.put_back(place, remembered)


def _draining(place: Place) -> list[ContainerInstanceTypeDef]:
    """Give the instances that somebody drains: one that its group ends is drained by that."""
    staying = {
        one["InstanceId"]
        for one in place.describe_group()["Instances"]
        if one["LifecycleState"] == "InService"
    }
    return [
        one
        for one in place.instances()
        if one["status"] == "DRAINING" and one["ec2InstanceId"] in staying
    ]


def _drained(place: Place, remembered: MutableMapping[str, Any]) -> Item:
    """Whether a check has seen an instance that takes no tasks any more, and has none left."""
    draining = _draining(place)
    for one in draining:
        if one["runningTasksCount"] + one["pendingTasksCount"] == 0:
            remembered["seen_drained"] = one["ec2InstanceId"]
    if "seen_drained" in remembered:
        return Item(True, f"instance {remembered['seen_drained']} was drained to its last task")
    for one in draining:
        return Item(
            False,
            f"instance {one['ec2InstanceId']} is DRAINING and still runs "
            f"{one['runningTasksCount']} tasks; wait until it has none before you end it",
        )
    return Item(
        False,
        "no check has seen a drained instance: aws ecs update-container-instances-state "
        "--status DRAINING, wait, and check before you end it",
    )


def _lost(place: Place, remembered: MutableMapping[str, Any]) -> Item:
    """Whether an instance ended while tasks ran on it."""
    for task in place.tasks(stopped=True):
        found = HOST_IS_GONE.search(task.get("stoppedReason", ""))
        if found and task["taskArn"] not in remembered["stopped"]:
            remembered["seen_lost"] = found[1]
    if "seen_lost" in remembered:
        return Item(True, f"instance {remembered['seen_lost']} was lost with tasks on it")
    return Item(
        False,
        "no instance was lost with tasks on it: aws ec2 terminate-instances, without draining",
    )


def _refreshed(place: Place, remembered: Remembered) -> Item:
    new = _new_refreshes(place, remembered)
    if any(one["Status"] == "Successful" for one in new):
        return Item(True, "an instance refresh has replaced what was there")
    for one in new:
        done = one.get("PercentageComplete", 0)
        return Item(
            False, f"the instance refresh is {one['Status']}, {done}% done; wait, or start another"
        )
    return Item(False, "no instance refresh was started: aws autoscaling start-instance-refresh")


def _replaced(place: Place, remembered: Remembered) -> Item:
    """Whether every instance of the start has a successor."""
    there = {one["InstanceId"] for one in place.describe_group()["Instances"]}
    old = sorted(there.intersection(remembered["instances"]))
    if old:
        return Item(False, f"still there from the start: {', '.join(old)}")
    return Item(True, "every instance of the start has been replaced")


def _whole(place: Place, remembered: Remembered) -> Item:
    """Whether the group has as many instances as at the start, and all take tasks."""
    group, wanted = place.describe_group(), remembered["capacity"]
    if group["DesiredCapacity"] != wanted:
        return Item(
            False,
            f"the group wants {group['DesiredCapacity']} instances, not {wanted} as at the start: "
            'aws autoscaling set-desired-capacity --auto-scaling-group-name "$GROUP" '
            f"--desired-capacity {wanted}",
        )
    waiting = [one for one in group["Instances"] if one["LifecycleState"] != "InService"]
    instances = place.instances()
    draining = [one["ec2InstanceId"] for one in instances if one["status"] == "DRAINING"]
    ready = [one for one in instances if one["status"] == "ACTIVE" and one["agentConnected"]]
    if draining and not waiting:
        return Item(
            False,
            f"{', '.join(draining)} is left DRAINING and takes no tasks; end it, and the group "
            "starts another: aws autoscaling terminate-instance-in-auto-scaling-group",
        )
    if waiting or len(ready) != wanted:
        return Item(
            False,
            f"{len(ready)} of {wanted} instances take tasks, and {len(waiting)} come or go; wait",
        )
    return Item(True, f"{wanted} instances take tasks, as at the start")


def _refreshes(place: Place) -> list[InstanceRefreshTypeDef]:
    answer = place.aws.autoscaling.describe_instance_refreshes(AutoScalingGroupName=place.group)
    return answer["InstanceRefreshes"]


def _new_refreshes(place: Place, remembered: Remembered) -> list[InstanceRefreshTypeDef]:
    known = remembered["refreshes"]
    return [one for one in _refreshes(place) if one["InstanceRefreshId"] not in known]


LAB = Lab(
    number=6,
    title="The instances are yours",
    minutes=15,
    page="06-instances.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "A drained instance keeps its place in the Auto Scaling group: draining is ECS's, the "
        "group is EC2's. Whoever drains must also end the instance.",
        "Check while the drained instance is still there and empty; afterwards nobody can tell how "
        "it ended.",
        "terminate-instance-in-auto-scaling-group drains first, through the lifecycle hook of "
        "managed draining. terminate-instances pulls the plug.",
        "A refresh launches before it terminates here, one instance at a time: "
        "describe-instance-refreshes says how far it is.",
    ),
    is_minimum=True,
)
