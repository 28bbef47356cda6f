"""What follows from a look at the state: each action is one thing for a driver to carry out.

`State.apply` keeps the books of an action; carrying it out (a container, an instance, a listener's
weights) is the driver's, who then reports what came of it to the state's observations.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.model import TaskDefinition


@dataclass(frozen=True, slots=True)
class Start:
    """Start a task of a service; without an instance it waits for its capacity provider."""

    task: str
    service: str
    deployment: str
    definition: TaskDefinition
    instance: str | None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Assign:
    """Give an instance to a task that has waited for one."""

    task: str
    instance: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Want a task stopped, from now on; one that was never placed is over at once."""

    task: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Register:
    """Register a task's port with its target groups."""

    task: str


@dataclass(frozen=True, slots=True)
class Deregister:
    """Take a task from its target groups; requests under way may end."""

    task: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop a task's containers: the stop signal, and SIGKILL after their stop timeout."""

    task: str


@dataclass(frozen=True, slots=True)
class Say:
    """Add a line to a service's events."""

    service: str
    message: str


@dataclass(frozen=True, slots=True)
class Complete:
    """A deployment is all there is of its service."""

    service: str
    deployment: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Give a deployment up, and go back to `to` if there is one."""

    service: str
    deployment: str
    reason: str
    to: str | None


@dataclass(frozen=True, slots=True)
class Forget:
    """An older deployment has no task left."""

    service: str
    deployment: str


@dataclass(frozen=True, slots=True)
class Enter:
    """Begin a stage of a deployment; the per cent of the traffic is for that deployment's tasks.

    The rest is for the other target group's. A rollback gives all of it to the old deployment.
    """

    service: str
    deployment: str
    stage: str
    percent: float


@dataclass(frozen=True, slots=True)
class Steady:
    """A service has reached, or left, its steady state."""

    service: str
    is_steady: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """Tell in a service's events what holds it up, or note that nothing does any more (empty).

    What has the same cause is the same trouble, whichever instances it names.
    """

    service: str
    message: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Start no other task of the service before then, after so many that failed."""

    service: str
    until: float
    failed_starts: int


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Begin or end (None) to move one task of a service to another zone."""

    service: str
    task: str | None


@dataclass(frozen=True, slots=True)
class Balanced:
    """A service's tasks are spread over its zones, or no longer."""

    service: str
    is_unbalanced: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """Boot an instance of a group in a zone."""

    instance: str
    group: str
    zone: str
    kind: int
    template: str


@dataclass(frozen=True, slots=True)
class EndInstance:
    """Begin to take an instance out of its group, which a lifecycle hook may delay."""

    instance: str
    why: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Set a container instance to DRAINING."""

    instance: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Terminate an instance: whatever still runs there is gone."""

    instance: str


@dataclass(frozen=True, slots=True)
class Protect:
    """Set an instance's protection from scale-in."""

    instance: str
    is_protected: bool


@dataclass(frozen=True, slots=True)
class Resize:
    """Set a group's desired capacity."""

    group: str
    desired: int
    why: str


@dataclass(frozen=True, slots=True)
class Measure:
    """Record a value of CapacityProviderReservation."""

    group: str
    value: float
    needed: int
    running: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A group's instance refresh has ended."""

    group: str
    status: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Set a service's desired count, as its scaling policies say."""

    service: str
    desired: int
    why: str


Action = (
    Start | Assign | Stop | Register | Deregister | Halt | Say | Complete | Fail | Forget
    | Enter | Steady | Trouble | BackOff | Rebalance | Balanced | Launch | EndInstance | Drain
    | Terminate | Protect | Resize | Measure | Refreshed | Scale
)  # fmt: skip
