"""ECS: container instances, their state and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rehearsal.api import tags
from rehearsal.api.account import Account, Asked, Operation, batch, missing
from rehearsal.api.errors import ApiError, invalid
from rehearsal.api.pages import page, size_of
from rehearsal.api.wire import Answer
from scheduler.expressions import ExpressionError, compile_expression
from scheduler.model import Instance
from scheduler.placement import RESERVED_PORTS

INSTANCES_A_CALL = 100
CHANGED_A_CALL = 10
# Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutAttributes.html
ATTRIBUTES_A_CALL = 10
CUSTOM_ATTRIBUTES = 10
# Those of the ECS AMI of 2026-11-13; the hash is made up. Source, read 2026-11-24:
# https://github.com/aws/amazon-ecs-ami/releases/tag/20261113
VERSIONS = {"agentVersion": "1.108.3", "agentHash": "*00000000", "dockerVersion": "25.0.18"}
# ECS's own; whoever sets attributes may not begin with these.
_OWN = ("ecs.", "com.amazonaws.")


def describe_container_instances(account: Account, asked: Asked) -> Answer:
    """Give container instances by id or ARN."""
    account.check_cluster(asked)
    batch(asked["containerInstances"], INSTANCES_A_CALL, "instanceIds")
    return _found(account, asked["containerInstances"], set(asked.get("include") or ()))


def list_container_instances(account: Account, asked: Asked) -> Answer:
    """Give ARNs; without a status of all but INACTIVE ones."""
    account.check_cluster(asked)
    size = size_of(asked.get("maxResults"), default=100, high=100)
    try:
        matches = compile_expression(asked["filter"]) if asked.get("filter") else None
    except ExpressionError as error:
        raise invalid(f"Invalid filter: {error}") from None
    status = asked.get("status")
    every = [
        account.instance_arn(one.id)
        for one in account.instances()
        if (one.status == status if status else one.status != "INACTIVE")
        and (matches is None or matches(one))
    ]
    found, token = page(every, lambda arn: [arn], size=size, token=asked.get("nextToken"))
    return {"containerInstanceArns": found, "nextToken": token}


def update_container_instances_state(account: Account, asked: Asked) -> Answer:
    """Drain instances, or let tasks come again."""
    account.check_cluster(asked)
    named, status = asked["containerInstances"], asked["status"]
    batch(named, CHANGED_A_CALL, "instanceIds")
    if status not in {"ACTIVE", "DRAINING"}:
        raise invalid("Container instance status should be one of [ACTIVE, DRAINING]")
    for one in named:
        instance = account.instance(one)
        if instance is None or instance.status == "INACTIVE":
            continue
        if status == "DRAINING" and instance.status != "DRAINING":
            instance.draining_at = account.now()
            account.world.say(f"{account.host(instance).ec2_id} is set to DRAINING.")
        account.world.state.set_instance_status(instance.id, status)
    return _found(account, named, set())


def deregister_container_instance(account: Account, asked: Asked) -> Answer:
    """Take an instance out of the cluster; its EC2 instance stays, and ECS knows it no more."""
    account.check_cluster(asked)
    instance = account.instance(asked["containerInstance"])
    if instance is None:
        raise invalid("Referenced container instance not found.")
    if instance.tasks and not asked.get("force"):
        raise invalid("Found running tasks on the instance.")
    world = account.world
    for task in list(instance.tasks.values()):
        # On AWS such containers run on as orphans; here nobody would be left to stop them.
        world.agent.stop(task.id, "its container instance is deregistered")
        world.state.stopped_itself(
            task.id, account.now(), reason="Container instance deregistration forced by user."
        )
    world.state.draining.pop(instance.id, None)
    instance.status = "INACTIVE"
    return {"containerInstance": describe(account, instance, set())}


def put_attributes(account: Account, asked: Asked) -> Answer:
    """Set attributes of container instances."""
    account.check_cluster(asked)
    changes = _changes(account, asked["attributes"])
    for instance, name, value in changes:
        host = account.host(instance)
        if name not in host.attributes and len(host.attributes) >= CUSTOM_ATTRIBUTES:
            raise ApiError(
                "AttributeLimitExceededException",
                f"A resource can have at most {CUSTOM_ATTRIBUTES} attributes.",
            )
        host.attributes[name] = instance.attributes[name] = value
    return {"attributes": _spelled(account, changes)}


def delete_attributes(account: Account, asked: Asked) -> Answer:
    """Take attributes from container instances."""
    account.check_cluster(asked)
    changes = _changes(account, asked["attributes"])
    for instance, name, _ in changes:
        if account.host(instance).attributes.pop(name, None) is not None:
            del instance.attributes[name]
    return {"attributes": _spelled(account, changes)}


def list_attributes(account: Account, asked: Asked) -> Answer:
    """Give attributes, ECS's own ones too."""
    account.check_cluster(asked)
    size = size_of(asked.get("maxResults"), default=100, high=100)
    name, value = asked.get("attributeName"), asked.get("attributeValue")
    if value is not None and name is None:
        raise invalid("attributeValue requires attributeName.")
    every = [
        (instance, key, one)
        for instance in account.instances()
        for key, one in instance.attributes.items()
        if name in (None, key) and value in (None, one)
    ]
    found, token = page(
        every, lambda one: [one[0].id, one[1]], size=size, token=asked.get("nextToken")
    )
    return {"attributes": _spelled(account, found), "nextToken": token}


