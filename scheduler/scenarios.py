"""What may happen to an environment, played on the virtual clock, and what it then lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from scheduler.environment import DeclaredService, Environment
from scheduler.model import Bucket, Group, Instance, Refresh
from scheduler.obstacles import obstacles
from scheduler.scaling import METRIC_SECONDS, Scaler
from scheduler.simulation import Line, Sample, Simulation, Timing

# Before a scenario begins the environment has this long to settle, its capacity too.
LEAD_SECONDS = 3600
# A scenario that has not ended by then does not end.
LIMIT_SECONDS = 6 * 3600
# It has ended when nothing happens for so long after the last warm-up of a host: capacity is looked
# at each minute.
REST_SECONDS = 120
# Of the load: what the tasks that are there could take by the policy's target, the part of it
# that comes ordinarily, how many times that in the spike, and for how long.
ORDINARY, SPIKE, SPIKE_SECONDS = 0.5, 5, 30 * 60
LOST_SECONDS = 20 * 60
# From the notice of an interruption to the end. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/spot-instance-draining-linux-container.html
NOTICE_SECONDS = 120
REQUESTS = "ALBRequestCountPerTarget"


class ScenarioError(ValueError):
    """Says what an environment lacks for a scenario, and what was expected."""


@dataclass(frozen=True)
class Shortfall:
    """A time in which fewer tasks were healthy than the demand asked for, and by how many."""

    at: float
    seconds: float
    tasks: int


@dataclass(frozen=True)
class Outcome:
    """A scenario as it went; every time counts from its beginning.

    `samples` begin with what was there before it; `remarks` say what was assumed.
    """

    environment: str
    scenario: str
    seed: int
    timings: Mapping[str, Timing]
    samples: tuple[Sample, ...]
    lines: tuple[Line, ...]
    marks: tuple[Line, ...]
    remarks: tuple[str, ...]
    ended_at: float
    is_settled: bool
    obstacles: tuple[str, ...] = ()

    @property
    def peak_hosts(self) -> int:
        """The largest number of instances at once, those that boot or leave among them."""
        return max(one.hosts for one in self.samples)

    @property
    def shortfalls(self) -> list[Shortfall]:
        """Each time in which capacity was below demand, with the worst of it."""
        found: list[Shortfall] = []
        ends = [*(one.at for one in self.samples[1:]), self.ended_at]
        for sample, end in zip(self.samples, ends, strict=True):
            lacks = sample.demand - sample.healthy
            if lacks <= 0 or end <= sample.at:
                continue
            last = found[-1] if found else None
            if last is not None and last.at + last.seconds == sample.at:
                found[-1] = Shortfall(last.at, end - last.at, max(last.tasks, lacks))
            else:
                found.append(Shortfall(sample.at, end - sample.at, lacks))
        return found


@dataclass
class Play:
    """An environment under way, and what a scenario does to it."""

    environment: Environment
    simulation: Simulation
    started_at: float = 0.0
    marks: list[Line] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    # Whether what the scenario does is over; a settled cluster alone is not the end.
    is_over: Callable[[], bool] = lambda: True

    @property
    def groups(self) -> list[Group]:
        return self.simulation.groups

    @property
    def instances(self) -> list[Instance]:
        return list(self.simulation.state.instances.values())

    def mark(self, text: str) -> None:
        """Note what the scenario itself does."""
        self.simulation.say(text)
        self.marks.append(Line(self.simulation.now, text))

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        self.simulation.at(self.simulation.now + seconds, what)


def play(
    environment: Environment,
    scenario: str,
    *,
    seed: int = 0,
    timing: Timing | None = None,
    overrides: Mapping[str, float] | None = None,
) -> Outcome:
    """Play a scenario by its name; raise ScenarioError where the environment cannot have it.

    `overrides` are seconds of Timing by name, which go before what the templates say.
    """
    asked = replace(timing or Timing(), **(overrides or {}))
    timings = timings_of(environment, asked, overrides or {})
    simulation = Simulation(environment.make_groups(), asked, seed=seed, timings=timings)
    started = Play(environment, simulation)
    for group in simulation.groups:
        simulation.boot(group, group.desired)
    for service in environment.services:
        simulation.deploy(service.definition, service.desired)
    simulation.run(LEAD_SECONDS)
    if not simulation.is_settled():
        why = obstacles(simulation.state, simulation.now) or ["it is still on its way"]
        raise ScenarioError(
            f"{environment.name}: expected a steady state before {scenario}, got: {'; '.join(why)}"
        )
    first_line, began = len(simulation.lines), simulation.now
    started.started_at = began
    SCENARIOS[scenario](started)
    ended, settled = _run(started, began + LIMIT_SECONDS)
    return Outcome(
        environment=environment.name,
        scenario=scenario,
        seed=seed,
        timings=timings,
        samples=_since([one for one in simulation.samples if one.at <= ended], began),
        lines=tuple(replace(one, at=one.at - began) for one in simulation.lines[first_line:]),
        marks=tuple(replace(one, at=one.at - began) for one in started.marks),
        remarks=tuple(started.remarks),
        ended_at=ended - began,
        is_settled=settled,
        obstacles=() if settled else tuple(obstacles(simulation.state, simulation.now)),
    )


def timings_of(
    environment: Environment, timing: Timing, overrides: Mapping[str, float]
) -> dict[str, Timing]:
    """Give each service's timing: the defaults, what its target group says, what was asked for."""
    found = {}
    for service in environment.services:
        declared = {
            name: seconds
            for name, seconds in (
                ("check", service.check_seconds),
                ("deregistration", service.deregistration_seconds),
            )
            if seconds is not None
        }
        found[service.definition.name] = replace(timing, **(declared | dict(overrides)))
    return found


