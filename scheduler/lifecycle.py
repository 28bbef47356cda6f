"""The life of one task between what ECS wants of it and what its containers and target do.

A task that stops leaves its load balancer first (DEACTIVATING) and gets its stop signal when that
is over (STOPPING). Source, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from scheduler.actions import Action, Deregister, Halt, Register, Say
from scheduler.model import Task
from scheduler.state import State

# The codes of a task that ended without anybody's asking. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
UNASKED = {"TaskFailedToStart", "EssentialContainerExited"}


def decide(state: State, changed: Iterable[Task]) -> Iterator[Action]:
    """Give what those tasks need that have changed since the last look."""
    registered: Counter[tuple[str, str]] = Counter()
    deregistered: Counter[tuple[str, str]] = Counter()
    for task in changed:
        if (
            task.status == "STOPPED"
            and task.stop_code in UNASKED
            and task.service in state.services
        ):
            # No event of AWS's tells it: there the task itself has to be described.
            yield Say(
                task.service,
                f"(service {task.service}) (task {task.id}) has stopped: {task.stop_reason}.",
            )
        action = next_step(task, deregisters_first=state.deregisters_first)
        if action is None:
            continue
        yield action
        where = (task.service or "", state.target_group_of(task) or "")
        if isinstance(action, Register):
            registered[where] += 1
        elif isinstance(action, Deregister):
            deregistered[where] += 1
    # The texts are those of real events; AWS's page of messages has none on targets.
    for (name, group), count in registered.items():
        if name in state.services:
            yield Say(
                name, f"(service {name}) registered {count} targets in (target-group {group})"
            )
    for (name, group), count in deregistered.items():
        if name in state.services:
            yield Say(
                name, f"(service {name}) deregistered {count} targets in (target-group {group})"
            )
            yield Say(name, f"(service {name}) has begun draining connections on {count} tasks.")


def next_step(task: Task, *, deregisters_first: bool = True) -> Action | None:
    """Give the one thing that a task needs now, if any."""
    if task.status == "ACTIVATING" and task.wanted and task.target is None:
        return Register(task.id)
    if task.status == "STOPPED":
        return Deregister(task.id) if task.target not in (None, "draining") else None
    if task.wanted or task.status in {"STOPPING", "DEPROVISIONING"}:
        return None
    if task.target in (None, "draining") and task.status == "DEACTIVATING":
        return Halt(task.id) if task.target is None else None
    if task.target is None or not deregisters_first:
        return Halt(task.id)
    return Deregister(task.id)
