"""EC2 Auto Scaling: the groups, their instances, activities and refreshes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rehearsal.api.account import Account, Asked, Operation, uuid_of
from rehearsal.api.ecs_clusters import group_arn
from rehearsal.api.errors import ApiError, validation
from rehearsal.api.pages import Key, page
from rehearsal.api.wire import Answer
from rehearsal.world import tags_of
from scheduler import actions
from scheduler.model import Group, Instance, Refresh
from templates import Value

GROUP = "AWS::AutoScaling::AutoScalingGroup"
TEMPLATE = "AWS::EC2::LaunchTemplate"
PAGE, PAGE_OF_INSTANCES = 100, 50
INSTANCES_A_CALL = 50
# ECS sets it up by this name. Source: managed-instance-draining.html, and real answers.
HOOK = "ecs-managed-draining-termination-hook"
HOOK_SECONDS = 3600
# The longest that a lifecycle hook may wait. Source, read 2026-11-24:
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
HOOK_LIMIT_SECONDS = 48 * 3600
# What a refresh here does as it is asked; no instance is ever in Standby.
PLAYED = {"SkipMatching", "ScaleInProtectedInstances", "StandbyInstances"}
_WRONG_TOKEN = ApiError("InvalidNextToken", "The NextToken value is not valid.")


def describe_auto_scaling_groups(account: Account, asked: Asked) -> Answer:
    """Give groups with their instances."""
    names = asked.get("AutoScalingGroupNames")
    found = [
        _group(account, group)
        for group in account.world.state.groups.values()
        if not names or group.name in names
    ]
    found = [one for one in found if _passes(one, asked.get("Filters") or ())]
    shown, token = _page(asked, found, lambda one: [one["AutoScalingGroupName"]], PAGE)
    return {"AutoScalingGroups": shown, "NextToken": token}


def describe_auto_scaling_instances(account: Account, asked: Asked) -> Answer:
    """Give the instances of every group."""
    wanted = asked.get("InstanceIds")
    found = [
        _member(account, group, one) | {"AutoScalingGroupName": group.name}
        for group in account.world.state.groups.values()
        for one in _members(account, group)
        if not wanted or account.host(one).ec2_id in wanted
    ]
    for one in found:
        # Here it has another spelling than in the description of the group.
        one["HealthStatus"] = "HEALTHY"
    shown, token = _page(asked, found, lambda one: [one["InstanceId"]], PAGE_OF_INSTANCES)
    return {"AutoScalingInstances": shown, "NextToken": token}


def describe_scaling_activities(account: Account, asked: Asked) -> Answer:
    """Give what groups did, the newest first."""
    named, wanted = asked.get("AutoScalingGroupName"), asked.get("ActivityIds")
    if named:
        _need(account, named)
    every = [
        (number, _activity(account, group, what, at, number))
        for number, (at, group, what) in enumerate(account.world.activities)
        if named in (None, group)
    ]
    found = [pair for pair in every if not wanted or pair[1]["ActivityId"] in wanted]
    shown, token = page(
        found,
        lambda pair: [pair[0]],
        size=_size(asked, PAGE),
        token=asked.get("NextToken"),
        reverse=True,
        wrong_token=_WRONG_TOKEN,
    )
    return {"Activities": [one for _, one in shown], "NextToken": token}


def describe_lifecycle_hooks(account: Account, asked: Asked) -> Answer:
    """Give the hook that managed draining waits in."""
    group = _need(account, asked["AutoScalingGroupName"])
    wanted = asked.get("LifecycleHookNames")
    if not group.drains or (wanted and HOOK not in wanted):
        return {"LifecycleHooks": []}
    return {
        "LifecycleHooks": [
            {
                "LifecycleHookName": HOOK,
                "AutoScalingGroupName": group.name,
                "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
                "HeartbeatTimeout": HOOK_SECONDS,
                "GlobalTimeout": HOOK_LIMIT_SECONDS,
                "DefaultResult": "CONTINUE",
            }
        ]
    }


def set_desired_capacity(account: Account, asked: Asked) -> Answer:
    """Launch or end instances up to another number."""
    group, desired = _need(account, asked["AutoScalingGroupName"]), asked["DesiredCapacity"]
    if desired > group.maximum:
        raise validation(
            f"New SetDesiredCapacity value {desired} is above max value {group.maximum} for the "
            "AutoScalingGroup."
        )
    if desired < group.minimum:
        raise validation(
            f"New SetDesiredCapacity value {desired} is below min value {group.minimum} for the "
            "AutoScalingGroup."
        )
    account.world.act(actions.Resize(group.name, desired, "a user's request"))
    return {}


def update_auto_scaling_group(account: Account, asked: Asked) -> Answer:
    """Change a group's bounds, and whether what it launches is protected."""
    group = _need(account, asked["AutoScalingGroupName"])
    played = {"AutoScalingGroupName", "MinSize", "MaxSize", "DesiredCapacity",
              "NewInstancesProtectedFromScaleIn"}  # fmt: skip
    if others := sorted(set(asked) - played):
        raise validation(
            f"The rehearsal does not change {others[0]} of a group; deploy another template."
        )
    minimum, maximum = asked.get("MinSize", group.minimum), asked.get("MaxSize", group.maximum)
    if minimum < 0 or maximum < minimum:
        raise validation(
            f"Max bound, {maximum}, must be greater than or equal to min bound, {minimum}"
        )
    desired = asked.get("DesiredCapacity")
    if desired is not None and not minimum <= desired <= maximum:
        raise validation(
            f"Desired capacity:{desired} must be between the specified min size:{minimum} and "
            f"max size:{maximum}"
        )
    group.minimum, group.maximum = minimum, maximum
    wanted = min(max(group.desired if desired is None else desired, minimum), maximum)
    if wanted != group.desired:
        account.world.act(actions.Resize(group.name, wanted, "a user's request"))
    if "NewInstancesProtectedFromScaleIn" in asked:
        account.new_protected[group.name] = asked["NewInstancesProtectedFromScaleIn"]
    return {}


