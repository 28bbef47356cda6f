"""A rolling deployment, and the keeping of a service: tasks come and go within two bounds.

Sources, read 2026-11-24, unless a rule names another:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scheduler import rebalancing, scale_in
from scheduler.actions import Action, Complete, Enter, Say, Steady, Trouble
from scheduler.model import BAKE, LIVE, ROLLING, Bucket, Service, Task
from scheduler.replicas import (
    Look,
    is_healthy,
    look,
    outlived,
    stands_still,
    start,
    stop,
    surplus,
    tell,
    why_unhealthy,
)
from scheduler.state import State


def roll(state: State, service: Service, now: float) -> Iterator[Action]:
    """Bring the newest deployment to the desired count and the older ones to nothing."""
    seen = look(state, service, now)
    missing, room = seen.missing(seen.primary), seen.room
    yield from start(seen, seen.primary, min(missing, room, seen.allowance(seen.primary)))
    yield from _keep_older(seen)
    stops = _stops(seen, missing=missing, room=room)
    yield from stop(state, service, stops)
    if not stops:
        yield from _tell_stuck(seen, missing=missing, room=room)
    if missing or stops or seen.older:
        if service.is_steady:
            yield Steady(service.name, is_steady=False)
        return
    yield from _finish(service, now)
    yield from rebalancing.decide(seen)


def _keep_older(seen: Look) -> Iterator[Action]:
    """Replace what died of an older deployment, by its own revision, as far as health needs it."""
    completed = [one for one in seen.older if one.completed_at is not None]
    if completed and seen.primary.rollout == "IN_PROGRESS":
        last = completed[0]
        kept = seen.primary.number(Bucket.HEALTHY) + sum(seen.good(one) for one in seen.older)
        short = min(seen.service.minimum_healthy, last.most) - kept
        yield from start(seen, last, min(short, seen.room, seen.allowance(last)))


def _stops(seen: Look, *, missing: int, room: int) -> list[tuple[Task, str]]:
    """Choose what may stop now without a healthy task too few."""
    service, primary, older = seen.service, seen.primary, seen.older
    lower = service.minimum_healthy
    scaling = f"Scaling activity initiated by (deployment {primary.id})"
    chosen: dict[str, tuple[Task, str]] = {}

    def choose(tasks: Iterable[Task], reason: str) -> None:
        for task in tasks:
            chosen.setdefault(task.id, (task, reason))

    # Tasks that do not run yet leave an instance that is drained at once. Source, read 2026-11-24:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
    choose((one for one in seen.displaced.values() if one.status != "RUNNING"), scaling)
    is_blocked = missing > 0 >= room and not service.number(Bucket.ENDING)
    for task in outlived(seen, service.deployments, is_blocked=is_blocked):
        choose([task], why_unhealthy(seen.state, task))
    healthy = service.number(Bucket.HEALTHY)
    # What a failed deployment has not replaced stays: it starts nothing any more (unverified).
    is_stalled = primary.rollout == "FAILED"
    if not is_stalled:
        # Of older deployments those that never ran, but for what health may need of them.
        waiting = seen.among(older, Bucket.WAITING, Bucket.STARTING)
        old_running = len(seen.among(older, Bucket.HEALTHY, Bucket.SETTLING))
        choose(waiting[max(0, lower - seen.healthy([primary]) - old_running) :], scaling)
    # Healthy ones, as many as there are beyond the minimum: first those that must move.
    spare = max(0, healthy - lower)
    moving = [one for one in seen.displaced.values() if is_healthy(one)]
    choose(moving[:spare], scaling)
    spare -= min(spare, len(moving))
    beyond = min(spare, healthy - service.desired) if is_stalled else spare
    outdated = [one for one in seen.among(older, Bucket.HEALTHY) if one.id not in seen.displaced]
    if beyond > 0 and outdated:
        leaving = scale_in.choose(seen.state, service, outdated, beyond, seen.now)
        choose(leaving, scaling)
        spare -= len(leaving)
    if healthy >= lower:
        choose([] if is_stalled else seen.among(older, Bucket.SETTLING), scaling)
        choose((one for one in seen.displaced.values() if one.status == "RUNNING"
                and not is_healthy(one)), scaling)  # fmt: skip
    choose(surplus(seen, primary, -missing, spare), scaling)
    return list(chosen.values())


def _tell_stuck(seen: Look, *, missing: int, room: int) -> Iterator[Action]:
    """Tell of bounds, or of protected tasks, that let nothing move."""
    service = seen.service
    if not stands_still(service):
        return
    protected = sum(
        task.protected_until > seen.now
        for one in (seen.older if missing >= 0 else service.deployments)
        for bucket in LIVE
        for task in one.tasks[bucket].values()
    )
    if protected:
        yield from tell(
            service,
            seen.now,
            f"(service {service.name}) was unable to reach steady state because (taskSet "
            f"{seen.primary.id}) was unable to scale in due to (reason {protected} tasks under "
            "protection)",
        )
    elif missing > 0 >= room:
        yield from tell(
            service,
            seen.now,
            f"(service {service.name}) was unable to stop or start tasks during a deployment "
            "because of the service deployment configuration. Update the minimumHealthyPercent or "
            "maximumPercent value and try again.",
        )


def _finish(service: Service, now: float) -> Iterator[Action]:
    """End a deployment that is all there is, and tell when the service is steady."""
    primary = service.primary
    healthy = primary.number(Bucket.HEALTHY)
    if not healthy == primary.live == service.desired or primary.number(Bucket.ENDING):
        return
    if primary.rollout == "IN_PROGRESS":
        shift = primary.definition.shift
        # Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
        if shift.kind == ROLLING and shift.bake_seconds:
            if primary.stage != BAKE:
                yield Enter(service.name, primary.id, BAKE, 100)
                return
            if now < primary.stage_at + shift.bake_seconds:
                return
        yield Complete(service.name, primary.id)
        yield Say(
            service.name,
            f"(service {service.name}) (deployment {primary.id}) deployment completed.",
        )
    if not service.is_steady and not service.rebalancing:
        yield Steady(service.name, is_steady=True)
        yield Trouble(service.name, "")
        yield Say(service.name, f"(service {service.name}) has reached a steady state.")
