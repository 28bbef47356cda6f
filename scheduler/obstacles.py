"""Why a cluster is not where it is to be: what holds each service, instance and group up."""

from __future__ import annotations

from collections.abc import Iterator

from scheduler import capacity, replicas
from scheduler.model import LIVE, Bucket, Group, Instance, Service
from scheduler.state import State


def obstacles(state: State, now: float) -> list[str]:
    """Name what keeps services from their steady state, and instances and groups from theirs.

    Empty where nothing does: then all is as it is to be, or on its way there.
    """
    found: list[str] = []
    for service in state.services.values():
        if not service.is_steady or service.primary.rollout != "COMPLETED":
            found += _of_service(service, now)
    for instance in state.draining.values():
        found += _of_draining(state, instance, now)
    for group in state.groups.values():
        found += _of_group(state, group)
    return found


def _of_service(service: Service, now: float) -> Iterator[str]:
    primary, name = service.primary, f"(service {service.name})"
    if primary.rollout == "FAILED":
        yield f"{name} deployment {primary.id} starts no tasks: {primary.reason}"
    if service.retry_at > now and service.backed_off_at:
        yield (
            f"{name} {service.failed_starts} starts failed in a row; the next is tried in "
            f"{service.retry_at - now:.0f} s"
        )
    if primary.failed_tasks:
        yield f"{name} {primary.failed_tasks} tasks of deployment {primary.id} have failed"
    unhealthy = service.number(Bucket.UNHEALTHY)
    if unhealthy:
        yield f"{name} {unhealthy} tasks are unhealthy"
    if service.trouble:
        yield service.trouble
    protected = sum(
        task.protected_until > now
        for one in service.deployments
        for bucket in LIVE
        for task in one.tasks[bucket].values()
    )
    if protected:
        yield f"{name} {protected} tasks are protected from scale-in"


def _of_draining(state: State, instance: Instance, now: float) -> Iterator[str]:
    where = f"(instance {instance.id}) is DRAINING:"
    for task in instance.tasks.values():
        service = state.services.get(task.service or "")
        if service is None and task.wanted:
            # Source, read 2026-11-24: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
            yield f"{where} (task {task.id}) belongs to no service and ends only by itself"
        elif service is not None and task.wanted:
            look = replicas.look(state, service, now)
            healthy = service.number(Bucket.HEALTHY)
            yield (
                f"{where} (task {task.id}) of (service {service.name}) stays until another is "
                f"healthy; {healthy} of at least {service.minimum_healthy} are, and there is room "
                f"for {max(look.room, 0)} more under the maximum of {service.maximum}"
            )


def _of_group(state: State, group: Group) -> Iterator[str]:
    there = capacity.members(state, group)
    missing = group.desired - len(there)
    if missing > 0 and group.is_exhausted:
        yield f"(group {group.name}) lacks {missing} instances: no more are to be had"
    elif missing > 0 and set(group.zones) <= group.lost_zones:
        yield f"(group {group.name}) lacks {missing} instances: every zone is out of order"
    protected = sum(one.is_protected for one in there)
    if missing < 0 and protected > len(there) + missing:
        yield (
            f"(group {group.name}) has {-missing} instances too many: {protected} are protected "
            "from scale-in, since tasks run on them"
        )
    refresh = group.refresh
    if refresh is not None and refresh.status == "InProgress" and refresh.protected == "Wait":
        yield f"(group {group.name}) its instance refresh waits for protected instances"
    if refresh is not None and refresh.status == "Failed":
        yield f"(group {group.name}) its instance refresh failed: nothing moved for an hour"
