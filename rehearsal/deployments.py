"""Keeps the record of a service's deployments, which outlives what the scheduler has of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rehearsal.records import Clock, DeploymentRecord, ServiceRecord
from scheduler.actions import Complete, Fail
from scheduler.model import Deployment, Service
from templates import Value

# What of a service's own configuration begins a deployment when it is changed. Source, read
# 2026-11-24: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_definition_parameters.html
BEGINNING = ("LoadBalancers", "NetworkConfiguration", "ServiceConnectConfiguration")
MakeArn = Callable[[str], str]


def begins(before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
    """Say whether another configuration of a service begins a deployment by itself."""
    return any(before.get(name) != after.get(name) for name in BEGINNING)


def note(
    record: ServiceRecord, service: Service, *, clock: Clock, cluster: str, arn: MakeArn
) -> None:
    """Bring a service's record up to what the scheduler has now."""
    known = {one.id: one for one in record.deployments}
    for deployment in reversed(service.deployments):
        kept = known.get(deployment.id)
        if kept is None:
            path = f"{cluster}/{service.name}/{deployment.id.rpartition('/')[2]}"
            kept = DeploymentRecord(
                id=deployment.id,
                arn=arn(f"service-deployment/{path}"),
                revision_arn=arn(f"service-revision/{path}"),
                definition_arn=deployment.definition.task_definition.name,
                properties=record.properties,
                started_at=clock.wall(deployment.created_at),
                updated_at=clock.wall(deployment.created_at),
                source_revision=record.deployments[-1].revision_arn if record.deployments else "",
            )
            record.deployments.append(kept)
        _update(kept, deployment, service, clock)


def redeclared(record: ServiceRecord, service: Service) -> None:
    """Note that what is declared now is what the primary deployment is to have."""
    for one in record.deployments:
        if one.id == service.primary.id:
            one.properties = record.properties


def failed(record: ServiceRecord, action: Fail, at: float) -> None:
    """Note that a deployment was given up; it may be forgotten before anybody looks again.

    With it the service goes back to the configuration of the deployment that it falls back to.
    """
    if action.to is not None:
        record.properties = record.properties_of(action.to)
    for one in record.deployments:
        if one.id != action.deployment:
            continue
        one.reason, one.triggered = action.reason, "circuit breaker" in action.reason
        if action.to is None:
            one.status, one.finished_at = "STOPPED", at
        else:
            one.status, one.rolled_back_to, one.rolled_back_at = (
                "ROLLBACK_IN_PROGRESS",
                action.to,
                at,
            )


def completed(record: ServiceRecord, action: Complete, at: float) -> None:
    """Note that a deployment is all there is, and with it the rollbacks to it."""
    for one in record.deployments:
        if one.rolled_back_to == action.deployment and one.status == "ROLLBACK_IN_PROGRESS":
            one.status, one.finished_at = "ROLLBACK_SUCCESSFUL", at


def _update(kept: DeploymentRecord, deployment: Deployment, service: Service, clock: Clock) -> None:
    kept.updated_at = clock.wall(deployment.updated_at)
    kept.desired, kept.stage = service.desired, deployment.stage
    kept.failed_tasks = deployment.failed_tasks
    breaker = deployment.definition.breaker
    kept.threshold = breaker.threshold(service.desired) if breaker else 0
    if kept.status != "IN_PROGRESS":
        return
    if deployment.rollout == "COMPLETED":
        kept.status, kept.reason = "SUCCESSFUL", deployment.reason
        kept.finished_at = clock.wall(deployment.completed_at or 0)
