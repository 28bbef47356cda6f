"""ECS: the cluster, and its capacity provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rehearsal.api import tags
from rehearsal.api.account import (
    Account,
    Asked,
    Operation,
    batch,
    missing,
    uuid_of,
)
from rehearsal.api.errors import ApiError, invalid, not_played
from rehearsal.api.pages import page, size_of
from rehearsal.api.wire import Answer
from rehearsal.world import tags_of
from scheduler.model import Group, ManagedScaling

CLUSTER = "AWS::ECS::Cluster"
PROVIDER = "AWS::ECS::CapacityProvider"
ASSOCIATIONS = "AWS::ECS::ClusterCapacityProviderAssociations"
CLUSTERS_A_CALL = 100
PROVIDERS_A_CALL = 100
# Every cluster has them, and nobody plays them. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
FARGATE = ("FARGATE", "FARGATE_SPOT")


def describe_clusters(account: Account, asked: Asked) -> Answer:
    """Give the cluster, and failures for every other name."""
    named = asked.get("clusters") or ["default"]
    batch(named, CLUSTERS_A_CALL, "clusters")
    found, failures = [], []
    for one in named:
        if one in (account.cluster_name, account.cluster_arn):
            found.append(_cluster(account, set(asked.get("include") or ())))
        else:
            arn = one if one.startswith("arn:") else account.arn(f"cluster/{one}")
            failures.append(missing(arn))
    return {"clusters": found, "failures": failures}


def list_clusters(account: Account, asked: Asked) -> Answer:
    """Give the one that there is."""
    size_of(asked.get("maxResults"), default=100, high=100)
    found, token = page([account.cluster_arn], lambda arn: [arn], size=100,
                        token=asked.get("nextToken"))  # fmt: skip
    return {"clusterArns": found, "nextToken": token}


def create_cluster(account: Account, asked: Asked) -> Answer:
    """Give the cluster again, as AWS does for a name that there is; refuse to make another."""
    if asked.get("clusterName", "default") != account.cluster_name:
        raise not_played("a second cluster; it has the environment's own alone")
    return {"cluster": _cluster(account, {"SETTINGS", "TAGS"})}


def delete_cluster(account: Account, asked: Asked) -> Answer:
    """Refuse, with AWS's reason where there is one."""
    account.check_cluster(asked)
    state = account.world.state
    if account.instances():
        raise ApiError(
            "ClusterContainsContainerInstancesException",
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        )
    if any(one.is_active for one in state.services.values()):
        raise ApiError(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        )
    if state.tasks:
        raise ApiError(
            "ClusterContainsTasksException",
            "The Cluster cannot be deleted while Tasks are active.",
        )
    raise not_played("the end of its cluster; end it with: python -m rehearsal down")


def describe_capacity_providers(account: Account, asked: Asked) -> Answer:
    """Give the capacity providers, ten a page."""
    named = asked.get("capacityProviders")
    batch(named or (), PROVIDERS_A_CALL, "capacityProviders")
    if asked.get("cluster"):
        account.check_cluster(asked)
    size = size_of(asked.get("maxResults"), default=10, high=10)
    every = list(_providers(account, with_tags="TAGS" in (asked.get("include") or ())))
    by_name = {
        str(name): one for one in every for name in (one["name"], one["capacityProviderArn"])
    }
    failures = [
        missing(one if one.startswith("arn:") else account.arn(f"capacity-provider/{one}"))
        for one in named or ()
        if one not in by_name
    ]
    found = [by_name[one] for one in named if one in by_name] if named else every
    found, token = page(
        found, lambda one: [str(one["name"])], size=size, token=asked.get("nextToken")
    )
    return {"capacityProviders": found, "failures": failures, "nextToken": token}


def update_capacity_provider(account: Account, asked: Asked) -> Answer:
    """Change managed scaling, draining and termination protection."""
    named = asked["name"].rpartition("/")[2]
    group = account.world.state.group_of(named)
    if group is None:
        raise invalid(
            "The specified capacity provider does not exist. Specify a valid name or ARN and try "
            "again."
        )
    if asked.get("managedInstancesProvider"):
        raise not_played("managed instances")
    _change(group, asked.get("autoScalingGroupProvider") or {})
    found = next(one for one in _providers(account, with_tags=True) if one["name"] == named)
    return {"capacityProvider": found}


def cluster_tags(account: Account) -> dict[str, str]:
    """Give the cluster's tags, to be changed in place."""
    return _tags(account, account.cluster_arn, CLUSTER)


def provider_tags(account: Account, arn: str) -> dict[str, str] | None:
    """Give a capacity provider's tags, to be changed in place."""
    if any(one["capacityProviderArn"] == arn for one in _providers(account, with_tags=False)):
        return _tags(account, arn, PROVIDER)
    return None


def default_strategy(account: Account) -> list[dict[str, Any]]:
    """Give what a service or task gets that names neither a provider nor a launch type."""
    for _, _, properties in account.resources(ASSOCIATIONS):
        shape = "CapacityProviderStrategyItem"
        found = properties.get("DefaultCapacityProviderStrategy") or []
        return [account.read("ecs", shape, one) for one in found]
    return []


