"""The service scheduler: keeps the desired count, and moves a service to its newest deployment.

Sources, read 2026-11-24, unless a rule names another:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
"""

from __future__ import annotations

from collections.abc import Iterator

from scheduler import rolling, shifting
from scheduler.actions import Action, BackOff, Fail, Forget, Say
from scheduler.model import CLEAN_UP, ROLLING, Service
from scheduler.replicas import GUIDE
from scheduler.state import State

# The longest delay is AWS's; the steps to it are unverified. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
LONGEST_BACK_OFF = 27 * 60
FIRST_BACK_OFF = 15
# The words of ECS's events for the three ways in which a deployment fails; those of the last are
# unverified. That the breaker counts for shifting strategies too, is as well.
FAILED_TASKS, ALARM, TIMED_OUT = "tasks failed to start", "alarm detected", "stage timed out"


def decide(state: State, service: Service, now: float) -> Iterator[Action]:
    """Give what one service needs now."""
    shifts = service.definition.shift.kind != ROLLING
    for older in list(service.deployments):
        # The set that serves, should all of it have died, is still what the traffic goes back to.
        serves = shifts and older is service.serving and service.desired > 0
        if not older.is_primary and older.is_empty and not serves:
            yield Forget(service.name, older.id)
    if reason := _failure(state, service, now):
        yield from _give_up(service, reason)
        return
    yield from _back_off(service, now)
    yield from (shifting.decide if shifts else rolling.roll)(state, service, now)


def _failure(state: State, service: Service, now: float) -> str:
    """Say why the newest deployment has failed, if it has."""
    primary, breaker = service.primary, service.definition.breaker
    if primary.rollout != "IN_PROGRESS":
        return ""
    shifts = service.definition.shift.kind != ROLLING
    if shifts and primary.stage == CLEAN_UP:
        return ""  # what it would go back to is being stopped
    if breaker and primary.failed_tasks >= breaker.threshold(service.desired):
        return FAILED_TASKS
    if primary.watches_alarms and state.alarms.intersection(service.definition.alarms):
        return ALARM
    return TIMED_OUT if shifts and shifting.is_overdue(service, now) else ""


def _give_up(service: Service, reason: str) -> Iterator[Action]:
    """Fail the newest deployment; go back to the last that completed, if that is wanted.

    While a rollback goes on there is none: what it goes back to is in progress again.
    """
    primary, breaker, last = service.primary, service.definition.breaker, service.last_completed
    wanted = {
        FAILED_TASKS: breaker is not None and breaker.rollback,
        ALARM: service.definition.alarm_rollback,
    }.get(reason, True)
    done = last is not None and (last.rollout == "COMPLETED" or last.stage == CLEAN_UP)
    to = last.id if last and done and wanted else None
    kind = "deployment alarm" if reason == ALARM else "deployment circuit breaker"
    yield Fail(service.name, primary.id, f"ECS {kind}: {reason}.", to)
    yield Say(
        service.name,
        f"(service {service.name}) (deployment {primary.id}) deployment failed: {reason}.",
    )
    if to is not None:
        yield Say(service.name, f"(service {service.name}) rolling back to deployment {to}.")


def _back_off(service: Service, now: float) -> Iterator[Action]:
    """Wait longer and longer between starts where tasks never come to run."""
    at_once = max(3, service.desired)
    level, told = service.failed_starts // at_once, service.backed_off_at // at_once
    if level > told:
        delay = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** (level - 1))
        yield BackOff(service.name, now + delay, service.failed_starts)
        yield Say(
            service.name,
            f"(service {service.name}) is unable to consistently start tasks successfully. {GUIDE}",
        )