def _run(started: Play, limit: float) -> tuple[float, bool]:
    """Let a scenario run; give when it ended, and whether it came to rest."""
    simulation = started.simulation
    warmups = (group.scaling.warmup_seconds for group in started.groups if group.scaling)
    rest = REST_SECONDS + max(warmups, default=0)
    while simulation.now < limit:
        simulation.run(limit, settles=True)
        told = len(simulation.lines)
        if started.is_over() and simulation.is_settled():
            simulation.run(simulation.now + rest)
            if simulation.is_settled() and len(simulation.lines) == told:
                return max(simulation.lines[-1].at, simulation.samples[-1].at), True
        else:
            simulation.run(simulation.now + METRIC_SECONDS)
    return simulation.now, False


def _since(samples: list[Sample], began: float) -> tuple[Sample, ...]:
    """Give the samples from a moment on, with the state that it found, on a clock from there."""
    before = [one for one in samples if one.at < began]
    after = [replace(one, at=one.at - began) for one in samples if one.at >= began]
    return (*(replace(one, at=min(0.0, one.at - began)) for one in before[-1:]), *after)


def _rollout(one: Play) -> None:
    one.mark("a new task definition")
    for service in one.environment.services:
        new = replace(
            service.definition.task_definition,
            name=f"{service.definition.task_definition.name}:next",
        )
        one.simulation.deploy(replace(service.definition, task_definition=new), service.desired)


def _spike(one: Play) -> None:
    ordinary = {
        service.definition.name: service.desired * target * ORDINARY
        for service in one.environment.services
        if (target := _requests(service))
    }
    if not ordinary:
        raise ScenarioError(
            f"{one.environment.name}: expected a service with a scaling policy on {REQUESTS}, got "
            "none"
        )
    ends_at = one.started_at + SPIKE_SECONDS

    def load(name: str, now: float) -> float:
        return ordinary.get(name, 0.0) * (SPIKE if one.started_at <= now < ends_at else 1)

    one.simulation.load = load
    for service in one.environment.services:
        name, maximum = service.definition.name, service.maximum
        if name in ordinary and service.minimum is not None and maximum is not None:
            scaler = Scaler(name, service.minimum, maximum, service.policies)
            # It has had ordinary load for long.
            scaler.measured_at = one.simulation.now
            one.simulation.scale_by(scaler)
            one.remarks.append(
                f"{name}: {ordinary[name]:.0f} requests a minute, half of what "
                f"{service.desired} tasks take by the policy's target, times {SPIKE} for "
                f"{SPIKE_SECONDS // 60} minutes; at most {maximum} tasks"
            )
    one.mark(f"{SPIKE} times the requests")
    one.later(SPIKE_SECONDS, lambda: one.mark("as many requests as before"))
    hosts = {group.name: group.desired for group in one.groups}

    def is_over() -> bool:
        state = one.simulation.state
        tasks = all(
            state.services[service.definition.name].desired <= service.desired
            for service in one.environment.services
        )
        back = all(group.desired <= hosts[group.name] for group in one.groups)
        return one.simulation.now >= ends_at and tasks and back

    one.is_over = is_over


