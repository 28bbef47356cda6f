"""ECS: services, as they are and as they are changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rehearsal.api import tags, wire
from rehearsal.api.account import (
    PRINCIPAL,
    Account,
    Asked,
    Operation,
    batch,
    missing,
    uuid_of,
)
from rehearsal.api.ecs_clusters import default_strategy
from rehearsal.api.ecs_running import (
    check_launch,
    check_network,
    check_placement,
    check_runnable,
)
from rehearsal.api.errors import ApiError, invalid, not_played
from rehearsal.api.pages import page, size_of
from rehearsal.api.shapes import to_cloudformation
from rehearsal.api.wire import Answer
from rehearsal.deployments import begins
from rehearsal.properties import BalancerError
from rehearsal.records import Definition, ServiceRecord
from rehearsal.service_connect import endpoints, namespace_of
from scheduler import environment
from scheduler.model import ZONE, Bucket, Deployment
from templates import Value

TARGET_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup"
SERVICES_A_CALL = 10
# Source, read 2026-11-24: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
TASKS_A_SERVICE = 5000
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,255}")
# What is not a property of a service's, or is handled by itself.
_BESIDE = {"cluster", "service", "serviceName", "clientToken", "tags", "taskDefinition",
           "desiredCount", "forceNewDeployment"}  # fmt: skip
_NOT_PLAYED = {
    "gatewayConnectors": "gateways",
    "monitoring": "metrics of a service's own resolution",
    "serviceRegistries": "service discovery",
    "volumeConfigurations": "EBS volumes that are attached to tasks",
    "vpcLatticeConfigurations": "VPC Lattice",
}


def describe_services(account: Account, asked: Asked) -> Answer:
    """Give services by name or ARN; deleted ones too."""
    account.check_cluster(asked)
    batch(asked["services"], SERVICES_A_CALL, "service names")
    with_tags = "TAGS" in (asked.get("include") or ())
    found, failures = [], []
    for one in asked["services"]:
        record = account.service(one)
        if record is not None:
            found.append(describe(account, record, with_tags=with_tags))
        else:
            arn = one if one.startswith("arn:") else _arn(account, one)
            failures.append(missing(arn))
    return {"services": found, "failures": failures}


def list_services(account: Account, asked: Asked) -> Answer:
    """Give ARNs, ten a page; a service that is deleted "is no longer visible" here.

    Source, read 2026-11-25:
    https://awscli.amazonaws.com/v2/documentation/api/2.3.2/reference/ecs/delete-service.html
    """
    account.check_cluster(asked)
    return _page(asked, (
        record.arn
        for record in account.world.services.values()
        if account.service_status(record) == "ACTIVE"
        and asked.get("launchType") in (None, _launch_type(record))
        and asked.get("schedulingStrategy", "REPLICA") == "REPLICA"
        and asked.get("resourceManagementType", "CUSTOMER") == "CUSTOMER"
    ))  # fmt: skip


def list_services_by_namespace(account: Account, asked: Asked) -> Answer:
    """Give the ARNs of the services that use a namespace of Service Connect, ten a page."""
    return _page(asked, (
        record.arn
        for record in account.world.services.values()
        if account.service_status(record) != "INACTIVE"
        and account.world.namespace(record.name) == asked["namespace"]
    ))  # fmt: skip


def _page(asked: Asked, every: Iterable[str]) -> Answer:
    size = size_of(asked.get("maxResults"), default=10, high=100)
    found, token = page(list(every), lambda arn: [arn], size=size, token=asked.get("nextToken"))
    return {"serviceArns": found, "nextToken": token}


def create_service(account: Account, asked: Asked) -> Answer:
    """Create a service; its tasks are started by the scheduler."""
    account.check_cluster(asked)
    return account.once("CreateService", asked, lambda: _create(account, asked))


def update_service(account: Account, asked: Asked) -> Answer:
    """Change a service; another task definition, or force, begins a deployment."""
    account.check_cluster(asked)
    record = account.service(asked["service"])
    if record is None:
        raise ApiError("ServiceNotFoundException", "Service not found.")
    if account.service_status(record) != "ACTIVE":
        raise ApiError("ServiceNotActiveException", "Service was not ACTIVE.")
    service = account.service_of(record)
    definition = (
        account.need_definition(asked["taskDefinition"])
        if "taskDefinition" in asked
        else account.world.definitions[service.definition.task_definition.name]
    )
    changed = _properties("UpdateServiceRequest", asked)
    properties = {**record.properties, **changed, "TaskDefinition": definition.arn}
    if "CapacityProviderStrategy" in changed:
        properties.pop("LaunchType", None)
    desired = asked.get("desiredCount", service.desired)
    _check(account, asked, definition, properties, desired)
    force = bool(asked.get("forceNewDeployment")) or begins(record.properties, properties)
    _deploy(account, record.name, definition, properties, desired, force=force)
    return {"service": describe(account, record, with_tags=True)}


def delete_service(account: Account, asked: Asked) -> Answer:
    """Delete a service: DRAINING until its last task has stopped, then INACTIVE."""
    account.check_cluster(asked)
    record = account.need_service(asked["service"])
    service = account.service_of(record)
    if service.is_active:
        if service.desired > 0 and not asked.get("force"):
            raise invalid("The service cannot be stopped while it is scaled above 0.")
        account.world.delete_service(record.name)
    return {"service": describe(account, record, with_tags=True)}


def describe(account: Account, record: ServiceRecord, *, with_tags: bool) -> dict[str, Any]:
    """Give a service as the API does."""
    service, status = account.service_of(record), account.service_status(record)
    found = account.read("ecs", "Service", record.properties)
    deployments = service.deployments if status != "INACTIVE" else []
    found |= {
        "serviceArn": record.arn,
        "serviceName": record.name,
        "clusterArn": account.cluster_arn,
        "status": status,
        "desiredCount": service.desired,
        "runningCount": sum(_running(one) for one in deployments),
        "pendingCount": sum(_pending(one) for one in deployments),
        "taskDefinition": service.definition.task_definition.name,
        "deployments": [_deployment(account, record, one) for one in deployments],
        "deploymentConfiguration": configuration(account, record.properties),
        "roleArn": account.iam("role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"),
        "events": [
            {
                "id": uuid_of(f"{record.arn} {one.at} {one.message}"),
                "createdAt": account.wall(one.at),
                "message": one.message,
            }
            for one in service.events
        ],
        "createdAt": record.created_at,
        "createdBy": account.iam(PRINCIPAL),
        "tags": tags.to_ecs(record.tags) if with_tags else [],
        "launchType": _launch_type(record),
    }
    defaults: Mapping[str, Any] = {
        "availabilityZoneRebalancing": "ENABLED" if service.definition.rebalancing else "DISABLED",
        "deploymentController": {"type": "ECS"},
        "enableECSManagedTags": False,
        "enableExecuteCommand": False,
        "loadBalancers": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "propagateTags": "NONE",
        "schedulingStrategy": "REPLICA",
        "serviceRegistries": [],
    }
    kept = {one.id: one for one in record.deployments}
    found["currentServiceRevisions"] = [
        {
            "arn": kept[one.id].revision_arn,
            "requestedTaskCount": one.live,
            "runningTaskCount": _running(one),
            "pendingTaskCount": _pending(one),
        }
        for one in deployments
        if one.id in kept
    ]
    if deployments and service.primary.id in kept:
        found["currentServiceDeployment"] = kept[service.primary.id].arn
    return {**defaults, **found}


def configuration(account: Account, properties: Mapping[str, Value]) -> dict[str, Any]:
    """Give a deployment configuration with ECS's defaults for what is not said."""
    found = account.read(
        "ecs", "DeploymentConfiguration", properties.get("DeploymentConfiguration") or {}
    )
    defaults = {
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 0,
    }
    if breaker := found.get("deploymentCircuitBreaker"):
        breaker.setdefault("rollback", False)
    return {**defaults, **found}


