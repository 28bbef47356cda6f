"""Small clusters to put questions to, and a simulation that watches what must always hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from scheduler import control
from scheduler.actions import Action, Start, Stop
from scheduler.model import (
    ROLLING,
    Bucket,
    Group,
    Instance,
    InstanceKind,
    ManagedScaling,
    Service,
    ServiceDefinition,
    Strategy,
    Task,
    TaskDefinition,
)
from scheduler.simulation import Simulation
from scheduler.state import State

KIND = InstanceKind("large", cpu=2048, memory=4000, interfaces=3, dynamic_ports=100)
TASK = TaskDefinition("web:1", cpu=256, memory=500, dynamic_ports=1)
WEB = ServiceDefinition("web", TASK)
BY_ZONE = Strategy("spread", "attribute:ecs.availability-zone")
BY_INSTANCE = Strategy("spread", "instanceId")


def instance(name: str, zone: str = "a", *, kind: InstanceKind = KIND, **given: object) -> Instance:
    """An instance that takes tasks, unless `given` says otherwise."""
    one = Instance(name, kind, zone)
    one.lifecycle, one.status = "InService", "ACTIVE"
    for key, value in given.items():
        setattr(one, key, value)
    return one


def state(instances: Iterable[Instance] = (), *, seed: int = 0) -> State:
    """A state with those instances, whose ids count from 1."""
    numbers = count(1)
    made = State((f"{number}" for number in numbers), Random(seed))
    for one in instances:
        made.add_instance(one)
    return made


def group(**given: object) -> Group:
    """A group of up to ten instances in two zones, behind a provider with managed scaling."""
    made = Group(
        name="group",
        provider="provider",
        zones=("a", "b"),
        kinds=(KIND,),
        minimum=0,
        maximum=10,
        desired=2,
        scaling=ManagedScaling(),
    )
    return replace(made, **given)  # type: ignore[arg-type]


def live(cluster: State, seconds: int, *, since: float = 0) -> float:
    """Let seconds pass in which every task takes its next good step; give the time."""
    for now in range(int(since), int(since) + seconds):
        control.step(cluster, now)
        for task in list(cluster.tasks.values()):
            bring_on(cluster, task, now)
    control.step(cluster, since + seconds)
    return since + seconds


def bring_on(cluster: State, task: Task, now: float) -> None:
    """Let a task take its next step towards health, or towards its end."""
    if task.status == "PENDING" and task.wanted:
        cluster.started(task.id, now)
    elif task.status == "RUNNING" and task.wanted:
        if task.definition.has_health_check and task.health == "UNKNOWN":
            cluster.set_health(task.id, "HEALTHY", now)
        if task.target == "initial":
            cluster.set_target(task.id, "healthy", now)
    elif task.target == "draining":
        cluster.set_target(task.id, None, now)
    elif task.status == "STOPPING":
        cluster.stopped_itself(task.id, now)


def messages(service: Service) -> list[str]:
    """What a service's events say, the oldest first."""
    return [event.message for event in reversed(service.events)]


def said(actions: Iterable[Action]) -> list[str]:
    return [action.message for action in actions if hasattr(action, "message") and action.message]


@dataclass
class Watched(Simulation):
    """Fails as soon as something is so that must never be."""

    taken: list[Action] = field(default_factory=list)

    def begin(self, *services: tuple[ServiceDefinition, int]) -> Watched:
        """Boot the groups' instances at once, and create services."""
        for one in self.groups:
            self.boot(one, one.desired)
        for definition, desired in services:
            self.deploy(definition, desired)
        return self

    def _decide(self) -> None:
        before = {
            task.id
            for service in self.state.services.values()
            for one in service.deployments
            for task in one.tasks[Bucket.HEALTHY].values()
        }
        self.taken = []
        super()._decide()
        started = {action.service for action in self.taken if isinstance(action, Start)}
        stopped = {
            action.task
            for action in self.taken
            if isinstance(action, Stop) and action.code == "ServiceSchedulerInitiated"
        } & before
        for service in self.state.services.values():
            gone = {name for name in stopped if self.state.tasks[name].service == service.name}
            if service.definition.shift.kind == ROLLING:
                _keeps_bounds(service, gone, started=service.name in started)
            elif any(one.completed_at is not None for one in service.deployments):
                _keeps_serving(service, gone)
        for one in self.state.instances.values():
            keeps_limits(one)

    def carry_out(self, action: Action) -> None:
        self.taken.append(action)
        super().carry_out(action)


def _keeps_bounds(service: Service, gone: set[str], *, started: bool) -> None:
    there = sum(service.number(bucket) for bucket in Bucket)
    assert not started or there <= service.maximum, f"{there} tasks, at most {service.maximum}"
    healthy = service.number(Bucket.HEALTHY)
    assert not gone or healthy >= service.minimum_healthy, (
        f"{healthy} healthy, at least {service.minimum_healthy}"
    )


def _keeps_serving(service: Service, gone: set[str]) -> None:
    serving = service.serving
    assert serving is not None
    ended = [name for name in gone if name in serving.tasks[Bucket.ENDING]]
    healthy = serving.number(Bucket.HEALTHY)
    assert not ended or healthy >= service.minimum_healthy, (
        f"{healthy} healthy ones serve, at least {service.minimum_healthy}"
    )


def keeps_limits(one: Instance) -> None:
    """Assert that an instance holds what it can hold, and that its books say so."""
    tasks = list(one.tasks.values())
    for name, left, total in (
        ("cpu", one.cpu_left, one.kind.cpu),
        ("memory", one.memory_left, one.kind.memory),
        ("interfaces", one.interfaces_left, one.kind.interfaces),
        ("dynamic_ports", one.dynamic_ports_left, one.kind.dynamic_ports),
    ):
        used = sum(getattr(task.definition, name) for task in tasks)
        assert used <= total, f"{one.id}: {used} {name} of {total}"
        assert left == total - used, f"{one.id}: books of {name}"
    ports = [port for task in tasks for port in task.definition.host_ports]
    assert len(ports) == len(set(ports)), f"{one.id}: a host port twice"
    assert one.host_ports == set(ports)
