"""The service that labs work on: how it was, whether it is steady, and how it is put back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labs.lab import Item, Remembered
from labs.place import Place
from ops.watch.read import batches

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import (
        ServiceDeploymentTypeDef,
        ServiceTypeDef,
        TaskTypeDef,
    )

# What DescribeServiceDeployments takes at most in one call.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html
# read on 2026-11-29
DEPLOYMENTS_A_CALL = 20


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


def rollouts(place: Place, name: str = "") -> list[str]:
    """Give the ARN of each deployment of the service, or another, that ECS remembers."""
    asked: dict[str, Any] = {"cluster": place.cluster, "service": name or place.service}
    arns: list[str] = []
    while True:
        page = place.aws.ecs.list_service_deployments(**asked)
        arns += [one["serviceDeploymentArn"] for one in page["serviceDeployments"]]
        if not (token := page.get("nextToken")):
            return arns
        asked["nextToken"] = token


def new_rollouts(
    place: Place, known: Collection[str], name: str = ""
) -> list[ServiceDeploymentTypeDef]:
    """Describe the deployments whose ARNs are not known, the newest first."""
    arns = [arn for arn in rollouts(place, name) if arn not in known]
    found = [
        one
        for some in batches(arns, DEPLOYMENTS_A_CALL)
        for one in place.aws.ecs.describe_service_deployments(serviceDeploymentArns=some)[
            "serviceDeployments"
        ]
    ]
    return sorted(found, key=lambda one: one["createdAt"], reverse=True)


def configuration(service: ServiceTypeDef) -> dict[str, Any]:
    """Give how a service deploys, as JSON has it and as update-service takes it."""
    return {**service["deploymentConfiguration"]}


def sizes(place: Place) -> dict[str, Any]:
    """Give of each service, by its name, the desired count and what scaling may make of it."""
    return {
        name: {
            "desired": place.describe_service(name)["desiredCount"],
            "bounds": bounds(place, name),
        }
        for name in (place.service, *place.other_services())
    }


def bounds(place: Place, name: str) -> list[int] | None:
    """Give the least and the most tasks that policies may ask for; None without a target."""
    found = place.aws.scalable_targets.describe_scalable_targets(
        ServiceNamespace="ecs",
        ResourceIds=[f"service/{place.cluster}/{name}"],
        ScalableDimension="ecs:service:DesiredCount",
    )["ScalableTargets"]
    return [found[0]["MinCapacity"], found[0]["MaxCapacity"]] if found else None


def are_sized(place: Place, wanted: Mapping[str, Any]) -> Iterator[Item]:
    """Whether each service runs as many tasks, and scales within the bounds, as at the start."""
    for name, size in wanted.items():
        found, count = place.describe_service(name), size["desired"]
        if found["desiredCount"] == found["runningCount"] == count:
            yield Item(True, f"{name} runs {count} tasks, as at the start")
        else:
            yield Item(
                False,
                f"{name} wants {found['desiredCount']} tasks and runs {found['runningCount']}, at "
                f'the start {count}: aws ecs update-service --cluster "$CLUSTER" --service {name} '
                f"--desired-count {count}",
            )
        now = bounds(place, name)
        if now == size["bounds"]:
            yield Item(True, f"{name} scales between {_words(now)}, as at the start")
        else:
            yield Item(
                False,
                f"{name} scales between {_words(now)}, at the start {_words(size['bounds'])}: "
                "aws application-autoscaling register-scalable-target",
            )


def put_back_sizes(place: Place, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Give each service its bounds and its count of the start again; say what was changed."""
    for name, size in wanted.items():
        if size["bounds"] and bounds(place, name) not in (None, size["bounds"]):
            place.aws.scalable_targets.register_scalable_target(
                ServiceNamespace="ecs",
                ResourceId=f"service/{place.cluster}/{name}",
                ScalableDimension="ecs:service:DesiredCount",
                MinCapacity=size["bounds"][0],
                MaxCapacity=size["bounds"][1],
            )
            yield f"{name} scales between {_words(size['bounds'])} again."
        if place.describe_service(name)["desiredCount"] != size["desired"]:
            place.aws.ecs.update_service(
                cluster=place.cluster, service=name, desiredCount=size["desired"]
            )
            yield f"{name} wants {size['desired']} tasks again."


def _words(bounds: list[int] | None) -> str:
    return f"{bounds[0]} and {bounds[1]} tasks" if bounds else "no bounds"


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


def exit_code(task: TaskTypeDef, container: str) -> int | None:
    """Give the exit code of a task's container of that name, once it has ended.

    With Service Connect a task has one container more than its definition, ECS's own proxy.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectConfiguration.html
    read on 2026-11-29; in which order they are listed no page says.
    """
    named = (one for one in task["containers"] if one.get("name") == container)
    return next((one.get("exitCode") for one in named), None)
