"""Availability zone rebalancing: a service's tasks follow its instances, one task at a time.

Source, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
"""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.actions import Action, Balanced, Rebalance, Say
from scheduler.model import ZONE, Bucket, ServiceDefinition
from scheduler.replicas import Look, is_healthy, start, tell


def decide(seen: Look) -> Iterator[Action]:
    """Start a task in the zone with the fewest; what goes for it, its healthy self decides.

    Only tasks move: it never boots an instance. It is asked once a service has what it wants.
    """
    state, service = seen.state, seen.service
    if service.rebalancing:
        arriving = state.tasks.get(service.rebalancing)
        if arriving is None or not arriving.wanted or is_healthy(arriving):
            yield Rebalance(service.name, None)
        return
    # It watches a service from its steady state on.
    if not service.is_steady or not may_rebalance(service.definition):
        return
    zones = {one.zone: 0 for one in state.placeable(service.definition.provider) if one.accepts}
    for task in service.primary.tasks[Bucket.HEALTHY].values():
        if task.instance is not None:
            zones[task.instance.zone] = zones.get(task.instance.zone, 0) + 1
    if not zones:
        return
    fewest, most = min(zones, key=lambda z: (zones[z], z)), max(zones, key=lambda z: (zones[z], z))
    unbalanced = zones[most] - zones[fewest] > 1
    if unbalanced != service.is_unbalanced:
        parts = ", ".join(f"{count} tasks in {zone}" for zone, count in sorted(zones.items()))
        is_or_not = "is not" if unbalanced else "is"
        more = " AZ Rebalancing in progress." if unbalanced else ""
        yield Balanced(service.name, unbalanced)
        yield Say(
            service.name, f"(service {service.name}) {is_or_not} AZ balanced with {parts}.{more}"
        )
    if unbalanced and min(seen.room, seen.allowance(service.primary)) > 0:
        made = yield from start(seen, service.primary, 1, zone=fewest)
        if made:
            yield Rebalance(service.name, made[0])
        else:
            yield from tell(
                service,
                seen.now,
                f"(service {service.name}) is unable to place a task in {fewest} because no "
                "container instance met all of its requirements.",
            )


def may_rebalance(definition: ServiceDefinition) -> bool:
    """Say whether AWS takes the setting for such a service."""
    strategies = definition.strategies
    by_zone = not strategies or (strategies[0].kind, strategies[0].field) == ("spread", ZONE)
    return (
        definition.rebalancing
        and by_zone
        and definition.maximum_percent > 100
        and not any(ZONE in one.expression for one in definition.constraints)
    )
