"""Plays the ECS agent of every container instance: starts and stops tasks, says what happens."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from rehearsal.engines import EngineError, Runtime
from rehearsal.tasks import LogLine, Observation, Stop, Task, TaskToRun
from scheduler.agent_settings import AgentSettings

__all__ = ["Agent", "LogLine", "Observation", "TaskToRun"]

_LOG = logging.getLogger("rehearsal")
# More at once only make each other slow: an engine serializes most of a start.
STARTS_AT_ONCE = 4
# A pull that is under way when the agent closes is not waited for any longer.
CLOSE_SECONDS = 30


class Agent:
    """Starts and stops the tasks of one environment's container instances.

    `observations` and `log_lines` are for the caller to drain. A task has a thread of its own, so
    that what happens to it happens in order and one that is slow to stop holds up no other.
    """

    def __init__(
        self,
        engine: Runtime,
        settings: AgentSettings,
        *,
        speed: float,
        labels: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        """Give every container these labels, by the first of which they are watched."""
        self.engine = engine
        self.settings = settings
        self.speed = speed
        self.labels = dict(labels)
        self.observations: SimpleQueue[Observation] = SimpleQueue()
        self.log_lines: SimpleQueue[LogLine] = SimpleQueue()
        self.say = say
        self.starts = threading.BoundedSemaphore(STARTS_AT_ONCE)
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._owners: dict[str, Task] = {}
        self._kept: deque[tuple[float, tuple[str, ...]]] = deque()
        self._departures: dict[str, None] = {}
        name, value = next(iter(self.labels.items()))
        self._watch = engine.watch(f"{name}={value}")
        self._threads = [
            threading.Thread(target=work, name="agent", daemon=True)
            for work in (self._dispatch, self._clean_up)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def departures(self) -> tuple[str, ...]:
        """What of the tasks so far is not as on ECS, in plain words."""
        with self._lock:
            return tuple(self._departures)

    def start(self, task: TaskToRun) -> None:
        """Start a task's containers; what becomes of them is observed."""
        played = Task(self, task)
        with self._lock:
            self._tasks[task.id] = played
        played.thread.start()

    def stop(self, task_id: str, reason: str) -> None:
        """Stop a task's containers, each within its stop timeout; one that has ended is left."""
        with self._lock:
            task = self._tasks.get(task_id)
        if task is not None:
            self.say(f"{task_id}: stopping: {reason}")
            task.inbox.put(Stop())

    def close(self, *, remove: bool) -> None:
        """End everything that the agent does; with `remove`, kill and remove all containers.

        Raises EngineError at the end, naming each container that could not be removed.
        """
        with self._lock:
            tasks = list(self._tasks.values())
        for task in tasks:
            task.keeps = not remove
        self.closing.set()
        with self._lock:
            found = {*self._owners, *(one for _, kept in self._kept for one in kept)}
        for task in tasks:
            task.inbox.put(Stop())
        left = self._remove(found) if remove else []
        end = time.monotonic() + CLOSE_SECONDS
        for thread in (*(task.thread for task in tasks), *self._threads):
            thread.join(max(0.0, end - time.monotonic()))
        self._watch.close()
        if left:
            raise EngineError(f"containers that could not be removed: {'; '.join(left)}")

    def _remove(self, found: Iterable[str]) -> list[str]:
        """Remove containers, all at once or else each by itself; say which stay, and why."""
        try:
            self.engine.remove(*found)
        except Exception:
            _LOG.exception("containers are removed one by one")
        else:
            return []
        left = []
        for one in sorted(found):
            try:
                self.engine.remove(one)
            except Exception as error:
                left.append(f"{one[:12]}: {error}")
        return left

    def depart(self, lines: Iterable[str]) -> None:
        """Say each departure from ECS once."""
        for line in lines:
            with self._lock:
                known = line in self._departures
                self._departures[line] = None
            if not known:
                self.say(line)

    def own(self, container: str, task: Task) -> None:
        """Have what happens to a container told to its task."""
        with self._lock:
            self._owners[container] = task

    def ended(self, task: TaskToRun, found: Sequence[str]) -> None:
        """Forget a task; its containers are kept for a while, as the agent keeps them."""
        wait = self.settings.cleanup_wait_seconds / self.speed
        with self._lock:
            self._tasks.pop(task.id, None)
            for container in found:
                self._owners.pop(container, None)
            self._kept.append((time.monotonic() + wait, tuple(found)))

    def _dispatch(self) -> None:
        while not self.closing.is_set():
            with suppress(Empty):
                change = self._watch.changes.get(timeout=0.1)
                with self._lock:
                    task = self._owners.get(change.container)
                if task is not None:
                    task.inbox.put(change)

    def _clean_up(self) -> None:
        while not self.closing.wait(0.5):
            with self._lock:
                due = self._kept and self._kept[0][0] < time.monotonic()
                found = self._kept.popleft()[1] if due else ()
            for line in self._remove(found):
                self.say(f"a container stays: {line}")