def terminate_instance_in_auto_scaling_group(account: Account, asked: Asked) -> Answer:
    """End one instance: it is drained first, and replaced unless the group shall be smaller."""
    named = asked.get("InstanceIds") or [one for one in [asked.get("InstanceId")] if one]
    if len(named) != 1:
        raise validation("The rehearsal ends one instance a call: expected one InstanceId.")
    instance = account.of_ec2(named[0])
    group = account.group_of(instance) if instance else None
    if instance is None or group is None:
        raise validation(f"Instance Id not found - No managed instance found for ID {named[0]}")
    if asked["ShouldDecrementDesiredCapacity"]:
        if group.desired <= group.minimum:
            raise validation(
                f"Currently, desiredSize equals minSize ({group.minimum}). Terminating instance "
                "without replacement will violate group's min size constraint. Either set "
                "shouldDecrementDesiredCapacity flag to false or lower group's min size."
            )
        account.world.act(actions.Resize(group.name, group.desired - 1, "a user's request"))
    if instance.lifecycle != "Terminating:Wait":
        account.world.act(actions.EndInstance(instance.id, "a user's request"))
    at, _, what = account.world.activities[-1]
    number = len(account.world.activities) - 1
    activity = _activity(account, group.name, what, at, number)
    return {"Activity": activity | {"StatusCode": "InProgress", "Progress": 0, "EndTime": None}}


def set_instance_protection(account: Account, asked: Asked) -> Answer:
    """Protect instances from scale-in, or no longer."""
    group = _need(account, asked["AutoScalingGroupName"])
    if len(asked["InstanceIds"]) > INSTANCES_A_CALL:
        raise validation(f"At most {INSTANCES_A_CALL} instances can be given.")
    found = []
    for ec2_id in asked["InstanceIds"]:
        instance = account.of_ec2(ec2_id)
        if instance is None or instance.group != group.name:
            raise validation(f"Instance Id not found - No managed instance found for ID {ec2_id}")
        if instance.lifecycle != "InService":
            raise validation(
                f"The instance {ec2_id} is not in InService or EnteringStandby or Standby."
            )
        found.append(instance)
    for instance in found:
        account.world.act(actions.Protect(instance.id, asked["ProtectedFromScaleIn"]))
    return {}


def start_instance_refresh(account: Account, asked: Asked) -> Answer:
    """Replace instances; with SkipMatching only those of another launch template.

    The bounds and the warm-up are those of the group; raise ApiError for other preferences.
    """
    group = _need(account, asked["AutoScalingGroupName"])
    if asked.get("DesiredConfiguration"):
        raise validation(
            "The rehearsal refreshes to the template that is deployed: expected no "
            "DesiredConfiguration."
        )
    if asked.get("Strategy", "Rolling") != "Rolling":
        raise validation("The rehearsal plays the strategy Rolling only.")
    refresh = _refresh_of(account, group)
    if refresh is not None and refresh.status == "InProgress":
        raise ApiError(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance "
            "Refresh.",
        )
    preferences = asked.get("Preferences") or {}
    _check_preferences(group, preferences)
    account.world.refresh(group.name, every=not preferences.get("SkipMatching", False))
    started = _refresh_of(account, group)
    assert started is not None  # noqa: S101 - it has just begun
    started.protected = preferences.get("ScaleInProtectedInstances", "Wait")
    return {"InstanceRefreshId": started.id}


