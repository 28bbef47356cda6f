"""Which of a service's tasks go when it has too many.

Sources, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service-options.html
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from scheduler.model import LIVE, Instance, Service, Strategy, Task, TaskDefinition
from scheduler.placement import PER_INSTANCE, SERVICE_DEFAULT, value_of
from scheduler.state import State


def choose(
    state: State, service: Service, tasks: Iterable[Task], count: int, now: float
) -> list[Task]:
    """Choose `count` of those tasks, one after the other, each as if those before it had gone.

    Those that do not run yet first. Then, with a spread over an attribute, from the value with the
    most tasks of the service; with a binpack, from the instance that is then left with the most
    room; without strategies, from the zone and then the instance with the most tasks; equals by
    chance. Takes time in proportion to the service's tasks and the logarithm of their number.
    """
    drawn = sorted(
        (state.random.random(), task.id, task) for task in tasks if task.protected_until <= now
    )
    left = [task for _, _, task in drawn]
    strategies = service.definition.strategies or SERVICE_DEFAULT
    room = _Room(service)
    chosen = [task for task in left if task.instance is None][:count]
    for is_running in (False, True):
        piles: dict[tuple[Instance, TaskDefinition], _Pile] = {}
        for chance, task in enumerate(left):
            if task.instance is not None and (task.status == "RUNNING") is is_running:
                key = (task.instance, task.definition)
                piles.setdefault(key, _Pile(*key)).tasks.append((chance, task))
        root = _branch(list(piles.values()), strategies, room, list(room.placed))
        while len(chosen) < count and root.peek() is not None:
            chosen.append(root.take())
    return chosen


class _Pile:
    """Tasks that nothing but chance tells apart: of one definition, on one instance."""

    __slots__ = ("instance", "need", "taken", "tasks")

    def __init__(self, instance: Instance, need: TaskDefinition) -> None:
        self.instance = instance
        self.need = need
        # In the order in which chance would take them among all.
        self.tasks: list[tuple[int, Task]] = []
        self.taken = 0

    @property
    def is_over(self) -> bool:
        return self.taken == len(self.tasks)


class _Room:
    """How many tasks of the service each instance has, and what was freed, as tasks go."""

    def __init__(self, service: Service) -> None:
        self.placed: Counter[Instance] = Counter(_placed(service))
        self._freed: dict[Instance, list[int]] = {}

    def left(self, pile: _Pile, field: str) -> int:
        """Give what would be left on the instance if one more went."""
        cpu, memory = self._freed.get(pile.instance, (0, 0))
        if field.lower() == "cpu":
            return pile.instance.cpu_left + cpu + pile.need.cpu
        return pile.instance.memory_left + memory + pile.need.memory

    def take(self, pile: _Pile) -> Task:
        """Let the next task of a pile go."""
        pile.taken += 1
        self.placed[pile.instance] -= 1
        freed = self._freed.setdefault(pile.instance, [0, 0])
        freed[0] += pile.need.cpu
        freed[1] += pile.need.memory
        return pile.tasks[pile.taken - 1][1]

    def tally(self, instances: Iterable[Instance], name: str) -> Counter[str]:
        """Count the service's tasks on some instances by the values of an attribute."""
        counts: Counter[str] = Counter()
        for one in instances:
            counts[value_of(one, name)] += self.placed[one]
        return counts


class _Heap:
    """Piles by the strategies' ranks, the lowest first."""

    def __init__(
        self,
        piles: Sequence[_Pile],
        strategies: Sequence[Strategy],
        room: _Room,
        every: Sequence[Instance],
    ) -> None:
        self._strategies, self._room = strategies, room
        self._tally = {
            one.field: room.tally(every, one.field)
            for one in strategies
            if one.kind == "spread" and one.field not in PER_INSTANCE
        }
        self._beside: dict[Instance, list[_Pile]] = defaultdict(list)
        for pile in piles:
            self._beside[pile.instance].append(pile)
        self._heap = [(self._rank(pile), pile) for pile in piles]
        heapq.heapify(self._heap)

    def peek(self) -> tuple[int, ...] | None:
        """Give the rank of the first, if there is one."""
        while self._heap:
            rank, pile = self._heap[0]
            if pile.is_over:
                heapq.heappop(self._heap)
            elif (current := self._rank(pile)) != rank:
                # Tasks that went elsewhere have changed its place.
                heapq.heapreplace(self._heap, (current, pile))
            else:
                return rank
        return None

    def take(self) -> Task:
        """Let the first go; there must be one."""
        self.peek()
        _, pile = heapq.heappop(self._heap)
        task = self._room.take(pile)
        for name, tally in self._tally.items():
            tally[value_of(pile.instance, name)] -= 1
        # What was freed here changes the place of all that share the instance.
        for one in self._beside[pile.instance]:
            if not one.is_over:
                heapq.heappush(self._heap, (self._rank(one), one))
        return task

    def _rank(self, pile: _Pile) -> tuple[int, ...]:
        # Each task's chance is its own, so that no two ranks are equal.
        chance, _ = pile.tasks[pile.taken]
        return (*(self._part(strategy, pile) for strategy in self._strategies), chance)

    def _part(self, strategy: Strategy, pile: _Pile) -> int:
        if strategy.kind == "binpack":
            return -self._room.left(pile, strategy.field)
        if strategy.kind == "random":
            return 0
        if strategy.field in PER_INSTANCE:
            return -self._room.placed[pile.instance]
        return -self._tally[strategy.field][value_of(pile.instance, strategy.field)]


class _Spread:
    """Branches by an attribute's values: the one with the most tasks, of equals the first."""

    def __init__(
        self,
        piles: Sequence[_Pile],
        strategies: Sequence[Strategy],
        room: _Room,
        every: Sequence[Instance],
    ) -> None:
        name = strategies[0].field
        counts = room.tally(every, name)
        inside: dict[str, list[_Pile]] = defaultdict(list)
        whole: dict[str, list[Instance]] = defaultdict(list)
        for pile in piles:
            inside[value_of(pile.instance, name)].append(pile)
        for one in every:
            whole[value_of(one, name)].append(one)
        self._heap: list[tuple[tuple[int, ...], _Heap | _Spread]] = []
        for value, found in inside.items():
            branch = _branch(found, strategies[1:], room, whole[value])
            if (rank := branch.peek()) is not None:
                self._heap.append(((-counts[value], *rank), branch))
        heapq.heapify(self._heap)

    def peek(self) -> tuple[int, ...] | None:
        """Give the rank of the first, if there is one."""
        return self._heap[0][0] if self._heap else None

    def take(self) -> Task:
        """Let the first go; there must be one."""
        (count, *_), branch = self._heap[0]
        task = branch.take()
        if (rank := branch.peek()) is not None:
            heapq.heapreplace(self._heap, ((count + 1, *rank), branch))
        else:
            heapq.heappop(self._heap)
        return task


def _branch(
    piles: Sequence[_Pile], strategies: Sequence[Strategy], room: _Room, every: Sequence[Instance]
) -> _Heap | _Spread:
    first = strategies[0] if strategies else None
    if first and first.kind == "spread" and first.field not in PER_INSTANCE:
        return _Spread(piles, strategies, room, every)
    return _Heap(piles, strategies, room, every)


def _placed(service: Service) -> Iterator[Instance]:
    """Give the instance of each of the service's tasks that has one and is wanted."""
    for deployment in service.deployments:
        for bucket in LIVE:
            for task in deployment.tasks[bucket].values():
                if task.instance is not None:
                    yield task.instance
