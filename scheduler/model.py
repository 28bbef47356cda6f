"""The nouns that ECS schedules: instances, task definitions, tasks, services, deployments.

Times are seconds on whichever clock the driver has, memory is MiB, CPU is in units of which a vCPU
has 1024.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Literal

# In the order of a task's life.
# Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
Status = Literal[
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "RUNNING",
    "DEACTIVATING",
    "STOPPING",
    "DEPROVISIONING",
    "STOPPED",
]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]
# A target's state as the load balancer gives it; None where it is not registered.
TargetState = Literal["initial", "healthy", "unhealthy", "draining"]
# A port of an instance and its protocol, tcp or udp: each has ports of its own.
HostPort = tuple[int, str]
ROLLING, BLUE_GREEN, CANARY, LINEAR = "ROLLING", "BLUE_GREEN", "CANARY", "LINEAR"
# The stages of a deployment at which something is done or waited for. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html
SCALE_UP, TRAFFIC, BAKE, CLEAN_UP = "SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME", "CLEAN_UP"

ZONE = "attribute:ecs.availability-zone"
# The events of a service that the API still gives. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages.html
EVENTS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Strategy:
    """One step of placement: `binpack` by cpu or memory, `spread` over a field, or `random`."""

    kind: Literal["binpack", "spread", "random"]
    field: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an instance must fulfil: `distinctInstance`, or `memberOf` with an expression."""

    kind: Literal["distinctInstance", "memberOf"]
    expression: str = ""


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """What one revision asks of an instance.

    `memory` is what placement subtracts: the reservation where there is one, else the hard limit.
    `dynamic_ports` counts host ports 0 of either protocol, `interfaces` the network interfaces (1
    in awsvpc).
    """

    name: str
    cpu: int
    memory: int
    host_ports: frozenset[HostPort] = frozenset()
    dynamic_ports: int = 0
    interfaces: int = 0
    constraints: tuple[Constraint, ...] = ()
    has_health_check: bool = False


@dataclass(frozen=True, slots=True)
class InstanceKind:
    """What an instance of a type registers with ECS; `interfaces` are left for tasks."""

    name: str
    cpu: int
    memory: int
    interfaces: int
    dynamic_ports: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Instance:
    """A container instance: an EC2 instance of a group, and its registration with ECS.

    `lifecycle` is the Auto Scaling group's view, `status` the cluster's; `agent` is False while
    the ECS agent is disconnected.
    """

    id: str
    kind: InstanceKind
    zone: str
    group: str | None = None
    lifecycle: Literal["Pending", "InService", "Terminating:Wait", "Terminated"] = "Pending"
    status: Literal["REGISTERING", "ACTIVE", "DRAINING", "INACTIVE"] = "REGISTERING"
    agent: bool = True
    template: str = ""
    spot: bool = False
    is_protected: bool = False
    launched_at: float = 0.0
    in_service_at: float = 0.0
    draining_at: float = 0.0
    # Why a task that stops with the instance stopped; set by what takes the instance away.
    loss: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    cpu_left: int = 0
    memory_left: int = 0
    interfaces_left: int = 0
    dynamic_ports_left: int = 0
    host_ports: set[HostPort] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)
    # How many tasks of each task group want to run here.
    of_group: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        kind = self.kind
        self.cpu_left, self.memory_left = kind.cpu, kind.memory
        self.interfaces_left, self.dynamic_ports_left = kind.interfaces, kind.dynamic_ports
        own = {"ecs.availability-zone": self.zone, "ecs.instance-type": kind.name}
        self.attributes = {**kind.attributes, **own, **self.attributes}

    @property
    def accepts(self) -> bool:
        """Whether tasks may be placed here at all."""
        return self.status == "ACTIVE" and self.agent