def _requests(service: DeclaredService) -> float | None:
    return next((one.target for one in service.policies if one.metric == REQUESTS), None)


def _az_loss(one: Play) -> None:
    counts: dict[str, int] = {}
    for instance in one.instances:
        counts[instance.zone] = counts.get(instance.zone, 0) + 1
    if not counts:
        raise ScenarioError(f"{one.environment.name}: expected instances to lose, got none")
    zone = max(sorted(counts), key=lambda name: counts[name])
    one.mark(f"zone {zone} is lost")
    for group in one.groups:
        group.lost_zones.add(zone)
    for instance in one.instances:
        if instance.zone == zone:
            one.simulation.lose(instance.id)

    def back() -> None:
        for group in one.groups:
            group.lost_zones.discard(zone)
        one.mark(f"zone {zone} is back")

    one.later(LOST_SECONDS, back)
    one.is_over = lambda: one.simulation.now > one.started_at + LOST_SECONDS


def _instance_refresh(one: Play) -> None:
    if not one.groups:
        raise ScenarioError(f"{one.environment.name}: expected an Auto Scaling group, got none")
    one.mark("a new launch template version")
    for group in one.groups:
        group.template = f"{group.template}:next"
        group.refresh = Refresh(next(one.simulation.state.ids), group.template, one.simulation.now)


def _spot_interruption(one: Play) -> None:
    if not one.instances:
        raise ScenarioError(f"{one.environment.name}: expected instances to interrupt, got none")
    instance = max(one.instances, key=lambda each: len(each.tasks))
    group = next((each for each in one.groups if each.name == instance.group), None)
    if not instance.spot:
        one.remarks.append("the environment has On-Demand instances; one is taken for a Spot one")
    one.mark(f"instance {instance.id} in {instance.zone} is to be interrupted")
    # Managed draining covers it too. Source, read 2026-11-24:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-instance-draining.html
    if group is not None and (group.drains_on_notice or group.drains):
        one.simulation.state.set_instance_status(instance.id, "DRAINING")
        one.simulation.say(f"instance {instance.id} is DRAINING")
    else:
        one.remarks.append("nothing drains it: its agent is not told to, and nor is its provider")

    def end() -> None:
        left = len(instance.tasks)
        one.mark(f"the interrupted instance is gone, with {left} tasks still on it")
        one.simulation.lose(instance.id)

    one.later(NOTICE_SECONDS, end)
    one.is_over = lambda: one.simulation.now > one.started_at + NOTICE_SECONDS


def _scale_to_zero(one: Play) -> None:
    one.mark("no tasks are wanted, nor hosts")
    one.remarks.append("the minimum of hosts stays 0; what brings them back is the tasks")
    state = one.simulation.state
    for group in one.groups:
        group.minimum = 0
    for service in one.environment.services:
        state.deploy(service.definition, 0, one.simulation.now)
    returned = False

    def look() -> None:
        nonlocal returned
        if one.instances or not one.simulation.is_settled():
            one.later(60, look)
            return
        returned = True
        one.mark("the tasks are wanted again")
        for service in one.environment.services:
            state.deploy(service.definition, service.desired, one.simulation.now)

    def is_over() -> bool:
        return returned and all(
            state.services[service.definition.name].number(Bucket.HEALTHY) >= service.desired
            for service in one.environment.services
        )

    one.later(60, look)
    one.is_over = is_over


SCENARIOS: Mapping[str, Callable[[Play], None]] = {
    "rollout": _rollout,
    "spike": _spike,
    "az-loss": _az_loss,
    "instance-refresh": _instance_refresh,
    "spot-interruption": _spot_interruption,
    "scale-to-zero": _scale_to_zero,
}
