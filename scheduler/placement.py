"""Where a task goes: which instances can hold it, which of them is best, and why none can.

The order of the steps: resources, then constraints, then strategies one after the other. Source,
read 2026-11-24: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement.html
What decides between equals is unverified; here it is who came first.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from scheduler.expressions import Matches, compile_expression
from scheduler.model import ZONE, Constraint, Instance, Strategy, TaskDefinition

# A service without strategies: the zones with the fewest of its tasks, then the instances.
# Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service-options.html
SERVICE_DEFAULT = (Strategy("spread", ZONE), Strategy("spread", "instanceId"))
# A task of no service. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/scheduling_tasks.html
TASK_DEFAULT = (Strategy("random"),)
# TCP ports that the host itself takes. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
RESERVED_PORTS = frozenset({22, 2375, 2376, 51678, 51679, 51680})
_RESERVED = frozenset((port, "tcp") for port in RESERVED_PORTS)
PER_INSTANCE = {"instanceId", "host"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be placed: tasks of one definition and group, and where they may go.

    `zone` narrows it to one availability zone, as zone rebalancing does.
    """

    definition: TaskDefinition
    group: str
    strategies: tuple[Strategy, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    zone: str | None = None

    @property
    def expressions(self) -> list[Matches]:
        """The tests of its memberOf constraints and of its definition's."""
        every = (*self.constraints, *self.definition.constraints)
        return [compile_expression(one.expression) for one in every if one.kind == "memberOf"]

    @property
    def is_distinct(self) -> bool:
        return any(one.kind == "distinctInstance" for one in self.constraints)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an instance cannot take a task: ECS's code, and the words of its events."""

    instance: Instance
    code: str
    words: str


def place(
    request: Request, count: int, instances: Iterable[Instance], *, random: Random
) -> list[Instance]:
    """Choose an instance for each of `count` equal tasks in turn; fewer, where not all find room.

    The instances stay as they are. Takes time in proportion to the instances and, for each task,
    to the logarithm of their number.
    """
    every = [one for one in instances if request.zone in (None, one.zone)]
    fitting = _fitting(request, every)
    if not fitting or count < 1:
        return []
    strategies = tuple(request.strategies) or TASK_DEFAULT
    candidates = [
        _Candidate(order, one, request, random) for order, one in enumerate(every) if one in fitting
    ]
    root = _branch(candidates, every, strategies, request)
    chosen: list[Instance] = []
    while len(chosen) < count and root.peek() is not None:
        chosen.append(root.take().instance)
    return chosen


def refusals(request: Request, instances: Iterable[Instance]) -> list[Refusal]:
    """Say of each instance that cannot take the task why, the one that misses least first.

    Which instance ECS calls the closest match is unverified; here it is the one that meets the most
    requirements.
    """
    expressions = request.expressions
    found: list[tuple[int, float, int, Refusal]] = []
    for order, one in enumerate(instances):
        lacks = _lacks(request, one, expressions)
        if lacks:
            code, words, part = lacks[0]
            found.append((len(lacks), part, order, Refusal(one, code, words)))
    return [refusal for _, _, _, refusal in sorted(found, key=lambda row: row[:3])]


def _fitting(request: Request, instances: Sequence[Instance]) -> set[Instance]:
    need, expressions, distinct = request.definition, request.expressions, request.is_distinct
    if need.host_ports & _RESERVED:
        return set()
    return {
        one
        for one in instances
        if one.accepts
        and one.cpu_left >= need.cpu
        and one.memory_left >= need.memory
        and one.interfaces_left >= need.interfaces
        and one.dynamic_ports_left >= need.dynamic_ports
        and not need.host_ports & one.host_ports
        and not (distinct and one.of_group[request.group])
        and all(matches(one) for matches in expressions)
        and request.zone in (None, one.zone)
    }


def _lacks(
    request: Request, one: Instance, expressions: Sequence[Matches]
) -> list[tuple[str, str, float]]:
    """Name every requirement that an instance misses, and by which part of what is asked.

    Codes: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    Words: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    (read 2026-11-24); those on interfaces, constraints, zones and states are unverified.
    """
    need = request.definition
    taken = need.host_ports & (one.host_ports | _RESERVED)
    rules = (
        (one.status != "ACTIVE", "INACTIVE", f"is {one.status}", 9.0),
        (not one.agent, "AGENT", 'encountered error "AGENT"', 9.0),
        (
            one.cpu_left < need.cpu,
            "RESOURCE:CPU",
            "has insufficient CPU units available",
            (need.cpu - one.cpu_left) / max(need.cpu, 1),
        ),
        (
            one.memory_left < need.memory,
            "RESOURCE:MEMORY",
            "has insufficient memory available",
            (need.memory - one.memory_left) / max(need.memory, 1),
        ),
        (
            bool(taken) or one.dynamic_ports_left < need.dynamic_ports,
            "RESOURCE:PORTS",
            "is already using a port required by your task",
            1.0,
        ),
        (
            one.interfaces_left < need.interfaces,
            "RESOURCE:ENI",
            "has insufficient ENI capacity available",
            1.0,
        ),
        (
            not all(matches(one) for matches in expressions),
            "ATTRIBUTE",
            "is missing an attribute required by your task",
            9.0,
        ),
        (
            request.is_distinct and one.of_group[request.group] > 0,
            "distinctInstance placement constraint unsatisfied",
            "already runs a task of this group (distinctInstance)",
            9.0,
        ),
        (request.zone not in (None, one.zone), "LOCATION", f"is not in {request.zone}", 9.0),
    )
    return [(code, words, part) for lacks, code, words, part in rules if lacks]


class _Candidate:
    """An instance with what is left of it as this batch is placed."""

    __slots__ = (
        "cpu", "distinct", "draw", "dynamic", "instance", "interfaces", "memory", "number",
        "order", "random",
    )  # fmt: skip

    def __init__(self, order: int, instance: Instance, request: Request, random: Random) -> None:
        self.order = order
        self.instance = instance
        self.cpu = instance.cpu_left
        self.memory = instance.memory_left
        self.interfaces = instance.interfaces_left
        self.dynamic = instance.dynamic_ports_left
        self.number = instance.of_group[request.group]
        self.random = random
        # The first of several clocks that tick at the same rate is any of them, each time anew.
        self.draw = random.expovariate(1.0) if _draws(request) else 0.0
        # One more task can never stand beside the first: a port of its own, or its constraint.
        self.distinct = request.is_distinct or bool(request.definition.host_ports)

    def take(self, need: TaskDefinition) -> bool:
        """Put a task here; say whether another would fit."""
        self.cpu -= need.cpu
        self.memory -= need.memory
        self.interfaces -= need.interfaces
        self.dynamic -= need.dynamic_ports
        self.number += 1
        if self.draw:
            self.draw += self.random.expovariate(1.0)
        return not self.distinct and (
            self.cpu >= need.cpu
            and self.memory >= need.memory
            and self.interfaces >= need.interfaces
            and self.dynamic >= need.dynamic_ports
        )


class _Heap:
    """Candidates by the strategies' keys, the best first.

    A key grows behind the heap's back only where a spread counts tasks placed elsewhere, so an
    outdated one is seen when it comes up, and put back.
    """

    def __init__(
        self,
        candidates: Sequence[_Candidate],
        every: Sequence[Instance],
        strategies: Sequence[Strategy],
        request: Request,
    ) -> None:
        self._need = request.definition
        self._strategies = strategies
        self._tally = {
            one.field: _tally(every, one.field, request.group)
            for one in strategies
            if one.kind == "spread" and one.field not in PER_INSTANCE
        }
        self._heap = [(self._key(one), one.order, one) for one in candidates]
        heapq.heapify(self._heap)

    def peek(self) -> tuple[float, ...] | None:
        """Give the key of the best, if there is one."""
        while self._tally and self._heap:
            key, order, best = self._heap[0]
            if (current := self._key(best)) == key:
                break
            heapq.heapreplace(self._heap, (current, order, best))
        return (*self._heap[0][0], self._heap[0][1]) if self._heap else None

    def take(self) -> _Candidate:
        """Take the best; there must be one."""
        self.peek()
        _, order, best = self._heap[0]
        fits_another = best.take(self._need)
        for name, tally in self._tally.items():
            tally[value_of(best.instance, name)] += 1
        if fits_another:
            heapq.heapreplace(self._heap, (self._key(best), order, best))
        else:
            heapq.heappop(self._heap)
        return best

    def _key(self, one: _Candidate) -> tuple[float, ...]:
        return tuple([self._part(strategy, one) for strategy in self._strategies])

    def _part(self, strategy: Strategy, one: _Candidate) -> float:
        if strategy.kind == "binpack":
            return one.cpu if strategy.field.lower() == "cpu" else one.memory
        if strategy.kind == "random":
            return one.draw
        if strategy.field in PER_INSTANCE:
            return one.number
        return self._tally[strategy.field][value_of(one.instance, strategy.field)]


class _Spread:
    """Branches by an attribute's values: the one with the fewest tasks, of equals the best."""

    def __init__(
        self,
        candidates: Sequence[_Candidate],
        every: Sequence[Instance],
        strategies: Sequence[Strategy],
        request: Request,
    ) -> None:
        name = strategies[0].field
        counts = _tally(every, name, request.group)
        inside: dict[str, list[_Candidate]] = defaultdict(list)
        whole: dict[str, list[Instance]] = defaultdict(list)
        for candidate in candidates:
            inside[value_of(candidate.instance, name)].append(candidate)
        for one in every:
            whole[value_of(one, name)].append(one)
        # A key ends in its candidate's order, so that no two are equal.
        self._heap: list[tuple[tuple[float, ...], _Heap | _Spread]] = []
        for value, found in inside.items():
            branch = _branch(found, whole[value], strategies[1:], request)
            if (key := branch.peek()) is not None:
                self._heap.append(((counts[value], *key), branch))
        heapq.heapify(self._heap)

    def peek(self) -> tuple[float, ...] | None:
        """Give the key of the best, if there is one."""
        return self._heap[0][0] if self._heap else None

    def take(self) -> _Candidate:
        """Take the best; there must be one."""
        (count, *_), branch = self._heap[0]
        taken = branch.take()
        if (key := branch.peek()) is not None:
            heapq.heapreplace(self._heap, ((count + 1, *key), branch))
        else:
            heapq.heappop(self._heap)
        return taken


def _branch(
    candidates: Sequence[_Candidate],
    every: Sequence[Instance],
    strategies: Sequence[Strategy],
    request: Request,
) -> _Heap | _Spread:
    first = strategies[0] if strategies else None
    if first and first.kind == "spread" and first.field not in PER_INSTANCE:
        return _Spread(candidates, every, strategies, request)
    return _Heap(candidates, every, strategies, request)


def _draws(request: Request) -> bool:
    return any(one.kind == "random" for one in request.strategies or TASK_DEFAULT)


def value_of(instance: Instance, name: str) -> str:
    """Give what a spread's field is on an instance: its id, or an attribute (empty without one)."""
    if name in PER_INSTANCE:
        return instance.id
    return instance.attributes.get(name.removeprefix("attribute:"), "")


def _tally(instances: Iterable[Instance], name: str, group: str) -> Counter[str]:
    """Count the group's tasks by the values of an attribute, on every instance that there is.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
    """
    counts: Counter[str] = Counter()
    for one in instances:
        counts[value_of(one, name)] += one.of_group[group]
    return counts