@dataclass(eq=False, slots=True)
class Task:
    """One task; `wanted` is False once ECS has decided to stop it (desired status STOPPED)."""

    id: str
    group: str
    definition: TaskDefinition
    created_at: float
    service: str | None = None
    deployment: str | None = None
    instance: Instance | None = None
    provider: str | None = None
    status: Status = "PROVISIONING"
    wanted: bool = True
    health: Health = "UNKNOWN"
    target: TargetState | None = None
    target_reason: str = ""
    running_at: float | None = None
    stopped_at: float | None = None
    was_healthy: bool = False
    stop_code: str = ""
    stop_reason: str = ""
    # Placed by zone rebalancing or for another task, not to make up the count.
    zone: str | None = None
    # Constraints and strategies of a task that no service owns.
    constraints: tuple[Constraint, ...] = ()
    strategies: tuple[Strategy, ...] = ()
    protected_until: float = 0.0
    # Where it stands among its deployment's tasks.
    bucket: Bucket | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """The deployment circuit breaker.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """

    kind: Literal["BOUNDED_PERCENT", "UNBOUNDED_PERCENT", "COUNT"] = "BOUNDED_PERCENT"
    value: int = 50
    rollback: bool = True
    reset_on_healthy_task: bool = True

    def threshold(self, desired: int) -> int:
        """Give the failed tasks at which a deployment has failed."""
        if self.kind == "COUNT":
            return self.value
        part = max(-(-desired * self.value // 100), 1)
        return part if self.kind == "UNBOUNDED_PERCENT" else min(max(part, 3), 200)


@dataclass(frozen=True, slots=True)
class Shift:
    """How traffic moves from one deployment to the next; `steps` are per cent of it, with waits.

    Per cent and seconds; the bake is the time between the last step and the end of the old tasks.
    """

    kind: str = ROLLING
    step_percent: float = 100
    step_seconds: float = 0
    bake_seconds: float = 0


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """What is declared of a service, apart from its desired count."""

    name: str
    task_definition: TaskDefinition
    minimum_healthy_percent: int = 100
    maximum_percent: int = 200
    strategies: tuple[Strategy, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    provider: str | None = None
    target_groups: tuple[str, ...] = ()
    grace_seconds: float = 0
    breaker: Breaker | None = None
    rebalancing: bool = False
    shift: Shift = Shift()
    # The alarms that fail a deployment, and roll it back where the breaker would.
    alarms: tuple[str, ...] = ()
    alarm_rollback: bool = True

    @property
    def has_targets(self) -> bool:
        return bool(self.target_groups)


class Bucket(IntEnum):
    """Where a service's task stands, as its scheduler counts."""

    WAITING = auto()  # for an instance
    STARTING = auto()
    SETTLING = auto()  # running, and not known to be healthy
    HEALTHY = auto()
    UNHEALTHY = auto()
    ENDING = auto()


@dataclass(eq=False, slots=True)
class Deployment:
    """One service revision on its way in or out."""

    id: str
    definition: ServiceDefinition
    created_at: float
    is_primary: bool = True
    rollout: Literal["IN_PROGRESS", "COMPLETED", "FAILED"] = "IN_PROGRESS"
    reason: str = ""
    failed_tasks: int = 0
    watches_alarms: bool = True
    updated_at: float = 0.0
    completed_at: float | None = None
    # Which of the service's target groups its tasks register with.
    target_group: int = 0
    # The service's desired count when a newer deployment began; no more of this one are started.
    most: int = 0
    # Where the deployment stands, since when, and at which per cent of the traffic: for the
    # shifting strategies, and for the bake time of a rolling one.
    stage: str = ""
    stage_at: float = 0.0
    percent: float = 0.0
    is_rollback: bool = False
    tasks: dict[Bucket, dict[str, Task]] = field(
        default_factory=lambda: {bucket: {} for bucket in Bucket}
    )

    def number(self, *buckets: Bucket) -> int:
        """Count its tasks in some buckets."""
        number = 0
        for bucket in buckets:
            number += len(self.tasks[bucket])
        return number

    @property
    def live(self) -> int:
        """How many of its tasks are wanted."""
        return self.number(*LIVE)

    @property
    def is_empty(self) -> bool:
        return not any(self.tasks.values())


LIVE = (Bucket.WAITING, Bucket.STARTING, Bucket.SETTLING, Bucket.HEALTHY, Bucket.UNHEALTHY)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a service's events."""

    at: float
    message: str


@dataclass(eq=False, slots=True)
class Service:
    """A service as ECS holds it: the newest deployment first."""

    definition: ServiceDefinition
    desired: int
    created_at: float
    deployments: list[Deployment] = field(default_factory=list)
    # What a failed deployment goes back to.
    last_completed: Deployment | None = None
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    is_steady: bool = False
    is_active: bool = True
    # Restart back-off: starts that failed in a row, and when the next may be tried.
    failed_starts: int = 0
    backed_off_at: int = 0
    retry_at: float = 0.0
    # Of the minute that began then: how many tasks were started in it.
    minute: float = 0.0
    started_in_minute: int = 0
    # The last event on what holds it up; and when each cause was told, which is not repeated while
    # it lasts.
    trouble: str = ""
    told: dict[str, float] = field(default_factory=dict)
    # The task that zone rebalancing started and waits for.
    rebalancing: str | None = None
    is_unbalanced: bool = False

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def group(self) -> str:
        """The task group that its tasks are spread against."""
        return f"service:{self.definition.name}"

    @property
    def primary(self) -> Deployment:
        return next(one for one in self.deployments if one.is_primary)

    @property
    def serving(self) -> Deployment | None:
        """The deployment that has had all of the production traffic, the latest of them."""
        served = (
            one
            for one in self.deployments
            if one.completed_at is not None or one.stage == CLEAN_UP or one.is_rollback
        )
        return next(served, self.deployments[-1] if self.deployments else None)

    def end_back_off(self) -> None:
        """Let tasks be started at once again."""
        self.failed_starts, self.backed_off_at, self.retry_at = 0, 0, 0.0

    @property
    def minimum_healthy(self) -> int:
        """How many tasks must stay healthy, rounded up.

        Source, read 2026-11-24:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
        """
        return -(-self.desired * self.definition.minimum_healthy_percent // 100)

    @property
    def maximum(self) -> int:
        """How many tasks there may be at once, rounded down (the same page)."""
        return self.desired * self.definition.maximum_percent // 100

    def number(self, *buckets: Bucket) -> int:
        """Count its tasks in some buckets, over all its deployments."""
        return sum(deployment.number(*buckets) for deployment in self.deployments)


@dataclass(frozen=True, slots=True)
class ManagedScaling:
    """How a capacity provider sizes its group; per cent, instances and seconds.

    Source of the defaults, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ManagedScaling.html
    """

    target: int = 100
    minimum_step: int = 1
    maximum_step: int = 10_000
    warmup_seconds: float = 300


@dataclass(frozen=True, slots=True)
class Reading:
    """One datapoint of CapacityProviderReservation, in per cent, and the M and N behind it."""

    at: float
    value: float
    needed: int
    running: int


@dataclass(eq=False, slots=True)
class Refresh:
    """An instance refresh: instances of another template than this give way to new ones."""

    id: str
    template: str
    started_at: float
    status: Literal["InProgress", "Successful", "Failed", "Cancelled"] = "InProgress"
    ended_at: float | None = None
    # Replace these even where they match; what a refresh without skip matching does.
    every: frozenset[str] = frozenset()
    # What it does with instances that are protected from scale-in. The API's own default is Wait.
    # Source, read 2026-11-24:
    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/understand-instance-refresh-default-values.html
    protected: Literal["Refresh", "Ignore", "Wait"] = "Refresh"
    # When it last launched or ended an instance.
    moved_at: float = 0.0

    def __post_init__(self) -> None:
        self.moved_at = max(self.moved_at, self.started_at)


@dataclass(eq=False, slots=True)
class Group:
    """An Auto Scaling group, and the capacity provider before it."""

    name: str
    provider: str
    zones: tuple[str, ...]
    kinds: tuple[InstanceKind, ...]
    minimum: int
    maximum: int
    desired: int
    template: str = "1"
    scaling: ManagedScaling | None = None
    drains: bool = True
    protects: bool = False
    # Whether the agent drains its instance when a Spot interruption is announced.
    drains_on_notice: bool = False
    on_demand_base: int = 0
    on_demand_percent: int = 100
    minimum_healthy_percent: int = 100
    maximum_healthy_percent: int = 200
    warmup_seconds: float = 0
    refresh: Refresh | None = None
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=60))
    scaled_out_at: float | None = None
    # Zones that are out of order: nothing boots there.
    lost_zones: set[str] = field(default_factory=set)
    # The account has no more instances to give: a fault, or a quota.
    is_exhausted: bool = False
