"""ECS: tasks as they are, and their protection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from rehearsal.api.errors import ApiError, invalid
from rehearsal.api.pages import page, size_of
from rehearsal.api.wire import Answer
from rehearsal.records import ContainerRecord, TaskRecord
from scheduler import actions
from scheduler.model import Task
from templates import Value

TASKS_A_CALL = 100
# Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html
PROTECTED_A_CALL = 10
PROTECTION_MINUTES = (1, 2880)
PROTECTION_DEFAULT = 120
# In the order of a task's life; a task's version goes up with each step.
_STEPS = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING",
          "DEPROVISIONING", "STOPPED")  # fmt: skip


def describe_tasks(account: Account, asked: Asked) -> Answer:
    """Give tasks by id or ARN; stopped ones for an hour."""
    account.check_cluster(asked)
    batch(asked["tasks"], TASKS_A_CALL, "taskIds")
    found, failures = [], []
    for one in asked["tasks"]:
        record = account.task(one)
        if record is not None:
            found.append(describe(account, record, set(asked.get("include") or ())))
        else:
            arn = one if one.startswith("arn:") else _arn(account, one)
            failures.append(missing(arn))
    return {"tasks": found, "failures": failures}


def list_tasks(account: Account, asked: Asked) -> Answer:
    """Give ARNs; without a desired status of those that are to run."""
    account.check_cluster(asked)
    size = size_of(asked.get("maxResults"), default=100, high=100)
    every = [one.arn for one in _listed(account, asked)]
    found, token = page(every, lambda arn: [arn], size=size, token=asked.get("nextToken"))
    return {"taskArns": found, "nextToken": token}


def _listed(account: Account, asked: Asked) -> Iterator[TaskRecord]:
    wanted = asked.get("desiredStatus", "RUNNING")
    group = None
    if asked.get("serviceName"):
        service = account.service(asked["serviceName"])
        if service is None:
            raise ApiError("ServiceNotFoundException", "Service not found.")
        group = f"service:{service.name}"
    instance = asked.get("containerInstance")
    instance_id = instance.rpartition("/")[2] if instance else None
    stopped = account.stopped()
    for record in account.world.tasks.values():
        task = account.world.state.tasks.get(record.id) or stopped.get(record.id)
        if task is None:
            continue
        if (
            wanted == ("RUNNING" if task.wanted else "STOPPED")
            and group in (None, record.group)
            and instance_id in (None, record.instance)
            and asked.get("family") in (None, record.definition.family)
            and asked.get("startedBy") in (None, record.started_by)
            and asked.get("launchType") in (None, "EC2")
            and not asked.get("daemonName")
        ):
            yield record


def stop_task(account: Account, asked: Asked) -> Answer:
    """Stop a task's containers, after its target is deregistered; its tags are deleted.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
    """
    account.check_cluster(asked)
    record = account.task(asked["task"])
    if record is None:
        raise invalid("The referenced task was not found.")
    if record.id in account.world.state.tasks:
        reason = asked.get("reason") or "Task stopped by user"
        account.world.act(actions.Stop(record.id, "UserInitiated", reason[:1024]))
    record.tags.clear()
    return {"task": describe(account, record, set())}


def get_task_protection(account: Account, asked: Asked) -> Answer:
    """Say which of a service's tasks a scale-in leaves alone."""
    return _protection(account, asked, lambda _task: None)


def update_task_protection(account: Account, asked: Asked) -> Answer:
    """Keep tasks of services from being stopped by a scale-in, for a while."""
    minutes = asked.get("expiresInMinutes", PROTECTION_DEFAULT)
    low, high = PROTECTION_MINUTES
    if not low <= minutes <= high:
        raise invalid(f"expiresInMinutes must be between {low} and {high}.")
    until = account.now() + minutes * 60 if asked["protectionEnabled"] else 0.0

    def protect(task: Task) -> None:
        task.protected_until = until

    return _protection(account, asked, protect)


def _protection(account: Account, asked: Asked, change: Callable[[Task], None]) -> Answer:
    account.check_cluster(asked)
    named = asked.get("tasks") or []
    batch(named, PROTECTED_A_CALL if "protectionEnabled" in asked else TASKS_A_CALL, "taskIds")
    found: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for one in named:
        record = account.task(one)
        task = account.world.state.tasks.get(record.id) if record else None
        arn = record.arn if record else one if one.startswith("arn:") else _arn(account, one)
        if task is None or record is None:
            failures.append(missing(arn))
        elif task.service is None:
            detail = "The task does not belong to a service."
            failures.append({"arn": arn, "reason": "TASK_NOT_VALID", "detail": detail})
        else:
            change(task)
            protected = task.protected_until > account.now()
            until = account.wall(task.protected_until) if protected else None
            found.append({"taskArn": arn, "protectionEnabled": protected, "expirationDate": until})
    return {"protectedTasks": found, "failures": failures}