def describe(account: Account, instance: Instance, include: set[str]) -> dict[str, Any]:
    """Give a container instance as the API does."""
    host, group = account.host(instance), account.group_of(instance)
    tasks = [task.status for task in instance.tasks.values()]
    found: dict[str, Any] = {
        "containerInstanceArn": account.instance_arn(instance.id),
        "ec2InstanceId": host.ec2_id,
        "capacityProviderName": (group.provider or None) if group else None,
        "version": 1 + len(instance.tasks),
        "versionInfo": VERSIONS,
        "registeredResources": _resources(instance.kind.cpu, instance.kind.memory, set()),
        "remainingResources": _resources(
            instance.cpu_left, instance.memory_left, _ports(account, instance)
        ),
        "status": instance.status,
        "agentConnected": instance.agent,
        "runningTasksCount": tasks.count("RUNNING"),
        "pendingTasksCount": sum(one in {"PENDING", "ACTIVATING"} for one in tasks),
        "attributes": [{"name": k, "value": v} for k, v in sorted(instance.attributes.items())],
        "registeredAt": host.registered_at,
        "attachments": [],
        "tags": tags.to_ecs(host.tags) if "TAGS" in include else [],
    }
    if "CONTAINER_INSTANCE_HEALTH" in include:
        found["healthStatus"] = {
            "overallStatus": "OK" if instance.agent else "IMPAIRED",
            "details": [
                {
                    "type": "AGENT_CONNECTIVITY",
                    "status": "OK" if instance.agent else "IMPAIRED",
                    "lastUpdated": account.wall(account.now()),
                    "lastStatusChange": host.registered_at,
                }
            ],
        }
    return found


def _found(account: Account, named: Sequence[str], include: set[str]) -> Answer:
    found, failures = [], []
    for one in named:
        instance = account.instance(one)
        if instance is not None:
            found.append(describe(account, instance, include))
        else:
            arn = one if one.startswith("arn:") else account.instance_arn(one)
            failures.append(missing(arn))
    return {"containerInstances": found, "failures": failures}


def _ports(account: Account, instance: Instance) -> set[int]:
    """Give the host ports that tasks have: as the agent would have bound them."""
    return {
        port
        for task_id in instance.tasks
        if task_id in account.world.tasks
        and account.world.tasks[task_id].properties.get("NetworkMode") != "awsvpc"
        for port in account.world.tasks[task_id].host_ports.values()
    }


def _resources(cpu: int, memory: int, ports: set[int]) -> list[dict[str, Any]]:
    """Spell resources with every kind of value, as ECS does.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeContainerInstances.html
    """
    zeros = {"doubleValue": 0.0, "longValue": 0, "integerValue": 0}
    reserved = [str(port) for port in sorted(RESERVED_PORTS | ports)]
    return [
        {"name": "CPU", "type": "INTEGER", **zeros, "integerValue": cpu},
        {"name": "MEMORY", "type": "INTEGER", **zeros, "integerValue": memory},
        {"name": "PORTS", "type": "STRINGSET", **zeros, "stringSetValue": reserved},
        {"name": "PORTS_UDP", "type": "STRINGSET", **zeros, "stringSetValue": []},
    ]


Changes = list[tuple[Instance, str, str]]


def _changes(account: Account, attributes: Sequence[Mapping[str, str]]) -> Changes:
    batch(attributes, ATTRIBUTES_A_CALL, "attributes")  # type: ignore[arg-type]
    found = []
    for one in attributes:
        name = one["name"]
        if name.startswith(_OWN) or not 1 <= len(name) <= 128:
            raise invalid(f"The attribute name {name!r:.150} is not one that can be set.")
        instance = account.instance(one.get("targetId", ""))
        if instance is None:
            raise ApiError(
                "TargetNotFoundException",
                f"The specified target {one.get('targetId')!r:.150} was not found.",
            )
        found.append((instance, name, one.get("value", "")))
    return found


def _spelled(account: Account, found: Changes) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "value": value,
            "targetType": "container-instance",
            "targetId": account.instance_arn(instance.id),
        }
        for instance, name, value in found
    ]


OPERATIONS: Mapping[str, Operation] = {
    "DeleteAttributes": delete_attributes,
    "DeregisterContainerInstance": deregister_container_instance,
    "DescribeContainerInstances": describe_container_instances,
    "ListAttributes": list_attributes,
    "ListContainerInstances": list_container_instances,
    "PutAttributes": put_attributes,
    "UpdateContainerInstancesState": update_container_instances_state,
}
