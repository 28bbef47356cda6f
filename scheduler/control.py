"""One look of every control loop at a state, in the order in which each builds on the last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from scheduler import capacity, lifecycle, replicas, services
from scheduler.actions import Action, Assign, Stop
from scheduler.model import Task
from scheduler.placement import Request, place, refusals
from scheduler.state import WAITING_SECONDS, State

# A decision can ask for the next one at once: a stopped task's target, a placed task's start.
ROUNDS = 10


def step(state: State, now: float) -> list[Action]:
    """Let every loop decide until none has more to say; give all that was decided, in order.

    The books of each action are kept before the next is decided, so that nothing counts on room
    that was just taken.
    """
    state.tick(now)
    done: list[Action] = []
    for _ in range(ROUNDS):
        before = len(done)
        _run(state, now, done, lifecycle.decide(state, state.take_changed()))
        for group in state.groups.values():
            _run(state, now, done, capacity.decide(state, group, now))
        _run(state, now, done, _assign(state))
        _run(state, now, done, _expire(state, now))
        for service in list(state.services.values()):
            _run(state, now, done, services.decide(state, service, now))
        if len(done) == before:
            break
    for name in dict.fromkeys(task.service for task in state.waiting.values() if task.service):
        _run(state, now, done, replicas.tell_unplaced(state, state.services[name], now))
    _remove_deleted(state)
    return done


def _run(state: State, now: float, done: list[Action], decided: Iterable[Action]) -> None:
    for action in decided:
        state.apply(action, now)
        done.append(action)


def _assign(state: State) -> Iterator[Action]:
    """Give instances to the tasks that wait for them, who waits longest first."""
    if not state.waiting:
        return
    alike: dict[tuple[object, ...], list[Task]] = defaultdict(list)
    for task in state.waiting.values():
        alike[(task.definition, task.group, task.provider, task.deployment)].append(task)
    for tasks in alike.values():
        instances = state.placeable(tasks[0].provider)
        found = place(_request(state, tasks[0]), len(tasks), instances, random=state.random)
        for task, instance in zip(tasks, found, strict=False):
            yield Assign(task.id, instance.id)


def _expire(state: State, now: float) -> Iterator[Action]:
    """Give up the tasks that have waited for an instance for too long.

    The reasons: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    (read 2026-11-24).
    """
    for task in list(state.waiting.values()):
        if now < task.created_at + WAITING_SECONDS:
            return
        yield Stop(task.id, "TaskFailedToStart", f"TaskFailedToStart: {_lacks(state, task)}")


def _lacks(state: State, task: Task) -> str:
    instances = state.placeable(task.provider)
    if not instances:
        return "EMPTY CAPACITY PROVIDER"
    if not any(one.status == "ACTIVE" for one in instances):
        return "NO ACTIVE INSTANCES"
    found = refusals(_request(state, task), instances)
    if not found:
        return "RESOURCE:*"
    is_constraint = found[0].code == "ATTRIBUTE"
    return "MemberOf placement constraint unsatisfied" if is_constraint else found[0].code


def _request(state: State, task: Task) -> Request:
    service, deployment = state.services.get(task.service or ""), state.deployment_of(task)
    if service is None or deployment is None:
        return Request(task.definition, task.group, task.strategies, task.constraints)
    return replicas.request_for(service, deployment)


def _remove_deleted(state: State) -> None:
    for name, service in list(state.services.items()):
        tasks_left = any(not one.is_empty for one in service.deployments)
        if not service.is_active and not tasks_left:
            del state.services[name]