def describe(account: Account, record: TaskRecord, include: set[str]) -> dict[str, Any]:
    """Give a task as the API does."""
    task = account.scheduled(record)
    assert task is not None  # noqa: S101 - who asks has found it
    properties = record.properties
    placed = bool(record.instance)
    instance = account.world.state.instances.get(record.instance)
    architecture = instance.attributes.get("ecs.cpu-architecture") if instance else None
    attachments = [_interface(account, record)] if _has_interface(record) else []
    return {
        "attachments": attachments,
        "attributes": [{"name": "ecs.cpu-architecture", "value": architecture}]
        if architecture
        else [],
        "availabilityZone": record.zone or None,
        "capacityProviderName": record.provider or None,
        "clusterArn": account.cluster_arn,
        "connectivity": "CONNECTED" if placed else None,
        "connectivityAt": record.pull_started_at if placed else None,
        "containerInstanceArn": account.instance_arn(record.instance) if placed else None,
        "containers": [
            _container(account, record, one, properties) for one in record.containers.values()
        ],
        "cpu": _text(properties.get("Cpu") or task.definition.cpu),
        "createdAt": record.created_at,
        "desiredStatus": "RUNNING" if task.wanted else "STOPPED",
        "enableExecuteCommand": False,
        "executionStoppedAt": record.execution_stopped_at,
        "group": record.group,
        "healthStatus": task.health,
        "lastStatus": task.status,
        "launchType": "EC2",
        "memory": _text(properties.get("Memory") or task.definition.memory),
        "overrides": _overrides(record),
        "pullStartedAt": record.pull_started_at,
        "pullStoppedAt": record.pull_stopped_at,
        "startedAt": record.started_at,
        "startedBy": record.started_by or None,
        "stopCode": task.stop_code or None,
        "stoppedAt": _stopped_at(account, task),
        "stoppedReason": task.stop_reason or None,
        "stoppingAt": record.stopping_at,
        "tags": tags.to_ecs(record.tags) if "TAGS" in include else [],
        "taskArn": record.arn,
        "taskDefinitionArn": record.definition.arn,
        "version": 1 + _STEPS.index(task.status),
    }


def _stopped_at(account: Account, task: Task) -> float | None:
    return None if task.stopped_at is None else account.wall(task.stopped_at)


def _overrides(record: TaskRecord) -> dict[str, Any]:
    given = {one.get("name"): one for one in record.overrides.get("containerOverrides") or []}
    containers = [given.get(name, {"name": name}) for name in record.containers]
    rest = {key: one for key, one in record.overrides.items() if key != "containerOverrides"}
    return {**rest, "containerOverrides": containers, "inferenceAcceleratorOverrides": []}


def container_arn(account: Account, record: TaskRecord, name: str) -> str:
    """Make a container's ARN."""
    return account.arn(f"container/{account.cluster_name}/{record.id}/{uuid_of(record.id + name)}")


def network_bindings(
    record: TaskRecord, container: str, definition: Mapping[str, Value]
) -> list[dict[str, Any]]:
    """Give a container's ports as the agent of the instance would have bound them.

    The ports of this machine are others; those are what the balancer knows.
    """
    return [
        {
            "bindIP": "0.0.0.0",  # noqa: S104 - what Docker would say
            "containerPort": int(one["ContainerPort"]),
            "hostPort": record.host_ports[container, int(one["ContainerPort"])],
            "protocol": one.get("Protocol") or "tcp",
        }
        for one in definition.get("PortMappings") or []
        if (container, int(one.get("ContainerPort") or 0)) in record.host_ports
    ]


def _container(
    account: Account, record: TaskRecord, one: ContainerRecord, properties: Mapping[str, Value]
) -> dict[str, Any]:
    definition = next(
        found for found in properties["ContainerDefinitions"] if found["Name"] == one.name
    )
    runs = one.status == "RUNNING"
    return {
        "containerArn": container_arn(account, record, one.name),
        "taskArn": record.arn,
        "name": one.name,
        "image": one.image,
        # An image that was built here has no digest of a registry's; its id stands for it.
        "imageDigest": one.image_id or None,
        "runtimeId": one.runtime_id or None,
        "lastStatus": one.status,
        "exitCode": one.exit_code,
        "reason": one.reason or None,
        "networkBindings": network_bindings(record, one.name, definition)
        if runs and not _has_interface(record)
        else [],
        "networkInterfaces": [
            {
                "attachmentId": uuid_of(record.arn),
                "privateIpv4Address": record.address,
            }
        ]
        if _has_interface(record)
        else [],
        "healthStatus": one.health,
        "cpu": _text(definition.get("Cpu") or 0),
        "memory": _text(definition.get("Memory")),
        "memoryReservation": _text(definition.get("MemoryReservation")),
    }


def _has_interface(record: TaskRecord) -> bool:
    awsvpc = record.definition.properties.get("NetworkMode") == "awsvpc"
    return awsvpc and bool(record.instance)


def _interface(account: Account, record: TaskRecord) -> dict[str, Any]:
    host = account.world.hosts[record.instance]
    details = {
        "subnetId": host.subnet,
        "networkInterfaceId": f"eni-{record.id[:17]}",
        "macAddress": mac_address(record),
        "privateDnsName": account.private_name(record.address),
        "privateIPv4Address": record.address,
    }
    return {
        "id": uuid_of(record.arn),
        "type": "ElasticNetworkInterface",
        "status": "DELETED" if record.has_ended else "ATTACHED",
        "details": [{"name": name, "value": value} for name, value in details.items()],
    }


def mac_address(record: TaskRecord) -> str:
    """Make up the address of a task's network interface."""
    return "0e:" + ":".join(record.id[at : at + 2] for at in range(0, 10, 2))


def _arn(account: Account, task_id: str) -> str:
    return account.arn(f"task/{account.cluster_name}/{task_id}")


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


OPERATIONS: Mapping[str, Operation] = {
    "DescribeTasks": describe_tasks,
    "GetTaskProtection": get_task_protection,
    "ListTasks": list_tasks,
    "StopTask": stop_task,
    "UpdateTaskProtection": update_task_protection,
}
