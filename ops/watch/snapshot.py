"""One moment of a cluster, as flat records that can be compared and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What is sent: by a key like task:ID, each record's fields by name.
Record = Mapping[str, object]
Records = Mapping[str, Record]


@dataclass(frozen=True)
class Zone:
    """An availability zone in which the environment has, or may have, instances."""

    name: str


@dataclass(frozen=True)
class Instance:
    """A container instance, or an EC2 instance of the group that is not one (yet, any more).

    CPU in units, 1024 a vCPU, memory in MiB: what the instance registered, and what no task has
    reserved. `status` is ECS's (ACTIVE, DRAINING, ...), or empty where ECS does not know it;
    `lifecycle` is Auto Scaling's (Pending, InService, Terminating:Wait, ...), or empty.
    """

    id: str
    arn: str
    zone: str
    kind: str
    status: str
    lifecycle: str
    agent_connected: bool
    cpu: int
    cpu_left: int
    memory: int
    memory_left: int


@dataclass(frozen=True)
class Task:
    """A task that has not stopped; `instance` is an EC2 id, empty while it waits for one.

    `letter` and `colour` tell its version, which is its deployment, from the service's others.
    `target` is the state of its target in the balancer, empty where it is registered with none.
    Times in seconds since the epoch, 0 for not yet.
    """

    id: str
    instance: str
    zone: str
    service: str
    revision: str
    deployment: str
    letter: str
    colour: int
    status: str
    desired: str
    health: str
    target: str
    target_reason: str
    phase: str
    cpu: str
    memory: str
    image: str
    created_at: float
    started_at: float


@dataclass(frozen=True)
class Stopped:
    """A task that has stopped lately, and why; its exit code is empty where there is none."""

    id: str
    service: str
    letter: str
    colour: int
    code: str
    reason: str
    exit: str
    at: float


@dataclass(frozen=True)
class Service:
    """A service with its counts; `label` is what the settings call it."""

    name: str
    label: str
    status: str
    desired: int
    running: int
    pending: int


@dataclass(frozen=True)
class Deployment:
    """A deployment that ECS has not ended; `rollout` is IN_PROGRESS, COMPLETED or FAILED."""

    id: str
    service: str
    letter: str
    colour: int
    status: str
    rollout: str
    reason: str
    revision: str
    desired: int
    running: int
    pending: int
    failed: int
    created_at: float


@dataclass(frozen=True)
class Target:
    """A target as the balancer sees it; `instance` is an EC2 id, or an address for IP targets."""

    group: str
    instance: str
    port: int
    state: str
    reason: str
    description: str
    task: str


@dataclass(frozen=True)
class Event:
    """What a service says has happened, in ECS's words."""

    id: str
    at: float
    service: str
    message: str


@dataclass(frozen=True)
class Snapshot:
    """A cluster at one moment; `calls` is how many requests to ECS it took to read it."""

    cluster: str
    zones: tuple[Zone, ...] = ()
    instances: tuple[Instance, ...] = ()
    tasks: tuple[Task, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    services: tuple[Service, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    targets: tuple[Target, ...] = ()
    events: tuple[Event, ...] = ()
    calls: int = 0

    def records(self) -> dict[str, Record]:
        """Give all of it by key; whatever is the same as before has an equal record."""
        found: dict[str, Record] = {f"zone:{one.name}": vars(one) for one in self.zones}
        for kind, many in (
            ("instance", self.instances),
            ("task", self.tasks),
            ("stopped", self.stopped),
            ("deployment", self.deployments),
            ("event", self.events),
        ):
            found |= {f"{kind}:{one.id}": vars(one) for one in many}
        found |= {f"service:{one.name}": vars(one) for one in self.services}
        found |= {
            f"target:{one.group}/{one.instance}:{one.port}": vars(one) for one in self.targets
        }
        return found


def changes(before: Records, after: Records) -> tuple[dict[str, Record], list[str]]:
    """Give the records that are new or other than before, and the keys of those that are gone."""
    changed = {key: one for key, one in after.items() if before.get(key) != one}
    return changed, [key for key in before if key not in after]


def phase_of(*, status: str, desired: str, target: str, placed: bool) -> str:
    """Say where in its life a task is: waiting, starting, running, draining or stopping.

    Draining is what ECS calls DEACTIVATING: the balancer sends it nothing new.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
    """
    if status in {"STOPPING", "DEPROVISIONING", "STOPPED"}:
        return "stopping"
    if status == "DEACTIVATING" or desired == "STOPPED" or target == "draining":
        return "draining"
    if status == "RUNNING":
        return "running"
    return "starting" if placed else "waiting"
