"""What the scheduler takes: placing tasks on hosts, and a rolling deployment of all of them."""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from random import Random
from statistics import median

from bench.report import BenchError, Outcome, Target, interleave, ratio, table
from scheduler import control
from scheduler.actions import Start
from scheduler.model import (
    ZONE,
    Group,
    Instance,
    InstanceKind,
    ManagedScaling,
    ServiceDefinition,
    Strategy,
    TaskDefinition,
)
from scheduler.placement import Request, place
from scheduler.simulation import Simulation

OURS, NAIVE = "scheduler", "naive greedy"
TASKS, TASKS_A_HOST = 10_000, 10
SIZES = (1_000, 10_000, 100_000)
# As many registered as an m7g.large has for tasks, by scheduler/instance_types.py.
HOST = InstanceKind("host", cpu=2048, memory=7116, interfaces=10, dynamic_ports=256)
ZONES = ("a", "b", "c")
SPREAD = (Strategy("spread", ZONE), Strategy("binpack", "memory"))
FILL = (Strategy("binpack", "memory"),)
# The parts of a host's memory that a task of each of the twenty services takes; of its CPU it takes
# four fifths of that part.
PARTS = (8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 34, 38, 42, 46, 50, 54, 58, 64)
# AWS starts 500 tasks of a service a minute; what is measured here is the scheduler.
NO_QUOTA = 10**9
LOOK, ROLLOUT, HOSTS = Target(1.0), Target(20.0), Target(1.02)
HEADS = ("tasks", "hosts", "place", "growth", "rollout", "growth", "n log n allows")


@dataclass(frozen=True)
class Pass:
    """Seconds of one core for the look that places every task, and for the rollout of all."""

    look: float
    rollout: float


def run(rounds: int) -> Outcome:
    """Measure placement beside its baseline, and growth; the ratio is placement's."""
    same(TASKS)
    placing: dict[str, Callable[[], float]] = {
        OURS: partial(timed, greedy, TASKS),
        NAIVE: partial(timed, naive, TASKS),
    }
    placed = interleave(placing, rounds)
    passes = interleave({f"{size} tasks": partial(deploy, size) for size in SIZES}, rounds)
    return report(placed, dict(zip(SIZES, passes.values(), strict=True)), packing(TASKS), rounds)


def report(
    placed: Mapping[str, Sequence[float]],
    passes: Mapping[int, Sequence[Pass]],
    packed: tuple[int, int],
    rounds: int,
) -> Outcome:
    """Lay out the medians, their growth, and the verdicts."""
    looks = {size: median(one.look for one in found) for size, found in passes.items()}
    rollouts = {size: median(one.rollout for one in found) for size, found in passes.items()}
    rows, before = [], 0
    for size in passes:
        cells = [f"{size}", f"{size // TASKS_A_HOST}"]
        for seconds in (looks, rollouts):
            grown_by = f"{seconds[size] / seconds[before]:.1f}" if before else ""
            cells += [f"{seconds[size]:.3f}", grown_by]
        rows.append([*cells, f"{allowed(before, size):.0f}" if before else ""])
        before = size
    used, least = packed
    against = ratio(placed[OURS], placed[NAIVE])
    grown = all(
        times[larger] / times[smaller] <= allowed(smaller, larger)
        for times in (looks, rollouts)
        for smaller, larger in pairwise(passes)
    )
    lines = (
        f"scheduler: seconds of one core, medians of {rounds} rounds; Python "
        f"{platform.python_version()}",
        f"{len(PARTS)} services of as many tasks each, a task 1/{max(PARTS)} to 1/{min(PARTS)} of "
        f"a host, {TASKS_A_HOST} tasks a host;",
        f"spread over {len(ZONES)} zones, then binpack by memory; the launch quota of 500 tasks a "
        "minute is lifted",
        "",
        table(
            [f"placing {TASKS} tasks", "seconds"],
            [[name, f"{median(found):.3f}"] for name, found in placed.items()],
        ),
        f"{NAIVE}: a min() over all hosts for each task; all {TASKS} choices are the same",
        "",
        table(HEADS, rows),
        "n is tasks times hosts; growth is against the row above",
        "",
        f"place {TASKS}, books and events included, {LOOK.judge(looks[TASKS])}",
        f"rollout of {TASKS}, {ROLLOUT.judge(rollouts[TASKS])}",
        f"growth, at most n log n: {'met' if grown else 'MISSED'}",
        f"hosts that binpack fills, {used} where CPU and memory ask for {least}, "
        f"{HOSTS.judge(used / least)} times that",
    )
    return Outcome("\n".join(lines), against)


def allowed(smaller: int, larger: int) -> float:
    """Give how much longer n log n may take with more tasks, on hosts in proportion."""
    few, many = smaller**2 / TASKS_A_HOST, larger**2 / TASKS_A_HOST
    return many * math.log(many) / (few * math.log(few))


