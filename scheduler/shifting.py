"""Blue/green, canary and linear deployments: a second set of tasks, and the traffic moves to it.

Sources, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/canary-deployment.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-linear.html
Lifecycle hooks are not played, so the stages that exist for them only are not stopped at.
"""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.actions import Action, Enter, Say
from scheduler.model import (
    BAKE,
    BLUE_GREEN,
    CANARY,
    CLEAN_UP,
    LIVE,
    SCALE_UP,
    TRAFFIC,
    Bucket,
    Deployment,
    Service,
    Shift,
)
from scheduler.replicas import Look, is_healthy, look, outlived, start, stop, surplus, why_unhealthy
from scheduler.rolling import roll
from scheduler.state import State

# Each stage, and each step of the traffic, may take a day (the first of the pages above).
STAGE_SECONDS = 24 * 3600


def decide(state: State, service: Service, now: float) -> Iterator[Action]:
    """Give what a service with a shifting strategy needs now."""
    green, blue = service.primary, service.serving
    if blue is None or len(service.deployments) == 1 or green.is_rollback:
        # The first deployment has nothing to shift from, the last stage nothing left to shift; a
        # rollback's traffic goes back before the tasks that had it go.
        if green.percent != 100:
            yield Enter(service.name, green.id, SCALE_UP, 100)
        yield from roll(state, service, now)
        return
    seen = look(state, service, now)
    if green.stage == CLEAN_UP:
        yield from _keep(seen, green)
        yield from _stop_all(seen, [one for one in service.deployments if one is not green])
        return
    yield from _keep(seen, blue)
    # One that was given up halfway has the target group that the new one needs.
    between = [one for one in service.deployments if one not in (green, blue)]
    if between:
        if green.stage == "":
            yield Enter(service.name, green.id, SCALE_UP, 0)
        yield from _stop_all(seen, between)
    elif green.rollout != "FAILED":
        yield from _keep(seen, green)
        yield from _advance(service, green, now)


def steps(shift: Shift) -> Iterator[float]:
    """Give the per cents of the traffic that the new tasks get, one after the other.

    A canary has one step before all of it, a linear shift equal ones, blue/green none.
    """
    if shift.kind == BLUE_GREEN:
        yield 100.0
        return
    percent = shift.step_percent
    while percent < 100:
        yield percent
        percent = 100.0 if shift.kind == CANARY else round(percent + shift.step_percent, 6)
    yield 100.0


def is_overdue(service: Service, now: float) -> bool:
    """Say whether a stage has taken longer than AWS lets it."""
    green = service.primary
    shifts = len(service.deployments) > 1 and not green.is_rollback
    return shifts and bool(green.stage) and now >= green.stage_at + STAGE_SECONDS


def _keep(seen: Look, deployment: Deployment) -> Iterator[Action]:
    """Hold one of the two sets at the desired count."""
    state, service = seen.state, seen.service
    missing = service.desired - seen.good(deployment)
    yield from start(seen, deployment, min(missing, seen.allowance(deployment)))
    stops = [
        (task, why_unhealthy(state, task))
        for task in outlived(seen, [deployment], is_blocked=False)
    ]
    scaling = f"Scaling activity initiated by (deployment {deployment.id})"
    spare = max(0, deployment.number(Bucket.HEALTHY) - service.minimum_healthy)
    moving = [one for one in seen.displaced.values() if one.deployment == deployment.id]
    healthy = [one for one in moving if is_healthy(one)]
    stops += [(task, scaling) for task in moving if task not in healthy]
    stops += [(task, scaling) for task in healthy[:spare]]
    spare -= min(spare, len(healthy))
    stops += [(task, scaling) for task in surplus(seen, deployment, -missing, spare)]
    yield from stop(state, service, list({task.id: (task, why) for task, why in stops}.values()))


def _stop_all(seen: Look, deployments: list[Deployment]) -> Iterator[Action]:
    """Stop every task of some deployments that nothing protects."""
    scaling = f"Scaling activity initiated by (deployment {seen.primary.id})"
    live = [task for task in seen.among(deployments, *LIVE) if task.protected_until <= seen.now]
    yield from stop(seen.state, seen.service, [(task, scaling) for task in live])


def _advance(service: Service, green: Deployment, now: float) -> Iterator[Action]:
    """Take the next step, where the one before is over."""
    shift = green.definition.shift
    waited = now - green.stage_at
    if green.stage == "":
        yield Enter(service.name, green.id, SCALE_UP, 0)
    elif green.stage == SCALE_UP and green.number(Bucket.HEALTHY) >= service.desired:
        yield from _shift(service, green, next(steps(shift)))
    elif green.stage == TRAFFIC:
        following = next((one for one in steps(shift) if one > green.percent), None)
        if following is None:
            yield Enter(service.name, green.id, BAKE, 100)
        elif waited >= shift.step_seconds:
            yield from _shift(service, green, following)
    elif green.stage == BAKE and waited >= shift.bake_seconds:
        yield Enter(service.name, green.id, CLEAN_UP, 100)


def _shift(service: Service, green: Deployment, percent: float) -> Iterator[Action]:
    yield Enter(service.name, green.id, TRAFFIC, percent)
    # The words of this event are unverified.
    yield Say(
        service.name,
        f"(service {service.name}) (deployment {green.id}) receives {percent:g} percent of the "
        "production traffic.",
    )
