"""Application Auto Scaling: the bounds and policies of services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.api.account import Account, Asked, Operation, uuid_of
from rehearsal.api.errors import ApiError
from rehearsal.api.pages import page
from rehearsal.api.wire import Answer
from rehearsal.records import ServiceRecord
from scheduler.scaling import Policy, Scaler

DIMENSION = "ecs:service:DesiredCount"
PAGE = 50
DYNAMIC = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended")
SUSPENSIONS = (*DYNAMIC, "ScheduledScalingSuspended")


def register_scalable_target(account: Account, asked: Asked) -> Answer:
    """Give a service bounds, or others, and suspend or resume its scaling."""
    record = _service(account, asked)
    scaler = account.world.scalers.get(record.name)
    low = asked.get("MinCapacity", scaler.minimum if scaler else None)
    high = asked.get("MaxCapacity", scaler.maximum if scaler else None)
    if low is None or high is None:
        raise _wrong("MinCapacity and MaxCapacity are required to register a new scalable target.")
    if not 0 <= low <= high:
        raise _wrong("Maximum capacity cannot be less than minimum capacity")
    if scaler is None:
        scaler = account.world.scalers.setdefault(record.name, Scaler(record.name, low, high, ()))
    scaler.minimum, scaler.maximum = low, high
    suspended = account.suspended.setdefault(record.name, dict.fromkeys(SUSPENSIONS, False))
    suspended |= asked.get("SuspendedState") or {}
    # The scheduler has one switch for both directions.
    scaler.is_suspended = all(suspended[name] for name in DYNAMIC)
    return {"ScalableTargetARN": _arn(account, record)}


def deregister_scalable_target(account: Account, asked: Asked) -> Answer:
    """Scale a service no more."""
    record = _service(account, asked)
    if account.world.scalers.pop(record.name, None) is None:
        raise ApiError(
            "ObjectNotFoundException",
            f"No scalable target found for service namespace: ecs, resource ID: "
            f"{asked['ResourceId']}, scalable dimension: {DIMENSION}",
        )
    account.suspended.pop(record.name, None)
    return {}


def describe_scalable_targets(account: Account, asked: Asked) -> Answer:
    """Give the services that are scaled, and their bounds."""
    wanted = asked.get("ResourceIds")
    found = [
        _target(account, record, scaler)
        for record, scaler in _scaled(account, asked)
        if not wanted or _resource_id(account, record) in wanted
    ]
    shown, token = _page(asked, found, "ResourceId")
    return {"ScalableTargets": shown, "NextToken": token}


def describe_scaling_policies(account: Account, asked: Asked) -> Answer:
    """Give the target tracking policies of services."""
    wanted, names = asked.get("ResourceId"), asked.get("PolicyNames")
    found = [
        _policy(account, record, policy)
        for record, scaler in _scaled(account, asked)
        for policy in scaler.policies
        if wanted in (None, _resource_id(account, record))
        and (not names or policy.name in names or _policy_arn(account, record, policy) in names)
    ]
    shown, token = _page(asked, found, "PolicyARN")
    return {"ScalingPolicies": shown, "NextToken": token}


def describe_scaling_activities(account: Account, asked: Asked) -> Answer:
    """Give nothing: what scaled a service stands in its events."""
    _ = list(_scaled(account, asked))
    return {"ScalingActivities": []}


def _service(account: Account, asked: Asked) -> ServiceRecord:
    if asked["ServiceNamespace"] != "ecs" or asked["ScalableDimension"] != DIMENSION:
        raise _wrong(f"The rehearsal scales {DIMENSION} alone.")
    kind, _, rest = asked["ResourceId"].partition("/")
    cluster, _, name = rest.partition("/")
    record = account.world.services.get(name)
    if kind != "service" or cluster != account.cluster_name or record is None:
        raise _wrong(f"ECS service doesn't exist: {asked['ResourceId']:.200}")
    if account.service_status(record) == "INACTIVE":
        raise _wrong(f"ECS service doesn't exist: {asked['ResourceId']:.200}")
    return record


def _scaled(account: Account, asked: Asked) -> list[tuple[ServiceRecord, Scaler]]:
    if asked["ServiceNamespace"] != "ecs" or asked.get("ScalableDimension") not in {
        None, DIMENSION
    }:  # fmt: skip
        return []
    services = account.world.services
    return [
        (services[name], scaler)
        for name, scaler in account.world.scalers.items()
        if name in services
    ]


def _target(account: Account, record: ServiceRecord, scaler: Scaler) -> dict[str, Any]:
    suspended = account.suspended.get(record.name) or dict.fromkeys(SUSPENSIONS, False)
    if scaler.is_suspended:
        suspended = suspended | dict.fromkeys(DYNAMIC, True)
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": _resource_id(account, record),
        "ScalableDimension": DIMENSION,
        "MinCapacity": scaler.minimum,
        "MaxCapacity": scaler.maximum,
        "RoleARN": account.iam(
            "role/aws-service-role/ecs.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_ECSService"
        ),
        "CreationTime": record.created_at,
        "SuspendedState": suspended,
        "ScalableTargetARN": _arn(account, record),
    }


def _policy(account: Account, record: ServiceRecord, policy: Policy) -> dict[str, Any]:
    return {
        "PolicyARN": _policy_arn(account, record, policy),
        "PolicyName": policy.name,
        "ServiceNamespace": "ecs",
        "ResourceId": _resource_id(account, record),
        "ScalableDimension": DIMENSION,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": policy.target,
            "PredefinedMetricSpecification": {"PredefinedMetricType": policy.metric},
            "ScaleOutCooldown": int(policy.out_cooldown),
            "ScaleInCooldown": int(policy.in_cooldown),
            "DisableScaleIn": False,
        },
        "Alarms": [],
        "CreationTime": record.created_at,
    }


def _resource_id(account: Account, record: ServiceRecord) -> str:
    return f"service/{account.cluster_name}/{record.name}"


def _arn(account: Account, record: ServiceRecord) -> str:
    return account.world.stacks.arn(
        "application-autoscaling", f"scalable-target/{uuid_of(record.arn).replace('-', '')}"
    )


def _policy_arn(account: Account, record: ServiceRecord, policy: Policy) -> str:
    path = f"resource/ecs/{_resource_id(account, record)}:policyName/{policy.name}"
    return account.world.stacks.arn(
        "autoscaling", f"scalingPolicy:{uuid_of(record.arn + policy.name)}:{path}"
    )


def _page(
    asked: Asked, found: list[dict[str, Any]], key: str
) -> tuple[list[dict[str, Any]], str | None]:
    size = asked.get("MaxResults", PAGE)
    if not 1 <= size <= PAGE:
        raise _wrong(f"MaxResults must be between 1 and {PAGE}")
    wrong = ApiError("InvalidNextTokenException", "Invalid next token")
    return page(
        found, lambda one: [one[key]], size=size, token=asked.get("NextToken"), wrong_token=wrong
    )


def _wrong(message: str) -> ApiError:
    return ApiError("ValidationException", message)


OPERATIONS: Mapping[str, Operation] = {
    "DeregisterScalableTarget": deregister_scalable_target,
    "DescribeScalableTargets": describe_scalable_targets,
    "DescribeScalingActivities": describe_scaling_activities,
    "DescribeScalingPolicies": describe_scaling_policies,
    "RegisterScalableTarget": register_scalable_target,
}
