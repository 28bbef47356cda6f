"""A cluster on a virtual clock: the same decisions as anywhere, and nothing waits for anything."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from scheduler import actions, control, scaling
from scheduler.actions import Action
from scheduler.model import (
    BAKE,
    TRAFFIC,
    Bucket,
    Group,
    Health,
    Instance,
    Service,
    ServiceDefinition,
    Task,
)
from scheduler.scaling import Scaler
from scheduler.state import STARTS_A_MINUTE, State

TICK_SECONDS = 1.0


@dataclass(frozen=True)
class Timing:
    """How long what AWS and the containers do takes, in seconds; none of it is promised by AWS.

    `boot` is from launch to registration, `pull` the first pull of an image on an instance,
    `start` from the start of the containers to their answering, `check` until a container's or a
    target's first health check, `stop` from the stop signal to the end, `deregistration` the
    target group's delay. Each but the last is drawn between nine and eleven tenths of its value.
    """

    boot: float = 60
    pull: float = 15
    start: float = 2
    check: float = 10
    stop: float = 10
    deregistration: float = 30


@dataclass(frozen=True)
class Sample:
    """What there is at one moment; `demand` is how many healthy tasks the load asks for."""

    at: float
    hosts: int
    booting: int
    draining: int
    desired: int
    tasks: int
    healthy: int
    unplaced: int
    demand: int


@dataclass(frozen=True)
class Line:
    """One line of what happened."""

    at: float
    text: str


@dataclass
class Simulation:
    """Drives a State by a clock of its own.

    `load` gives the requests a minute that reach each service at a time; without one a service's
    demand is its desired count.
    """

    groups: list[Group]
    timing: Timing = field(default_factory=Timing)
    seed: int = 0
    # Timings of single services, by name.
    timings: dict[str, Timing] = field(default_factory=dict)
    starts_a_minute: int = STARTS_A_MINUTE
    load: Callable[[str, float], float] | None = None
    # Whether a task of a definition turns healthy, and how it fails otherwise.
    fate: Callable[[Task], str] = lambda _task: "healthy"
    now: float = 0.0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - chance, not secrets
        numbers = count(1)
        self.state = State(
            (f"{number:08x}" for number in numbers),
            self.random,
            starts_a_minute=self.starts_a_minute,
        )
        self.scalers: dict[str, Scaler] = {}
        self.samples: list[Sample] = []
        self.lines: list[Line] = []
        self.weights: dict[str, float] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._pulled: set[tuple[str, str]] = set()
        for group in self.groups:
            self.state.add_group(group)

    def at(self, moment: float, what: Callable[[], None]) -> None:
        """Let something happen at a moment."""
        heapq.heappush(self._queue, (moment, next(self._order), what))

    def boot(self, group: Group, number: int) -> None:
        """Have so many instances of a group there since long ago, over its zones in turn."""
        for index in range(number):
            one = Instance(
                next(self.state.ids),
                group.kinds[0],
                group.zones[index % len(group.zones)],
                group=group.name,
                template=group.template,
                # So that nothing counts them as warming up.
                launched_at=self.now - 3600,
            )
            self.state.add_instance(one)
            self.state.registered(one.id, self.now - 3600)

    def deploy(self, definition: ServiceDefinition, desired: int) -> None:
        """Create or update a service now."""
        self.state.deploy(definition, desired, self.now)

    def scale_by(self, scaler: Scaler) -> None:
        """Let policies scale a service."""
        self.scalers[scaler.service] = scaler

    def say(self, text: str) -> None:
        """Note what happens."""
        self.lines.append(Line(self.now, text))

    def run(self, until: float, *, settles: bool = False) -> None:
        """Let time pass until a moment, or with `settles` until nothing is on its way any more."""
        self._decide()
        while self.now < until:
            if settles and self.is_settled():
                return
            self.now = min(self._next(), until)
            self._happen()
            self._decide()

    def is_settled(self) -> bool:
        """Say whether every service is steady and every instance where it is to be.

        An instance that was drained by hand and is empty is.
        """
        return (
            all(
                service.is_steady and service.primary.rollout != "IN_PROGRESS"
                for service in self.state.services.values()
            )
            and not self.state.waiting
            and all(
                one.lifecycle == "InService" and (one.status == "ACTIVE" or not one.tasks)
                for one in self.state.instances.values()
            )
            and not any(
                group.refresh is not None and group.refresh.status == "InProgress"
                for group in self.state.groups.values()
            )
            and all(
                len([one for one in self.state.instances.values() if one.group == group.name])
                == group.desired
                for group in self.state.groups.values()
                if len(group.lost_zones) < len(group.zones) and not group.is_exhausted
            )
        )

    def lose(self, instance_id: str, why: str = "") -> None:
        """Take an instance away without warning."""
        instance = self.state.instances.get(instance_id)
        if instance is not None:
            instance.loss = why
            self.say(f"instance {instance_id} in {instance.zone} is lost")
            self.state.lost(instance_id, self.now)

    def _next(self) -> float:
        """Give the next moment of interest, on whole ticks: of an event, or of a datapoint."""
        upcoming = [self.now + scaling.METRIC_SECONDS]
        if self._queue:
            upcoming.append(self._queue[0][0])
        if (timer := self.state.next_timer()) is not None:
            upcoming.append(timer)
        upcoming += [
            service.retry_at
            for service in self.state.services.values()
            if service.retry_at > self.now
        ]
        upcoming += [
            group.readings[-1].at + scaling.METRIC_SECONDS
            for group in self.state.groups.values()
            if group.readings
        ]
        for service in self.state.services.values():
            upcoming += _shift_due(service)
        soonest = min(one for one in upcoming if one > self.now)
        return max(self.now + TICK_SECONDS, -(-soonest // TICK_SECONDS) * TICK_SECONDS)

    def _happen(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, what = heapq.heappop(self._queue)
            what()

    def _decide(self) -> None:
        for scaler in self.scalers.values():
            service = self.state.services.get(scaler.service)
            if service is not None and scaler.is_due(self.now):
                self._measure(scaler, service)
        for action in control.step(self.state, self.now):
            self.carry_out(action)
        self._sample()

    def _measure(self, scaler: Scaler, service: Service) -> None:
        running = service.number(Bucket.HEALTHY, Bucket.SETTLING)
        load = self.load(service.name, self.now) if self.load else 0.0
        healthy = max(service.number(Bucket.HEALTHY), 1)
        # Requests a minute for each task; its CPU is taken to follow them.
        per_task = load / healthy
        requests = next((p.target for p in scaler.policies if "Request" in p.metric), None)
        values = {
            policy.name: per_task
            if "Request" in policy.metric
            else policy.target * per_task / (requests or policy.target)
            for policy in scaler.policies
        }
        scaler.observe(values, self.now)
        for action in scaling.decide(scaler, service, running, self.now):
            self.state.apply(action, self.now)
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        """Let happen what was decided; its books are kept already."""
        take = getattr(self, f"_do_{type(action).__name__.lower()}", None)
        if take is not None:
            take(action)

    def _do_start(self, action: actions.Start) -> None:
        if action.instance is not None:
            self._boot_task(action.task)

    def _do_assign(self, action: actions.Assign) -> None:
        self._boot_task(action.task)

    def _boot_task(self, task_id: str) -> None:
        task = self.state.tasks.get(task_id)
        if task is None or task.instance is None:
            return  # its instance went at the same moment
        key = (task.instance.id, task.definition.name)
        timing = self._timing(task)
        pull = 0.0 if key in self._pulled else self._draw(timing.pull)
        fate = self.fate(task)
        if fate == "cannot be pulled":
            self.at(
                self.now + pull,
                lambda: self.state.stopped_itself(
                    task_id, self.now, code="TaskFailedToStart", reason="CannotPullContainerError"
                ),
            )
            return
        self._pulled.add(key)
        begins = self.now + pull + self._draw(timing.start)
        self.at(begins, lambda: self.state.started(task_id, self.now))
        if fate == "crashes":
            self.at(
                begins + self._draw(timing.start),
                lambda: self.state.stopped_itself(
                    task_id,
                    self.now,
                    code="EssentialContainerExited",
                    reason="Essential container in task exited",
                ),
            )
        elif task.definition.has_health_check:
            # A failing check is tried again before it counts.
            bad = fate == "unhealthy" and self.state.target_group_of(task) is None
            checked = begins + self._draw(timing.check) * (3 if bad else 1)
            health: Health = "UNHEALTHY" if bad else "HEALTHY"
            self.at(checked, lambda: self.state.set_health(task_id, health, self.now))

    def _do_register(self, action: actions.Register) -> None:
        task = self.state.tasks.get(action.task)
        if task is None:
            return
        good = self.fate(task) == "healthy"
        delay = self._draw(self._timing(task).check) * (1 if good else 3)
        self.at(
            self.now + delay,
            lambda: (
                self.state.set_target(
                    action.task,
                    "healthy" if good else "unhealthy",
                    self.now,
                    "" if good else "Health checks failed with these codes: [500]",
                )
                if self._target(action.task) == "initial"
                else None
            ),
        )

    def _target(self, task_id: str) -> str | None:
        task = self.state.tasks.get(task_id)
        return task.target if task is not None else None

    def _do_deregister(self, action: actions.Deregister) -> None:
        task = self.state.tasks.get(action.task)
        if task is not None:
            self.at(
                self.now + self._timing(task).deregistration,
                lambda: self.state.set_target(action.task, None, self.now),
            )

    def _do_halt(self, action: actions.Halt) -> None:
        task = self.state.tasks.get(action.task)
        if task is not None:
            self.at(
                self.now + self._draw(self._timing(task).stop),
                lambda: self.state.stopped_itself(action.task, self.now),
            )

    def _do_launch(self, action: actions.Launch) -> None:
        self.say(f"instance {action.instance} boots in {action.zone}")

        def registered() -> None:
            if action.instance in self.state.instances:
                self.say(f"instance {action.instance} has registered")
                self.state.registered(action.instance, self.now)

        self.at(self.now + self._draw(self.timing.boot), registered)

    def _do_drain(self, action: actions.Drain) -> None:
        self.say(f"instance {action.instance} is DRAINING")

    def _do_endinstance(self, action: actions.EndInstance) -> None:
        self.say(f"instance {action.instance} is to end: {action.why}")

    def _do_terminate(self, action: actions.Terminate) -> None:
        self.say(f"instance {action.instance} is terminated")

    def _do_resize(self, action: actions.Resize) -> None:
        self.say(f"desired capacity {action.desired}: {action.why}")

    def _do_scale(self, action: actions.Scale) -> None:
        self.say(f"(service {action.service}) desired count {action.desired}: {action.why}")

    def _do_say(self, action: actions.Say) -> None:
        self.say(action.message)

    def _do_trouble(self, action: actions.Trouble) -> None:
        if action.message:
            self.say(action.message)

    def _do_refreshed(self, action: actions.Refreshed) -> None:
        self.say(f"instance refresh: {action.status}")

    def _do_enter(self, action: actions.Enter) -> None:
        self.weights[action.service] = action.percent

    def _timing(self, task: Task) -> Timing:
        return self.timings.get(task.service or "", self.timing)

    def _draw(self, seconds: float) -> float:
        return seconds * self.random.uniform(0.9, 1.1)

    def _sample(self) -> None:
        services = self.state.services.values()
        instances = self.state.instances.values()
        sample = Sample(
            at=self.now,
            hosts=len(instances),
            booting=sum(one.lifecycle == "Pending" for one in instances),
            draining=len(self.state.draining),
            desired=sum(one.desired for one in services),
            tasks=sum(
                one.number(Bucket.SETTLING, Bucket.HEALTHY, Bucket.UNHEALTHY, Bucket.ENDING)
                for one in services
            ),
            healthy=sum(one.number(Bucket.HEALTHY) for one in services),
            unplaced=len(self.state.waiting),
            demand=sum(self._demand(one) for one in services),
        )
        if not self.samples or replace(self.samples[-1], at=self.now) != sample:
            self.samples.append(sample)

    def _demand(self, service: Service) -> int:
        scaler = self.scalers.get(service.name)
        if self.load is None or scaler is None:
            return service.desired
        target = next((p.target for p in scaler.policies if "Request" in p.metric), None)
        if target is None:
            return service.desired
        return int(-(-self.load(service.name, self.now) // target))


def _shift_due(service: Service) -> list[float]:
    shift, stage = service.definition.shift, service.primary.stage
    if stage == TRAFFIC:
        return [service.primary.stage_at + shift.step_seconds]
    if stage == BAKE:
        return [service.primary.stage_at + shift.bake_seconds]
    return []