def _cluster(account: Account, include: set[str]) -> dict[str, Any]:
    world = account.world
    (properties,) = (one for _, _, one in account.resources(CLUSTER))
    tasks = Counter(
        "running" if one.status == "RUNNING" else "pending"
        for one in world.state.tasks.values()
        if one.status in {"PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"}
    )
    services = [one.is_active for one in world.state.services.values()]
    found: dict[str, Any] = {
        "clusterArn": account.cluster_arn,
        "clusterName": account.cluster_name,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": len(account.instances()),
        "runningTasksCount": tasks["running"],
        "pendingTasksCount": tasks["pending"],
        "activeServicesCount": services.count(True),
        "statistics": [],
        "tags": [],
        "settings": [],
        "capacityProviders": _associated(account),
        "defaultCapacityProviderStrategy": default_strategy(account),
    }
    if "STATISTICS" in include:
        numbers = {
            "runningEC2TasksCount": tasks["running"],
            "pendingEC2TasksCount": tasks["pending"],
            "activeEC2ServiceCount": services.count(True),
            "drainingEC2ServiceCount": services.count(False),
        }
        found["statistics"] = [{"name": name, "value": str(one)} for name, one in numbers.items()]
    if "SETTINGS" in include:
        settings = properties.get("ClusterSettings") or []
        found["settings"] = [account.read("ecs", "ClusterSetting", one) for one in settings]
    if "CONFIGURATIONS" in include and properties.get("Configuration"):
        found["configuration"] = account.read(
            "ecs", "ClusterConfiguration", properties["Configuration"]
        )
    if "TAGS" in include:
        found["tags"] = tags.to_ecs(cluster_tags(account))
    return found


def _associated(account: Account) -> list[str]:
    for _, _, properties in account.resources(ASSOCIATIONS):
        return [str(one) for one in properties.get("CapacityProviders") or []]
    return []


def _providers(account: Account, *, with_tags: bool) -> Iterator[dict[str, Any]]:
    for _, name, properties in account.resources(PROVIDER):
        group = account.world.state.group_of(name)
        if group is None:
            continue
        arn = account.arn(f"capacity-provider/{name}")
        settings = account.read(
            "ecs", "AutoScalingGroupProvider", properties["AutoScalingGroupProvider"]
        )
        settings |= _settings(account, group)
        yield {
            "capacityProviderArn": arn,
            "name": name,
            "cluster": account.cluster_arn,
            "status": "ACTIVE",
            "autoScalingGroupProvider": settings,
            "updateStatus": "UPDATE_COMPLETE",
            "type": "EC2_AUTOSCALING",
            "tags": tags.to_ecs(_tags(account, arn, PROVIDER)) if with_tags else [],
        }
    for name in FARGATE:
        if name in _associated(account):
            yield {
                "capacityProviderArn": account.arn(f"capacity-provider/{name}"),
                "name": name,
                "status": "ACTIVE",
                "type": name,
                "tags": [],
            }


def _settings(account: Account, group: Group) -> dict[str, Any]:
    scaling = group.scaling or ManagedScaling()
    return {
        "autoScalingGroupArn": group_arn(account, group.name),
        "managedScaling": {
            "status": "ENABLED" if group.scaling else "DISABLED",
            "targetCapacity": scaling.target,
            "minimumScalingStepSize": scaling.minimum_step,
            "maximumScalingStepSize": scaling.maximum_step,
            "instanceWarmupPeriod": int(scaling.warmup_seconds),
        },
        "managedTerminationProtection": "ENABLED" if group.protects else "DISABLED",
        "managedDraining": "ENABLED" if group.drains else "DISABLED",
    }


def group_arn(account: Account, name: str) -> str:
    """Make an Auto Scaling group's ARN."""
    return account.world.stacks.arn(
        "autoscaling", f"autoScalingGroup:{uuid_of(name)}:autoScalingGroupName/{name}"
    )


def _change(group: Group, asked: Mapping[str, Any]) -> None:
    if managed := asked.get("managedScaling"):
        now = group.scaling or ManagedScaling()
        changed = ManagedScaling(
            target=managed.get("targetCapacity", now.target),
            minimum_step=managed.get("minimumScalingStepSize", now.minimum_step),
            maximum_step=managed.get("maximumScalingStepSize", now.maximum_step),
            warmup_seconds=managed.get("instanceWarmupPeriod", now.warmup_seconds),
        )
        enabled = managed.get("status", "ENABLED" if group.scaling else "DISABLED")
        group.scaling = changed if enabled == "ENABLED" else None
    if "managedTerminationProtection" in asked:
        group.protects = asked["managedTerminationProtection"] == "ENABLED"
    if "managedDraining" in asked:
        group.drains = asked["managedDraining"] == "ENABLED"


def _tags(account: Account, arn: str, kind: str) -> dict[str, str]:
    if arn not in account.tags:
        for _, physical, properties in account.resources(kind):
            if arn.endswith(f"/{physical}"):
                account.tags[arn] = tags_of(properties)
    return account.tags.setdefault(arn, {})


OPERATIONS: Mapping[str, Operation] = {
    "CreateCluster": create_cluster,
    "DeleteCluster": delete_cluster,
    "DescribeCapacityProviders": describe_capacity_providers,
    "DescribeClusters": describe_clusters,
    "ListClusters": list_clusters,
    "UpdateCapacityProvider": update_capacity_provider,
}
