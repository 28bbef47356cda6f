"""ECS: service deployments and service revisions, which outlast a service's `deployments`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rehearsal.api.account import Account, Asked, Operation, batch, missing
from rehearsal.api.ecs_services import configuration
from rehearsal.api.errors import ApiError, invalid
from rehearsal.api.pages import page, size_of
from rehearsal.api.wire import Answer
from rehearsal.records import DeploymentRecord, ServiceRecord
from scheduler import actions
from scheduler.model import CLEAN_UP, Deployment

ARNS_A_CALL = 20
# The stages of AWS's that the scheduler's stages are; others are passed through unseen.
# Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html
_STAGES = {"SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME", "CLEAN_UP"}
_MONITORED = {"IN_PROGRESS", "PENDING"}


def list_service_deployments(account: Account, asked: Asked) -> Answer:
    """Give a service's deployments, the newest first, twenty a page."""
    account.check_cluster(asked)
    record = account.service(asked["service"])
    if record is None:
        raise ApiError("ServiceNotFoundException", "Service not found.")
    size = size_of(asked.get("maxResults"), default=20, high=100)
    statuses, span = asked.get("status"), asked.get("createdAt") or {}
    every = [
        (number, one)
        for number, one in enumerate(record.deployments)
        if (not statuses or one.status in statuses)
        and one.started_at > span.get("after", float("-inf"))
        and one.started_at < span.get("before", float("inf"))
    ]
    found, token = page(
        every, lambda one: [one[0]], size=size, token=asked.get("nextToken"), reverse=True
    )
    return {
        "serviceDeployments": [_brief(account, record, one) for _, one in found],
        "nextToken": token,
    }


def describe_service_deployments(account: Account, asked: Asked) -> Answer:
    """Give deployments by ARN."""
    named = asked["serviceDeploymentArns"]
    batch(named, ARNS_A_CALL, "serviceDeploymentArns")
    by_arn = {one.arn: (record, one) for record, one in _every(account)}
    return {
        "serviceDeployments": [_whole(account, *by_arn[arn]) for arn in named if arn in by_arn],
        "failures": [missing(arn) for arn in named if arn not in by_arn],
    }


def describe_service_revisions(account: Account, asked: Asked) -> Answer:
    """Give revisions by ARN: what a deployment brought."""
    named = asked["serviceRevisionArns"]
    batch(named, ARNS_A_CALL, "serviceRevisionArns")
    by_arn = {one.revision_arn: (record, one) for record, one in _every(account)}
    return {
        "serviceRevisions": [_revision(account, *by_arn[arn]) for arn in named if arn in by_arn],
        "failures": [missing(arn) for arn in named if arn not in by_arn],
    }


def stop_service_deployment(account: Account, asked: Asked) -> Answer:
    """Give a deployment up, and go back to the last that completed."""
    arn = asked["serviceDeploymentArn"]
    found = next((pair for pair in _every(account) if pair[1].arn == arn), None)
    if found is None:
        raise ApiError("ServiceDeploymentNotFoundException", "Service deployment not found.")
    record, kept = found
    service = account.service_of(record)
    primary = service.primary if service.is_active else None
    # In the last stage the tasks that it would go back to are being stopped.
    is_open = primary and primary.rollout == "IN_PROGRESS" and primary.stage != CLEAN_UP
    if primary is None or primary.id != kept.id or not is_open:
        raise ApiError(
            "ConflictException", "Service deployment cannot be stopped in its current state."
        )
    if primary.is_rollback:
        raise ApiError("ConflictException", "A deployment that rolls back cannot be stopped.")
    if asked.get("stopType", "ROLLBACK") != "ROLLBACK":
        raise invalid("stopType must be ROLLBACK.")
    last = service.last_completed
    if last is None:
        raise invalid("There is no completed deployment to roll back to.")
    account.world.act(
        actions.Fail(
            record.name,
            primary.id,
            "Service deployment stopped by user.",
            last.id,
        )
    )
    return {"serviceDeploymentArn": arn}


def _every(account: Account) -> Iterator[tuple[ServiceRecord, DeploymentRecord]]:
    for record in account.world.services.values():
        for one in record.deployments:
            yield record, one


def _brief(account: Account, record: ServiceRecord, one: DeploymentRecord) -> dict[str, Any]:
    return {
        "serviceDeploymentArn": one.arn,
        "serviceArn": record.arn,
        "clusterArn": account.cluster_arn,
        "startedAt": one.started_at,
        "createdAt": one.started_at,
        "finishedAt": one.finished_at,
        "targetServiceRevisionArn": one.revision_arn,
        "status": one.status,
        "statusReason": one.reason or None,
    }


