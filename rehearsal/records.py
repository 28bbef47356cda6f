"""What the ECS API tells of tasks, instances and definitions beyond what is scheduled by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rehearsal.engines import Network
from scheduler.model import Service, TaskDefinition
from templates import Value


class Clock:
    """AWS's time, which runs `speed` times as fast as this machine's."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began = time.monotonic()
        self._wall = time.time()

    def now(self) -> float:
        """Give the seconds of AWS's time since the beginning."""
        return self.real() * self.speed

    def real(self) -> float:
        """Give the seconds of this machine's time since the beginning."""
        return time.monotonic() - self._began

    def wall(self, moment: float) -> float:
        """Give when that moment was by this machine's clock, in seconds since the epoch."""
        return self._wall + moment / self.speed


@dataclass
class Definition:
    """A registered task definition: `properties` as CloudFormation spells them, resolved."""

    arn: str
    family: str
    revision: int
    properties: Mapping[str, Value]
    task: TaskDefinition
    registered_at: float
    status: str = "ACTIVE"
    deregistered_at: float | None = None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> list[Mapping[str, Value]]:
        """The container definitions."""
        return list(self.properties.get("ContainerDefinitions") or [])


@dataclass
class ContainerRecord:
    """One container of a task, as far as it has come; `ports` are container ports to ours."""

    name: str
    image: str
    essential: bool = True
    status: str = "PENDING"
    runtime_id: str = ""
    image_id: str = ""
    exit_code: int | None = None
    reason: str = ""
    health: str = "UNKNOWN"
    ports: dict[int, int] = field(default_factory=dict)
    started_at: float | None = None
    stopped_at: float | None = None


@dataclass
class TaskRecord:
    """A task as the API tells of it; times in seconds since the epoch.

    `host_ports` are what the agent of the container instance would have bound: kept in the books,
    while the port of this machine stands in the container's `ports`.
    """

    id: str
    arn: str
    definition: Definition
    group: str
    created_at: float
    started_by: str = ""
    instance: str = ""
    zone: str = ""
    provider: str = ""
    address: str = ""
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    host_ports: dict[tuple[str, int], int] = field(default_factory=dict)
    overrides: Mapping[str, Value] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_started_at: float | None = None
    pull_stopped_at: float | None = None
    started_at: float | None = None
    stopping_at: float | None = None
    execution_stopped_at: float | None = None
    stopped_at: float | None = None
    # What the load balancer knows it by: target group, and target.
    target: tuple[str, str] | None = None
    is_registered: bool = False

    @property
    def properties(self) -> dict[str, Value]:
        """Its definition's properties, with what RunTask changed of them (as the API spells it)."""
        return overridden(self.definition.properties, self.overrides)

    @property
    def has_ended(self) -> bool:
        """Whether none of its containers runs any more."""
        return self.stopped_at is not None


@dataclass
class Host:
    """A bookkept EC2 instance: the network that its containers share, and its addresses."""

    id: str
    ec2_id: str
    address: str
    subnet: str
    group: str = ""
    registered_at: float | None = None
    boots_at: float = 0.0
    network: Network | None = None
    failed: str = ""
    # The next host port that the agent gives out.
    next_port: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class ServiceRecord:
    """A service as the API tells of it: `properties` as CloudFormation spells them."""

    arn: str
    name: str
    properties: Mapping[str, Value]
    created_at: float
    tags: dict[str, str] = field(default_factory=dict)
    # By deployment: when it began, and which definition and configuration it had.
    deployments: list[DeploymentRecord] = field(default_factory=list)
    # How the service was left when it was deleted.
    deleted: Service | None = None

    def properties_of(self, deployment: str) -> Mapping[str, Value]:
        """Give the properties that one of its deployments (by id) brought."""
        found = (one.properties for one in self.deployments if one.id == deployment)
        return next(found, self.properties)


@dataclass
class DeploymentRecord:
    """One service deployment and the revision that it brought, with its own `properties`."""

    id: str
    arn: str
    revision_arn: str
    definition_arn: str
    properties: Mapping[str, Value]
    started_at: float
    updated_at: float
    source_revision: str = ""
    desired: int = 0
    status: str = "IN_PROGRESS"
    reason: str = ""
    stage: str = ""
    finished_at: float | None = None
    rolled_back_to: str = ""
    rolled_back_at: float | None = None
    triggered: bool = False
    failed_tasks: int = 0
    threshold: int = 0


def overridden(properties: Mapping[str, Value], overrides: Mapping[str, Value]) -> dict[str, Value]:
    """Change a task definition's properties by the TaskOverride of a RunTask.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerOverride.html
    """
    changed = dict(properties)
    for name in ("cpu", "memory"):
        if overrides.get(name):
            changed[name.title()] = overrides[name]
    by_name = {one.get("name"): one for one in overrides.get("containerOverrides") or []}
    changed["ContainerDefinitions"] = [
        _container(one, by_name.get(one["Name"], {}))
        for one in properties.get("ContainerDefinitions") or []
    ]
    return changed


def _container(definition: Mapping[str, Value], override: Mapping[str, Value]) -> dict[str, Value]:
    changed = dict(definition)
    for name, spelled in (
        ("command", "Command"), ("cpu", "Cpu"), ("memory", "Memory"),
        ("memoryReservation", "MemoryReservation"),
    ):  # fmt: skip
        if override.get(name) is not None:
            changed[spelled] = override[name]
    if override.get("environment"):
        variables = {one["Name"]: one["Value"] for one in definition.get("Environment") or []}
        variables |= {one["name"]: one.get("value", "") for one in override["environment"]}
        changed["Environment"] = [{"Name": key, "Value": one} for key, one in variables.items()]
    return changed