def _create(account: Account, asked: Asked) -> Answer:
    name = asked["serviceName"]
    if not _NAME.fullmatch(name):
        raise invalid(
            "Service name contains invalid characters: letters, numbers, hyphens and underscores "
            "only, 255 at most."
        )
    if not asked.get("taskDefinition"):
        raise invalid("TaskDefinition can not be blank.")
    properties = _properties("CreateServiceRequest", asked)
    definition = account.need_definition(asked["taskDefinition"])
    properties["TaskDefinition"] = definition.arn
    if not (asked.get("launchType") or asked.get("capacityProviderStrategy")):
        strategy = default_strategy(account)
        if strategy:
            shape = wire.model("ecs").shape_for("CapacityProviderStrategy")
            properties["CapacityProviderStrategy"] = to_cloudformation(shape, strategy)
    properties.setdefault("AvailabilityZoneRebalancing", _rebalancing(asked))
    if "desiredCount" not in asked:
        raise invalid("desiredCount is required for the scheduling strategy REPLICA.")
    desired = asked["desiredCount"]
    there = account.service(name)
    if there is not None and account.service_status(there) != "INACTIVE":
        return _again(account, there, definition, properties, desired)
    _check(account, asked, definition, properties, desired)
    world = account.world
    world.services[name] = ServiceRecord(
        _arn(account, name),
        name,
        properties,
        account.wall(account.now()),
        tags=tags.of_ecs(asked.get("tags")),
    )
    _deploy(account, name, definition, properties, desired)
    return {"service": describe(account, world.services[name], with_tags=True)}