def _whole(account: Account, record: ServiceRecord, one: DeploymentRecord) -> dict[str, Any]:
    found = _brief(account, record, one)
    del found["targetServiceRevisionArn"]
    by_arn = {other.revision_arn: other for other in record.deployments}
    source = by_arn.get(one.source_revision)
    stopped = one.status in {"STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"}
    found |= {
        "stoppedAt": one.finished_at if stopped else None,
        "updatedAt": one.updated_at,
        "sourceServiceRevisions": [_summary(account, record, source)] if source else [],
        "targetServiceRevision": _summary(account, record, one),
        "lifecycleStage": one.stage if one.stage in _STAGES else None,
        "deploymentConfiguration": configuration(account, one.properties),
        "deploymentCircuitBreaker": _breaker(one),
        "alarms": _alarms(account, one),
    }
    if one.rolled_back_to:
        to = next((o.revision_arn for o in record.deployments if o.id == one.rolled_back_to), None)
        found["rollback"] = {
            "reason": one.reason,
            "startedAt": one.rolled_back_at,
            "serviceRevisionArn": to,
        }
    return found


def _breaker(one: DeploymentRecord) -> dict[str, Any]:
    if not one.threshold:
        return {"status": "DISABLED", "failureCount": 0, "threshold": 0}
    status = "MONITORING" if one.status in _MONITORED else "MONITORING_COMPLETE"
    return {
        "status": "TRIGGERED" if one.triggered else status,
        "failureCount": one.failed_tasks,
        "threshold": one.threshold,
    }


def _alarms(account: Account, one: DeploymentRecord) -> dict[str, Any]:
    asked = (one.properties.get("DeploymentConfiguration") or {}).get("Alarms") or {}
    names = [str(name) for name in asked.get("AlarmNames") or []]
    if not names:
        return {"status": "DISABLED", "alarmNames": [], "triggeredAlarmNames": []}
    ringing = sorted(account.world.state.alarms.intersection(names))
    monitored = one.status in _MONITORED
    status = "MONITORING" if monitored else "MONITORING_COMPLETE"
    triggered = "alarm" in one.reason
    return {
        "status": "TRIGGERED" if triggered else status,
        "alarmNames": names,
        "triggeredAlarmNames": ringing if monitored or triggered else [],
    }


def _summary(account: Account, record: ServiceRecord, one: DeploymentRecord) -> dict[str, Any]:
    live = _live(account, record, one)
    tasks = [task for tasks in live.tasks.values() for task in tasks.values()] if live else []
    wanted = [task for task in tasks if task.wanted]
    running = sum(task.status == "RUNNING" for task in wanted)
    found: dict[str, Any] = {
        "arn": one.revision_arn,
        "requestedTaskCount": one.desired if live and live.is_primary else len(wanted),
        "runningTaskCount": running,
        "pendingTaskCount": len(wanted) - running,
    }
    service = account.service_of(record)
    if len(service.definition.target_groups) > 1 and live is not None:
        percent = service.primary.percent if service.primary.stage else 0.0
        mine = percent if live.is_primary else 100.0 - percent
        found["requestedProductionTrafficWeight"] = mine
        found["requestedTestTrafficWeight"] = 0.0
    return found


def _revision(account: Account, record: ServiceRecord, one: DeploymentRecord) -> dict[str, Any]:
    found = account.read("ecs", "ServiceRevision", one.properties)
    definition = account.world.definitions[one.definition_arn]
    images = {
        container.name: container
        for task in account.world.tasks.values()
        if task.started_by == one.id
        for container in task.containers.values()
    }
    return found | {
        "serviceRevisionArn": one.revision_arn,
        "serviceArn": record.arn,
        "clusterArn": account.cluster_arn,
        "taskDefinition": one.definition_arn,
        "createdAt": one.started_at,
        "guardDutyEnabled": False,
        "containerImages": [
            {
                "containerName": str(container["Name"]),
                "image": str(container["Image"]),
                "imageDigest": images[str(container["Name"])].image_id or None
                if str(container["Name"]) in images
                else None,
            }
            for container in definition.containers
        ],
    }


def _live(account: Account, record: ServiceRecord, one: DeploymentRecord) -> Deployment | None:
    deployments = account.service_of(record).deployments
    return next((deployment for deployment in deployments if deployment.id == one.id), None)


OPERATIONS: Mapping[str, Operation] = {
    "DescribeServiceDeployments": describe_service_deployments,
    "DescribeServiceRevisions": describe_service_revisions,
    "ListServiceDeployments": list_service_deployments,
    "StopServiceDeployment": stop_service_deployment,
}
