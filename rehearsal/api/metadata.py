"""The task metadata endpoint, version 4, and the container metadata file, as the agent gives them.

Sources, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-examples.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/metadata-file-format.html
github.com/aws/amazon-ecs-agent: ecs-agent/tmds/handlers/v2/response.go and v4/state/response.go,
agent/containermetadata/types.go
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rehearsal.api.account import Account
from rehearsal.api.ecs_tasks import container_arn, mac_address, network_bindings
from rehearsal.containers import CONTAINER_LABEL, FAMILY_LABEL
from rehearsal.engines import EngineError, Usage
from rehearsal.records import ContainerRecord, TaskRecord
from rehearsal.tasks import CLUSTER_LABEL, REVISION_LABEL, TASK_LABEL
from rehearsal.world import World
from templates import Value

PREFIX = "/v4/"
ID_CHARACTERS = 32
# What the agent gives a container that asks for none. Source: v2/response.go, minimumCPUUnit.
MINIMUM_CPU = 2
SECOND = 1_000_000_000


def answer(account: Account, path: str) -> Mapping[str, Any] | None:
    """Answer for a path behind the host; None where there is no such container or document."""
    key, _, document = path.removeprefix(PREFIX).partition("/")
    world = account.world
    with world.lock:
        record = world.tasks.get(key[:ID_CHARACTERS])
        container = record.containers.get(key[ID_CHARACTERS + 1 :]) if record else None
        if record is None or container is None or account.scheduled(record) is None:
            return None
        match document:
            case "":
                return _container(account, record, container)
            case "task":
                return _task(account, record)
            case "taskWithTags":
                tags = {"TaskTags": record.tags, "ContainerInstanceTags": _host_tags(world, record)}
                return {**_task(account, record), **tags}
            case "stats":
                asked = [container]
            case "task/stats":
                asked = list(record.containers.values())
            case _:
                return None
        ids = {one.runtime_id: one for one in asked if one.status == "RUNNING" and one.runtime_id}
    # Outside of the lock, since an engine takes its time.
    stats = _stats(world, ids)
    return stats if document == "task/stats" else next(iter(stats.values()), {})


def metadata_file(world: World, record: TaskRecord, container: str) -> dict[str, Any]:
    """Give what stands in ECS_CONTAINER_METADATA_FILE of a running container, complete (READY)."""
    one, host = record.containers[container], world.hosts[record.instance]
    definition = _definition(record, container)
    ports = [
        {
            "ContainerPort": binding["containerPort"],
            "HostPort": binding["hostPort"],
            "BindIp": binding["bindIP"],
            "Protocol": binding["protocol"],
        }
        for binding in network_bindings(record, container, definition)
    ]
    mode = str(record.properties.get("NetworkMode") or "bridge")
    cluster = world.cluster_name
    found = {
        "Cluster": cluster,
        "ContainerInstanceARN": world.arn(f"container-instance/{cluster}/{record.instance}"),
        "TaskARN": record.arn,
        "TaskDefinitionFamily": record.definition.family,
        "TaskDefinitionRevision": str(record.definition.revision),
        "ContainerID": one.runtime_id,
        "ContainerName": container,
        "DockerContainerName": f"/{_docker_name(record, container)}",
        "ImageID": one.image_id,
        "ImageName": one.image,
        "PortMappings": ports,
        # "The IP address isn't returned" for the mode awsvpc, says container-metadata.html.
        "Networks": [{"NetworkMode": mode, "IPv4Addresses": [record.address]}]
        if mode != "awsvpc"
        else [],
        "MetadataFileStatus": "READY",
        "AvailabilityZone": record.zone,
        "HostPrivateIPv4Address": host.address,
    }
    return {name: value for name, value in found.items() if value}


def _task(account: Account, record: TaskRecord) -> dict[str, Any]:
    task = account.scheduled(record)
    containers = [_container(account, record, one) for one in record.containers.values()]
    group = record.group.partition(":")
    limits = {
        "CPU": int(record.properties.get("Cpu") or 0) / 1024,
        "Memory": int(record.properties.get("Memory") or 0),
    }
    found = {
        "Cluster": account.cluster_arn,
        "TaskARN": record.arn,
        "Family": record.definition.family,
        "Revision": str(record.definition.revision),
        "DesiredStatus": "RUNNING" if task is not None and task.wanted else "STOPPED",
        "KnownStatus": task.status if task is not None else "STOPPED",
        "Limits": {name: value for name, value in limits.items() if value},
        "PullStartedAt": _time(record.pull_started_at),
        "PullStoppedAt": _time(record.pull_stopped_at),
        "ExecutionStoppedAt": _time(record.execution_stopped_at),
        "AvailabilityZone": record.zone,
        "LaunchType": "EC2",
        "Containers": containers,
        "VPCID": account.vpc_id(),
        "ServiceName": group[2] if group[0] == "service" else "",
    }
    return {name: value for name, value in found.items() if value} | {
        "FaultInjectionEnabled": False
    }


def _container(account: Account, record: TaskRecord, one: ContainerRecord) -> dict[str, Any]:
    definition = _definition(record, one.name)
    logs = definition.get("LogConfiguration") or {}
    mode = str(record.properties.get("NetworkMode") or "bridge")
    task = account.scheduled(record)
    family = record.definition
    labels = {str(key): str(value) for key, value in (definition.get("DockerLabels") or {}).items()}
    labels |= {
        CLUSTER_LABEL: account.cluster_name,
        CONTAINER_LABEL: one.name,
        TASK_LABEL: record.arn,
        FAMILY_LABEL: family.family,
        REVISION_LABEL: str(family.revision),
    }
    ports = [
        {
            "ContainerPort": binding["containerPort"],
            "Protocol": binding["protocol"],
            "HostPort": binding["hostPort"],
            "HostIp": binding["bindIP"],
        }
        for binding in network_bindings(record, one.name, definition)
    ]
    found = {
        "DockerId": one.runtime_id,
        "Name": one.name,
        "DockerName": _docker_name(record, one.name),
        "Image": one.image,
        "ImageID": one.image_id,
        "Ports": ports if mode != "awsvpc" else [],
        "Labels": labels,
        "DesiredStatus": "RUNNING" if task is not None and task.wanted else "STOPPED",
        "KnownStatus": one.status,
        "ExitCode": one.exit_code,
        "Limits": {
            "CPU": max(int(definition.get("Cpu") or 0), MINIMUM_CPU),
            "Memory": int(definition.get("Memory") or 0),
        },
        "CreatedAt": _time(one.started_at),
        "StartedAt": _time(one.started_at),
        "FinishedAt": _time(one.stopped_at),
        "Type": "NORMAL",
        "LogDriver": logs.get("LogDriver"),
        "LogOptions": logs.get("Options"),
        "ContainerARN": container_arn(account, record, one.name),
        "Networks": [{"NetworkMode": mode, "IPv4Addresses": [record.address]}],
    }
    if definition.get("HealthCheck"):
        found["Health"] = {"status": one.health}
    if mode == "awsvpc":
        found["Networks"] = [_interface(account, record)]
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def _interface(account: Account, record: TaskRecord) -> dict[str, Any]:
    prefix = record.address.rpartition(".")[0]
    return {
        "NetworkMode": "awsvpc",
        "IPv4Addresses": [record.address],
        "AttachmentIndex": 0,
        "MACAddress": mac_address(record),
        "IPv4SubnetCIDRBlock": f"{prefix}.0/24",
        "PrivateDNSName": account.private_name(record.address),
        "SubnetGatewayIpv4Address": f"{prefix}.1/24",
    }


def _definition(record: TaskRecord, container: str) -> Mapping[str, Value]:
    found: Mapping[str, Value] = next(
        one for one in record.properties["ContainerDefinitions"] if one["Name"] == container
    )
    return found


def _docker_name(record: TaskRecord, container: str) -> str:
    return (
        f"ecs-{record.definition.family}-{record.definition.revision}-{container}-{record.id[:16]}"
    )


def _host_tags(world: World, record: TaskRecord) -> Mapping[str, str]:
    host = world.hosts.get(record.instance)
    return host.tags if host else {}


def _time(moment: float | None) -> str:
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _stats(world: World, containers: Mapping[str, ContainerRecord]) -> dict[str, Any]:
    """Give Docker's statistics, as far as an engine's usage tells them."""
    try:
        used = world.engine.usage(*containers) if containers else {}
    except EngineError:
        return {}  # one of them has just ended
    return {
        runtime_id: _docker_stats(runtime_id, containers[runtime_id].name, usage)
        for runtime_id, usage in used.items()
        if runtime_id in containers
    }


def _docker_stats(runtime_id: str, name: str, usage: Usage) -> dict[str, Any]:
    """Spell one container's usage; CPU as two readings a second apart, as Docker's clients want."""
    processors = os.cpu_count() or 1
    now = time.time()
    return {
        "read": _time(now),
        "preread": _time(now - 1),
        "id": runtime_id,
        "name": f"/{name}",
        "num_procs": 0,
        "pids_stats": {"current": usage.processes},
        "memory_stats": {"usage": usage.memory_bytes},
        "cpu_stats": {
            "cpu_usage": {"total_usage": int(usage.cpu_percent / 100 * SECOND)},
            "system_cpu_usage": processors * SECOND,
            "online_cpus": processors,
        },
        "precpu_stats": {
            "cpu_usage": {"total_usage": 0},
            "system_cpu_usage": 0,
            "online_cpus": processors,
        },
    }