def _rebalancing(asked: Asked) -> str:
    """Say whether a service is rebalanced that does not say so itself.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
    """
    first = (asked.get("placementStrategy") or [{"type": "spread", "field": ZONE}])[0]
    spreads = (first.get("type"), first.get("field")) == ("spread", ZONE)
    surges = (asked.get("deploymentConfiguration") or {}).get("maximumPercent", 200) > 100
    return "ENABLED" if spreads and surges else "DISABLED"


def _again(
    account: Account,
    there: ServiceRecord,
    definition: Definition,
    properties: Mapping[str, Value],
    desired: int,
) -> Answer:
    """Give the service again where the same is created twice; refuse another of its name."""
    service = account.service_of(there)
    if not service.is_active:
        raise invalid("Unable to Start a service that is still Draining.")
    same = service.definition.task_definition.name == definition.arn
    if not same or service.desired != desired or there.properties != properties:
        raise invalid("Creation of service was not idempotent.")
    return {"service": describe(account, there, with_tags=True)}


def _properties(shape: str, asked: Asked) -> dict[str, Value]:
    """Take a service's properties out of a request, as CloudFormation spells them."""
    for name, what in _NOT_PLAYED.items():
        if asked.get(name):
            raise not_played(what)
    kept = {
        name: one for name, one in asked.items() if name not in _BESIDE and name not in _NOT_PLAYED
    }
    found: dict[str, Value] = to_cloudformation(wire.model("ecs").shape_for(shape), kept)
    return found


def _check(
    account: Account,
    asked: Asked,
    definition: Definition,
    properties: Mapping[str, Value],
    desired: int,
) -> None:
    """Raise ApiError for what ECS refuses of a service, and for what nobody plays here."""
    if asked.get("schedulingStrategy", "REPLICA") != "REPLICA":
        raise not_played("services of the scheduling strategy DAEMON")
    if (asked.get("deploymentController") or {"type": "ECS"})["type"] != "ECS":
        raise not_played("deployments that are controlled by others than ECS")
    if asked.get("enableExecuteCommand"):
        raise not_played("ExecuteCommand")
    if not 0 <= desired <= TASKS_A_SERVICE:
        raise invalid(f"desiredCount must be between 0 and {TASKS_A_SERVICE}.")
    check_launch(account, asked)
    network = {"networkConfiguration": properties.get("NetworkConfiguration")}
    check_network(definition, network)
    check_placement(asked.get("placementStrategy") or (), asked.get("placementConstraints") or ())
    _check_configuration(asked.get("deploymentConfiguration") or {})
    _check_balancing(account, definition, properties)
    _check_connect(account, definition, properties)
    if (properties.get("HealthCheckGracePeriodSeconds") or 0) < 0:
        raise invalid("healthCheckGracePeriodSeconds must not be negative.")
    if properties.get("HealthCheckGracePeriodSeconds") and not properties.get("LoadBalancers"):
        raise invalid(
            "Health check grace period is only valid for services configured to use load balancers"
        )
    check_runnable(account, definition)