def cancel_instance_refresh(account: Account, asked: Asked) -> Answer:
    """Replace no more instances; what has been launched stays."""
    group = _need(account, asked["AutoScalingGroupName"])
    refresh = _refresh_of(account, group)
    if refresh is None or refresh.status != "InProgress":
        raise ApiError(
            "ActiveInstanceRefreshNotFound",
            f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}",
        )
    account.world.act(actions.Refreshed(group.name, "Cancelled"))
    return {"InstanceRefreshId": refresh.id}


def describe_instance_refreshes(account: Account, asked: Asked) -> Answer:
    """Give a group's refreshes, the newest first."""
    group = _need(account, asked["AutoScalingGroupName"])
    _refresh_of(account, group)
    wanted = asked.get("InstanceRefreshIds")
    found = [
        one
        for name, one in account.refreshes.values()
        if name == group.name and (not wanted or one.id in wanted)
    ]
    shown, token = page(
        found,
        lambda one: [round(one.started_at * 1000), one.id],
        size=_size(asked, PAGE),
        token=asked.get("NextToken"),
        reverse=True,
        wrong_token=_WRONG_TOKEN,
    )
    return {
        "InstanceRefreshes": [_described(account, group, one) for one in shown],
        "NextToken": token,
    }


def _check_preferences(group: Group, preferences: Mapping[str, Any]) -> None:
    """Raise ApiError for what a refresh here would not do as it is asked."""
    own = {
        "MinHealthyPercentage": group.minimum_healthy_percent,
        "MaxHealthyPercentage": group.maximum_healthy_percent,
        "InstanceWarmup": group.warmup_seconds,
    }
    for name, wanted in preferences.items():
        if name in own and wanted != own[name]:
            raise validation(
                f"The rehearsal does not play {name} {wanted} of a refresh alone: expected the "
                f"group's own, {own[name]:g}. Change the template and run: python -m rehearsal "
                "deploy"
            )
        if name not in own and name not in PLAYED and wanted:
            raise validation(f"The rehearsal does not play {name} of a refresh.")


def _need(account: Account, name: str) -> Group:
    group = account.world.state.groups.get(name)
    if group is None:
        raise validation("AutoScalingGroup name not found - AutoScalingGroup not found")
    return group


def _members(account: Account, group: Group) -> list[Instance]:
    return [
        one
        for one in account.world.state.instances.values()
        if one.group == group.name and one.id in account.world.hosts
    ]


def _group(account: Account, group: Group) -> dict[str, Any]:
    properties: Mapping[str, Value] = next(
        (one for _, name, one in account.resources(GROUP) if name == group.name), {}
    )
    found = account.read("autoscaling", "AutoScalingGroup", _readable(properties))
    subnets = [str(one) for one in properties.get("VPCZoneIdentifier") or []]
    tags = [
        {
            "ResourceId": group.name,
            "ResourceType": "auto-scaling-group",
            "Key": one["Key"],
            "Value": str(one["Value"]),
            "PropagateAtLaunch": one.get("PropagateAtLaunch") in (True, "true"),
        }
        for one in properties.get("Tags") or []
    ]
    return {
        "DefaultCooldown": 300,
        "HealthCheckType": "EC2",
        "HealthCheckGracePeriod": 0,
        "TerminationPolicies": ["Default"],
        **found,
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group_arn(account, group.name),
        "MinSize": group.minimum,
        "MaxSize": group.maximum,
        "DesiredCapacity": group.desired,
        "AvailabilityZones": list(group.zones),
        "CreatedTime": account.began,
        "Instances": [_member(account, group, one) for one in _members(account, group)],
        "VPCZoneIdentifier": ",".join(subnets) or None,
        "NewInstancesProtectedFromScaleIn": account.new_protected.get(
            group.name, found.get("NewInstancesProtectedFromScaleIn", False)
        ),
        "LoadBalancerNames": [],
        "TargetGroupARNs": [],
        "SuspendedProcesses": [],
        "EnabledMetrics": [],
        "Tags": tags,
        "ServiceLinkedRoleARN": account.iam(
            "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
        ),
    }


def _readable(properties: Mapping[str, Value]) -> dict[str, Value]:
    """Leave out what the API spells otherwise than CloudFormation, or gives as it is now."""
    other = {"Tags", "VPCZoneIdentifier", "MetricsCollection", "AvailabilityZones", "Instances"}
    return {name: one for name, one in properties.items() if name not in other}