def mix(tasks: int) -> list[tuple[TaskDefinition, int]]:
    """Give each service's task definition and how many of them there are."""
    return [
        (
            TaskDefinition(
                f"service-{number}:1",
                cpu=HOST.cpu * 4 // (5 * part),
                memory=HOST.memory // part,
                dynamic_ports=1,
                has_health_check=True,
            ),
            tasks // len(PARTS),
        )
        for number, part in enumerate(PARTS)
    ]


def hosts(number: int) -> list[Instance]:
    """Give empty hosts, over the zones in turn."""
    made = [Instance(f"i-{index}", HOST, ZONES[index % len(ZONES)]) for index in range(number)]
    for one in made:
        one.lifecycle, one.status = "InService", "ACTIVE"
    return made


def greedy(tasks: int, strategies: tuple[Strategy, ...] = SPREAD) -> list[Instance]:
    """Place the mix by the scheduler; give each task's host."""
    there, chosen = hosts(tasks // TASKS_A_HOST), []
    random = Random(0)
    for need, number in mix(tasks):
        found = place(Request(need, need.name, strategies), number, there, random=random)
        for one in found:
            hold(one, need)
        chosen += found
    return chosen


def naive(tasks: int) -> list[Instance]:
    """Place the same mix as the rule reads: for each task the best of all hosts that fit."""
    there, chosen = hosts(tasks // TASKS_A_HOST), []
    for need, number in mix(tasks):
        zones: Counter[str] = Counter()
        for _ in range(number):
            one = min(
                (
                    each
                    for each in there
                    if each.cpu_left >= need.cpu
                    and each.memory_left >= need.memory
                    and each.dynamic_ports_left >= need.dynamic_ports
                ),
                key=lambda each: (zones[each.zone], each.memory_left),
            )
            zones[one.zone] += 1
            hold(one, need)
            chosen.append(one)
    return chosen


def hold(one: Instance, need: TaskDefinition) -> None:
    """Take a task's part of a host."""
    one.cpu_left -= need.cpu
    one.memory_left -= need.memory
    one.dynamic_ports_left -= need.dynamic_ports
    one.of_group[need.name] += 1


def same(tasks: int) -> None:
    """Raise BenchError where the scheduler chooses otherwise than the naive rule."""
    ours, theirs = ([one.id for one in by(tasks)] for by in (greedy, naive))
    if ours != theirs:
        pairs = enumerate(zip(ours, theirs, strict=True))
        first = next(index for index, (one, other) in pairs if one != other)
        raise BenchError(f"expected the naive rule's host for task {first}, got another")


def packing(tasks: int) -> tuple[int, int]:
    """Give the hosts that binpack uses, and the least that total CPU and memory allow."""
    used = len({one.id for one in greedy(tasks, FILL)})
    needs = mix(tasks)
    cpu = sum(need.cpu * number for need, number in needs) / HOST.cpu
    memory = sum(need.memory * number for need, number in needs) / HOST.memory
    return used, math.ceil(max(cpu, memory))


def timed(placing: Callable[[int], list[Instance]], tasks: int) -> float:
    """Take the seconds of one placement of the mix."""
    started = time.process_time()
    chosen = placing(tasks)
    seconds = time.process_time() - started
    if len(chosen) != tasks:
        raise BenchError(f"expected {tasks} tasks placed, got {len(chosen)}")
    return seconds


def deploy(tasks: int) -> Pass:
    """Place every service's tasks in one look, let them settle, and roll all of them out."""
    number = tasks // TASKS_A_HOST
    group = Group(
        "hosts", "provider", ZONES, (HOST,), number, number, number, scaling=ManagedScaling()
    )
    simulation = Simulation([group], starts_a_minute=NO_QUOTA)
    simulation.boot(group, number)
    for need, wanted in mix(tasks):
        name = need.name.partition(":")[0]
        definition = ServiceDefinition(
            name, need, strategies=SPREAD, provider="provider", target_groups=(name,)
        )
        simulation.deploy(definition, wanted)
    started = time.process_time()
    done = control.step(simulation.state, 0.0)
    look = time.process_time() - started
    placed = sum(isinstance(one, Start) and one.instance is not None for one in done)
    if placed != tasks:
        raise BenchError(f"expected {tasks} tasks placed, got {placed}")
    for action in done:
        simulation.carry_out(action)
    _settle(simulation)
    for service in list(simulation.state.services.values()):
        old = service.definition
        new = replace(old.task_definition, name=f"{service.name}:2")
        simulation.deploy(replace(old, task_definition=new), service.desired)
    started = time.process_time()
    _settle(simulation)
    rollout = time.process_time() - started
    if {task.definition.name[-2:] for task in simulation.state.tasks.values()} != {":2"}:
        raise BenchError("expected every task of the new revision, got old ones")
    return Pass(look, rollout)


def _settle(simulation: Simulation) -> None:
    simulation.run(simulation.now + 3600, settles=True)
    if not simulation.is_settled():
        raise BenchError("expected a steady state within an hour of virtual time, got none")