def _check_configuration(asked: Mapping[str, Any]) -> None:
    if asked.get("lifecycleHooks"):
        raise not_played("lifecycle hooks of deployments")
    if (asked.get("earlySuccessCriteria") or {}).get("enable"):
        raise not_played("early success criteria")
    # With 100 and 100 ECS can neither stop nor start a task, which it says in its events.
    low, high = asked.get("minimumHealthyPercent", 100), asked.get("maximumPercent", 200)
    if low < 0 or high < 1:
        raise invalid("Percents of a deployment configuration must not be negative.")
    breaker = asked.get("deploymentCircuitBreaker") or {}
    if (breaker.get("thresholdConfiguration") or {}).get("value", 1) < 1:
        raise invalid("The threshold of the circuit breaker must be 1 or more.")
    canary, linear = asked.get("canaryConfiguration") or {}, asked.get("linearConfiguration") or {}
    if not 0.1 <= canary.get("canaryPercent", 5) <= 100:
        raise invalid("canaryPercent must be between 0.1 and 100.")
    if not 3 <= linear.get("stepPercent", 10) <= 100:
        raise invalid("stepPercent must be between 3 and 100.")
    waits = (
        asked.get("bakeTimeInMinutes", 0),
        canary.get("canaryBakeTimeInMinutes", 0),
        linear.get("stepBakeTimeInMinutes", 0),
    )
    if any(not 0 <= one <= 1440 for one in waits):
        raise invalid("Bake times must be between 0 and 1440 minutes.")


def _check_balancing(
    account: Account, definition: Definition, properties: Mapping[str, Value]
) -> None:
    """Raise ApiError unless target groups, containers and ports are there."""
    ports = {
        (str(one["Name"]), int(mapping["ContainerPort"]))
        for one in definition.containers
        for mapping in one.get("PortMappings") or []
    }
    groups = {physical for _, physical, _ in account.resources(TARGET_GROUP)}
    for one in properties.get("LoadBalancers") or []:
        group = str(one.get("TargetGroupArn"))
        if group not in groups:
            raise invalid(f"The target group {group} does not have an associated load balancer.")
        key = (str(one.get("ContainerName")), int(one.get("ContainerPort") or 0))
        if key not in ports:
            raise invalid(
                f"The container {key[0]} does not exist in the task definition, or its "
                f"containerPort {key[1]} does not."
            )


def _check_connect(
    account: Account, definition: Definition, properties: Mapping[str, Value]
) -> None:
    """Raise ApiError unless there are the namespace and the ports."""
    default = account.world.templates.default_namespace()
    asked = properties.get("ServiceConnectConfiguration") or {}
    if asked.get("Enabled") and not namespace_of(properties, default):
        raise invalid("Service Connect needs a namespace, of its own or the cluster's default.")
    try:
        list(endpoints(properties, definition.properties, default))
    except BalancerError as error:
        raise invalid(str(error)) from error


def _deploy(
    account: Account,
    name: str,
    definition: Definition,
    properties: Mapping[str, Value],
    desired: int,
    *,
    force: bool = False,
) -> None:
    account.world.services[name].properties = properties
    declared = environment.definition_of(properties, name, definition.task)
    account.world.deploy(declared, desired, force=force)


def _deployment(account: Account, record: ServiceRecord, one: Deployment) -> dict[str, Any]:
    found = account.read("ecs", "Deployment", record.properties_of(one.id))
    return {
        **found,
        "id": one.id,
        "status": "PRIMARY" if one.is_primary else "ACTIVE",
        "taskDefinition": one.definition.task_definition.name,
        "desiredCount": account.service_of(record).desired if one.is_primary else one.live,
        "pendingCount": _pending(one),
        "runningCount": _running(one),
        "failedTasks": one.failed_tasks,
        "createdAt": account.wall(one.created_at),
        "updatedAt": account.wall(one.updated_at),
        "launchType": _launch_type(record),
        "rolloutState": one.rollout,
        "rolloutStateReason": one.reason or f"ECS deployment {one.id} in progress.",
    }


def _launch_type(record: ServiceRecord) -> str | None:
    if record.properties.get("CapacityProviderStrategy"):
        return None
    return str(record.properties.get("LaunchType") or "EC2")


def _running(deployment: Deployment) -> int:
    return sum(
        task.status == "RUNNING" and task.wanted
        for tasks in deployment.tasks.values()
        for task in tasks.values()
    )


def _pending(deployment: Deployment) -> int:
    return deployment.number(Bucket.WAITING, Bucket.STARTING)


def _arn(account: Account, name: str) -> str:
    return account.arn(f"service/{account.cluster_name}/{name}")


OPERATIONS: Mapping[str, Operation] = {
    "CreateService": create_service,
    "DeleteService": delete_service,
    "DescribeServices": describe_services,
    "ListServices": list_services,
    "ListServicesByNamespace": list_services_by_namespace,
    "UpdateService": update_service,
}
