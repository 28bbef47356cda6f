"""The service that labs work on: how it was, whether it is steady, and how it is put back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labs.lab import Item, Remembered
from labs.place import Place

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import (
        ServiceDeploymentTypeDef,
        ServiceTypeDef,
        TaskTypeDef,
    )


def remember(place: Place) -> dict[str, Any]:
    """Give the service's task definition, count, tasks and deployment, and its newest event."""
    service = place.describe_service()
    return {
        "definition": service["taskDefinition"],
        "desired": service["desiredCount"],
        "tasks": sorted(task["taskArn"] for task in place.tasks()),
        "stopped": sorted(task["taskArn"] for task in place.tasks(stopped=True)),
        "deployments": [one["id"] for one in service["deployments"]],
        "events": [one["id"] for one in service["events"]],
        "revisions": revisions(place),
    }


def revisions(place: Place) -> list[str]:
    """Give the ARNs of the task definitions of the service's family that can be run."""
    pages = place.aws.ecs.get_paginator("list_task_definitions").paginate(
        familyPrefix=place.family, status="ACTIVE"
    )
    return [arn for page in pages for arn in page["taskDefinitionArns"]]


def new_events(place: Place, remembered: Remembered) -> list[str]:
    """Give the messages of the service's events since the start, the newest first."""
    events = place.describe_service()["events"]
    return [one["message"] for one in events if one["id"] not in remembered["events"]]


def lacks(service: ServiceTypeDef) -> str:
    """Say what a service still waits for, or nothing where it is steady."""
    deployments = service["deployments"]
    if len(deployments) > 1:
        return f"{len(deployments)} deployments are under way; wait until one is left"
    running, desired, pending = (
        service["runningCount"], service["desiredCount"], service["pendingCount"],
    )  # fmt: skip
    if running != desired or pending:
        return f"{running} of {desired} tasks run, {pending} are pending"
    state = deployments[0].get("rolloutState") if deployments else None
    return "" if state in {"COMPLETED", None} else f"its deployment is {state}"


def history(place: Place) -> list[ServiceDeploymentTypeDef]:
    """Describe the service's deployments that ECS remembers, the newest first."""
    page = place.aws.ecs.list_service_deployments(cluster=place.cluster, service=place.service)
    arns = [one["serviceDeploymentArn"] for one in page["serviceDeployments"]]
    if not arns:
        return []
    answer = place.aws.ecs.describe_service_deployments(serviceDeploymentArns=arns)
    return sorted(answer["serviceDeployments"], key=lambda one: one["createdAt"], reverse=True)


def configuration(service: ServiceTypeDef) -> dict[str, Any]:
    """Give how a service deploys, as JSON has it and as update-service takes it."""
    return {**service["deploymentConfiguration"]}


def is_steady(place: Place, remembered: Remembered) -> Item:
    """Whether the service runs as many tasks as at the start, and nothing is on its way."""
    service = place.describe_service()
    wanted = remembered["desired"]
    wait = 'aws ecs wait services-stable --cluster "$CLUSTER" --services "$SERVICE"'
    if missing := lacks(service):
        return Item(False, f"the service is not steady: {missing}; {wait}")
    if service["desiredCount"] != wanted:
        return Item(
            False,
            f"the service wants {service['desiredCount']} tasks, not {wanted} as at the start: "
            f'aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count '
            f"{wanted}",
        )
    return Item(True, f"the service is steady, with {wanted} tasks as at the start")


def put_back(place: Place, remembered: Remembered) -> Iterator[str]:
    """Give the service its task definition and count of the start again; say what was changed."""
    service = place.describe_service()
    changes: dict[str, Any] = {}
    if service["taskDefinition"] != remembered["definition"]:
        changes["taskDefinition"] = remembered["definition"]
    if service["desiredCount"] != remembered["desired"]:
        changes["desiredCount"] = remembered["desired"]
    if changes:
        place.aws.ecs.update_service(cluster=place.cluster, service=place.service, **changes)
    else:
        yield "The service has its task definition and its count of the start; it was left alone."
    for name, value in changes.items():
        yield f"The service's {name} is {short(str(value))} again."
    # Whoever names the family alone would get the newest of them.
    for arn in revisions(place):
        if arn not in remembered["revisions"]:
            place.aws.ecs.deregister_task_definition(taskDefinition=arn)
            yield f"Task definition {short(arn)} of the lab is deregistered."


def short(arn: str) -> str:
    """Give what is behind an ARN's last slash."""
    return arn.rpartition("/")[2]


def exit_code(task: TaskTypeDef) -> int | None:
    """Give the exit code of a task's first container, once it has ended."""
    return next((one.get("exitCode") for one in task["containers"]), None)