def _member(account: Account, group: Group, one: Instance) -> dict[str, Any]:
    template = next(iter(account.resources(TEMPLATE)), None)
    matches = one.template == group.template
    return {
        "InstanceId": account.host(one).ec2_id,
        "InstanceType": one.kind.name,
        "AvailabilityZone": one.zone,
        "LifecycleState": one.lifecycle,
        "HealthStatus": "Healthy",
        "LaunchTemplate": _template(account, template[1], matches=matches) if template else None,
        "ProtectedFromScaleIn": one.is_protected,
    }


def _template(account: Account, template: str, *, matches: bool) -> dict[str, str]:
    """Name a launch template and its version; of an older one only that it is older is known."""
    known = account.world.stacks.known
    versions = [
        int(known[f"{record.stack.name}.{logical_id}.LatestVersionNumber"])
        for record in account.world.stacks.records.values()
        for logical_id, physical in record.physical.items()
        if physical == template
    ]
    newest = max(versions, default=1)
    return {
        "LaunchTemplateId": template,
        "Version": str(newest if matches else max(newest - 1, 1)),
    }


def _activity(account: Account, group: str, what: str, at: float, number: int) -> dict[str, Any]:
    return {
        "ActivityId": uuid_of(f"{group} {number}"),
        "AutoScalingGroupName": group,
        "AutoScalingGroupARN": group_arn(account, group),
        "Description": what,
        "Cause": f"{what}.",
        "StartTime": at,
        "EndTime": at,
        "StatusCode": "Successful",
        "Progress": 100,
        "Details": "{}",
    }


def _refresh_of(account: Account, group: Group) -> Refresh | None:
    """Give a group's newest refresh, and remember it, since the next one takes its place."""
    refresh = group.refresh
    if refresh is not None:
        account.refreshes[refresh.id] = group.name, refresh
    return refresh


def _described(account: Account, group: Group, refresh: Refresh) -> dict[str, Any]:
    there = _members(account, group)
    left = sum(
        one.id in refresh.every or one.template != refresh.template
        for one in there
        if one.lifecycle != "Terminating:Wait"
    )
    over = refresh.status != "InProgress"
    left = 0 if refresh.status == "Successful" else left
    every = max(group.desired, 1)
    return {
        "InstanceRefreshId": refresh.id,
        "AutoScalingGroupName": group.name,
        "Status": refresh.status,
        "StartTime": account.wall(refresh.started_at),
        "EndTime": account.wall(refresh.ended_at or 0) if over else None,
        "PercentageComplete": max(0, 100 * (every - min(left, every)) // every),
        "InstancesToUpdate": left,
        "Preferences": {
            "MinHealthyPercentage": group.minimum_healthy_percent,
            "MaxHealthyPercentage": group.maximum_healthy_percent,
            "SkipMatching": not refresh.every,
            "ScaleInProtectedInstances": refresh.protected,
        },
        "Strategy": "Rolling",
    }


def _passes(group: Mapping[str, Any], filters: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a group's tags fulfil filters of tags."""
    tags = tags_of(group)
    for one in filters:
        name, values = one.get("Name", ""), one.get("Values") or []
        if name == "tag-key":
            found = set(tags)
        elif name == "tag-value":
            found = set(tags.values())
        elif name.startswith("tag:"):
            found = {tags[name[4:]]} if name[4:] in tags else set()
        else:
            raise validation(f"Filter type {name:.100} is not correct.")
        if not found.intersection(values):
            return False
    return True


def _size(asked: Asked, high: int) -> int:
    size = asked.get("MaxRecords", high)
    if not 1 <= size <= 100:
        raise validation("MaxRecords must be between 1 and 100.")
    return min(int(size), high)


def _page(
    asked: Asked,
    found: Sequence[dict[str, Any]],
    key: Callable[[dict[str, Any]], Key],
    high: int,
) -> tuple[list[dict[str, Any]], str | None]:
    return page(
        found, key, size=_size(asked, high), token=asked.get("NextToken"), wrong_token=_WRONG_TOKEN
    )


OPERATIONS: Mapping[str, Operation] = {
    "CancelInstanceRefresh": cancel_instance_refresh,
    "DescribeAutoScalingGroups": describe_auto_scaling_groups,
    "DescribeAutoScalingInstances": describe_auto_scaling_instances,
    "DescribeInstanceRefreshes": describe_instance_refreshes,
    "DescribeLifecycleHooks": describe_lifecycle_hooks,
    "DescribeScalingActivities": describe_scaling_activities,
    "SetDesiredCapacity": set_desired_capacity,
    "SetInstanceProtection": set_instance_protection,
    "StartInstanceRefresh": start_instance_refresh,
    "TerminateInstanceInAutoScalingGroup": terminate_instance_in_auto_scaling_group,
    "UpdateAutoScalingGroup": update_auto_scaling_group,
}
