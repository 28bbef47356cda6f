"""What an environment's templates declare to ECS, as the nouns that the scheduler works with."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.agent_settings import AgentSettings, agent_settings
from scheduler.instance_types import instance_type
from scheduler.model import (
    BLUE_GREEN,
    CANARY,
    LINEAR,
    ROLLING,
    Breaker,
    Constraint,
    Group,
    HostPort,
    InstanceKind,
    ManagedScaling,
    ServiceDefinition,
    Shift,
    Strategy,
    TaskDefinition,
)
from scheduler.scaling import Policy
from templates import Graph, Resource, TemplateError, Value, is_true

# Graviton's families have a g behind their generation, like m7g.
_GRAVITON = re.compile(r"[a-z]+\d+g[a-z-]*\.")


@dataclass(frozen=True)
class DeclaredService:
    """A service of a template, with the bounds and policies of its scaling, if it has any.

    `resource` and `task_definition` are what the template has for it. The seconds are of its first
    target group: between two health checks, and until a target that leaves is gone; None without.
    """

    definition: ServiceDefinition
    desired: int
    resource: Resource
    task_definition: Resource
    # What its scaling is registered by.
    target: Resource | None = None
    minimum: int | None = None
    maximum: int | None = None
    policies: tuple[Policy, ...] = ()
    check_seconds: float | None = None
    deregistration_seconds: float | None = None


@dataclass(frozen=True)
class Environment:
    """One environment's capacity and services."""

    name: str
    groups: Mapping[str, Resource]
    services: tuple[DeclaredService, ...] = ()
    graph: Graph = field(repr=False, default=Graph({}))
    known: Mapping[str, Value] = field(repr=False, default_factory=dict)

    def make_groups(self) -> list[Group]:
        """Give the Auto Scaling groups as they are right after they were created."""
        return [_group(self, name, resource) for name, resource in self.groups.items()]


def read(graph: Graph, name: str, *, known: Mapping[str, Value] | None = None) -> Environment:
    """Read an environment, by its name in the settings; `known` as for Graph.resolve.

    Raises TemplateError where the assembly has no such environment, or where a resource cannot be
    scheduled as it is written.
    """
    known = known or {}
    stacks = graph.environment(name)

    def of_kind(kind: str) -> list[Resource]:
        return [one for stack in stacks for one in stack.of_type(kind)]

    groups = {
        _physical(graph, known, one): one for one in of_kind("AWS::AutoScaling::AutoScalingGroup")
    }
    found = Environment(name, groups, graph=graph, known=known)
    services = tuple(_service(found, one) for one in of_kind("AWS::ECS::Service"))
    return Environment(name, groups, services, graph, known)


def task_definition(properties: Mapping[str, Value], name: str) -> TaskDefinition:
    """Read what a task definition asks of an instance from its resolved properties."""
    containers = properties.get("ContainerDefinitions") or []
    awsvpc = properties.get("NetworkMode") == "awsvpc"
    fixed: set[HostPort] = set()
    dynamic = 0
    for container in containers:
        for mapping in container.get("PortMappings") or []:
            port = int(mapping.get("HostPort") or 0)
            if awsvpc:
                continue  # on an interface of its own
            if port:
                fixed.add((port, str(mapping.get("Protocol") or "tcp").lower()))
            else:
                dynamic += 1
    # Source, read 2026-11-24:
    # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
    memory = sum(int(one.get("MemoryReservation") or one.get("Memory") or 0) for one in containers)
    return TaskDefinition(
        name=name,
        cpu=int(properties.get("Cpu") or sum(int(one.get("Cpu") or 0) for one in containers)),
        memory=int(properties.get("Memory") or memory),
        host_ports=frozenset(fixed),
        dynamic_ports=dynamic,
        interfaces=int(awsvpc),
        constraints=_constraints(properties.get("PlacementConstraints")),
        has_health_check=any(
            one.get("HealthCheck") and is_true(one.get("Essential", True)) for one in containers
        ),
    )


def definition_of(
    properties: Mapping[str, Value],
    name: str,
    task: TaskDefinition,
    *,
    target_groups: tuple[str, ...] | None = None,
) -> ServiceDefinition:
    """Read a service from its resolved properties, as CloudFormation spells them."""
    configuration = properties.get("DeploymentConfiguration") or {}
    breaker = configuration.get("DeploymentCircuitBreaker") or {}
    threshold = breaker.get("ThresholdConfiguration") or {}
    alarms = configuration.get("Alarms") or {}
    balancers = properties.get("LoadBalancers") or []
    if target_groups is None:
        target_groups = tuple(str(one["TargetGroupArn"]) for one in balancers[:1])
        for one in balancers[:1]:
            advanced = one.get("AdvancedConfiguration") or {}
            if other := advanced.get("AlternateTargetGroupArn"):
                target_groups += (str(other),)
    providers = properties.get("CapacityProviderStrategy") or []
    return ServiceDefinition(
        name=name,
        task_definition=task,
        minimum_healthy_percent=int(configuration.get("MinimumHealthyPercent", 100)),
        maximum_percent=int(configuration.get("MaximumPercent", 200)),
        strategies=strategies(properties.get("PlacementStrategies")),
        constraints=_constraints(properties.get("PlacementConstraints")),
        provider=str(providers[0]["CapacityProvider"]) if providers else None,
        target_groups=target_groups,
        grace_seconds=float(properties.get("HealthCheckGracePeriodSeconds") or 0),
        breaker=Breaker(
            kind=threshold.get("Type", "BOUNDED_PERCENT"),
            value=int(threshold.get("Value", 50)),
            rollback=is_true(breaker.get("Rollback")),
            reset_on_healthy_task=is_true(breaker.get("ResetOnHealthyTask", True)),
        )
        if is_true(breaker.get("Enable"))
        else None,
        # Where a service is created without a value, it is on. Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
        rebalancing=properties.get("AvailabilityZoneRebalancing") != "DISABLED",
        shift=_shift(configuration),
        alarms=tuple(alarms.get("AlarmNames") or ()) if is_true(alarms.get("Enable")) else (),
        alarm_rollback=is_true(alarms.get("Rollback")),
    )


def strategies(found: Sequence[Mapping[str, Value]] | None) -> tuple[Strategy, ...]:
    """Read placement strategies."""
    return tuple(Strategy(one["Type"], one.get("Field") or "") for one in found or ())


def _constraints(found: Sequence[Mapping[str, Value]] | None) -> tuple[Constraint, ...]:
    return tuple(Constraint(one["Type"], one.get("Expression") or "") for one in found or ())


def _shift(configuration: Mapping[str, Value]) -> Shift:
    kind = configuration.get("Strategy") or ROLLING
    bake = float(configuration.get("BakeTimeInMinutes") or 0) * 60
    if kind == BLUE_GREEN:
        return Shift(kind, bake_seconds=bake)
    if kind == CANARY:
        # Source of the defaults, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CanaryConfiguration.html
        canary = configuration.get("CanaryConfiguration") or {}
        return Shift(
            kind,
            step_percent=float(canary.get("CanaryPercent", 5)),
            step_seconds=float(canary.get("CanaryBakeTimeInMinutes", 10)) * 60,
            bake_seconds=bake,
        )
    if kind == LINEAR:
        # Source of the defaults, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinearConfiguration.html
        linear = configuration.get("LinearConfiguration") or {}
        return Shift(
            kind,
            step_percent=float(linear.get("StepPercent", 10)),
            step_seconds=float(linear.get("StepBakeTimeInMinutes", 6)) * 60,
            bake_seconds=bake,
        )
    return Shift(ROLLING, bake_seconds=bake)


def _service(environment: Environment, resource: Resource) -> DeclaredService:
    graph, known = environment.graph, environment.known
    properties = graph.properties(resource, known=known)
    where = f"{resource.stack}: {resource.logical_id}"
    (definition,) = _referred(graph, resource, "Properties.TaskDefinition", where)
    name = _name(known, graph, resource)
    task = task_definition(
        graph.properties(definition, known=known), _physical(graph, known, definition)
    )
    target = _scalable_target(graph, resource)
    found = graph.properties(target, known=known) if target else {}
    minimum = int(found["MinCapacity"]) if found else None
    # CloudFormation creates one task where nothing is said, and scaling lifts it to its minimum.
    desired = max(int(properties.get("DesiredCount", 1)), minimum or 0)
    check, deregistration = _target_seconds(graph, resource, known)
    return DeclaredService(
        definition=definition_of(properties, name, task),
        desired=desired,
        resource=resource,
        task_definition=definition,
        target=target,
        minimum=minimum,
        maximum=int(found["MaxCapacity"]) if found else None,
        policies=_policies(graph, target, known) if target else (),
        check_seconds=check,
        deregistration_seconds=deregistration,
    )


def _target_seconds(
    graph: Graph, service: Resource, known: Mapping[str, Value]
) -> tuple[float | None, float | None]:
    """Give a service's health check interval and deregistration delay, from its target group.

    Sources of the defaults, read 2026-11-24:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
    """
    for one in graph.references(service):
        found = graph.stacks[one.stack].resources[one.logical_id]
        if found.type == "AWS::ElasticLoadBalancingV2::TargetGroup":
            properties = graph.properties(found, known=known)
            attributes = {
                str(each["Key"]): each["Value"]
                for each in properties.get("TargetGroupAttributes") or []
            }
            return (
                float(properties.get("HealthCheckIntervalSeconds", 30)),
                float(attributes.get("deregistration_delay.timeout_seconds", 300)),
            )
    return None, None


def _scalable_target(graph: Graph, service: Resource) -> Resource | None:
    stack = graph.stacks[service.stack]
    for target in stack.of_type("AWS::ApplicationAutoScaling::ScalableTarget"):
        if any(one.logical_id == service.logical_id for one in graph.references(target)):
            return target
    return None


def _policies(graph: Graph, target: Resource, known: Mapping[str, Value]) -> tuple[Policy, ...]:
    found = []
    for one in graph.stacks[target.stack].of_type("AWS::ApplicationAutoScaling::ScalingPolicy"):
        if all(other.logical_id != target.logical_id for other in graph.references(one)):
            continue
        properties = graph.properties(one, known=known)
        tracking = properties.get("TargetTrackingScalingPolicyConfiguration") or {}
        metric = (tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
        if metric:
            found.append(
                Policy(
                    name=str(properties["PolicyName"]),
                    metric=metric,
                    target=float(tracking["TargetValue"]),
                    out_cooldown=float(tracking.get("ScaleOutCooldown", 300)),
                    in_cooldown=float(tracking.get("ScaleInCooldown", 300)),
                )
            )
    return tuple(found)


def _group(environment: Environment, name: str, resource: Resource) -> Group:
    graph, known = environment.graph, environment.known
    properties = graph.properties(resource, known=known)
    where = f"{resource.stack}: {resource.logical_id}"
    provider = _provider(graph, resource)
    scaling: Mapping[str, Value] = {}
    settings: Mapping[str, Value] = {}
    provider_name = ""
    if provider is not None:
        provider_name = _physical(graph, known, provider)
        settings = graph.properties(provider, known=known)["AutoScalingGroupProvider"]
        scaling = settings.get("ManagedScaling") or {}
    mixed = properties.get("MixedInstancesPolicy") or {}
    distribution = mixed.get("InstancesDistribution") or {}
    maintenance = properties.get("InstanceMaintenancePolicy") or {}
    minimum = int(properties["MinSize"])
    template = _template(graph, resource, where)
    return Group(
        name=name,
        provider=provider_name,
        zones=_zones(graph, resource, properties, known),
        kinds=kinds(graph, resource, template, known),
        minimum=minimum,
        maximum=int(properties["MaxSize"]),
        desired=int(properties.get("DesiredCapacity") or minimum),
        template=version_of(graph, template, known),
        scaling=ManagedScaling(
            target=int(scaling.get("TargetCapacity", 100)),
            minimum_step=int(scaling.get("MinimumScalingStepSize", 1)),
            maximum_step=int(scaling.get("MaximumScalingStepSize", 10_000)),
            warmup_seconds=float(scaling.get("InstanceWarmupPeriod", 300)),
        )
        if scaling.get("Status") == "ENABLED"
        else None,
        # Only a capacity provider drains.
        drains=provider is not None and settings.get("ManagedDraining", "ENABLED") == "ENABLED",
        drains_on_notice=_settings(graph, template, known).drains_on_notice,
        protects=settings.get("ManagedTerminationProtection") == "ENABLED",
        on_demand_base=int(distribution.get("OnDemandBaseCapacity", 0)),
        on_demand_percent=int(distribution.get("OnDemandPercentageAboveBaseCapacity", 100)),
        minimum_healthy_percent=int(maintenance.get("MinHealthyPercentage", 90)),
        maximum_healthy_percent=int(maintenance.get("MaxHealthyPercentage", 100)),
        warmup_seconds=float(properties.get("DefaultInstanceWarmup") or 0),
    )


def kinds(
    graph: Graph, group: Resource, template: Resource, known: Mapping[str, Value]
) -> tuple[InstanceKind, ...]:
    """Give the instance types of a group with what the agent of its launch template leaves."""
    data = graph.properties(template, known=known)["LaunchTemplateData"]
    settings = _settings(graph, template, known)
    first, last = settings.host_ports
    mixed = graph.properties(group, known=known).get("MixedInstancesPolicy") or {}
    overrides = (mixed.get("LaunchTemplate") or {}).get("Overrides") or []
    names = [one["InstanceType"] for one in overrides if one.get("InstanceType")]
    found = []
    for name in names or [data["InstanceType"]]:
        architecture = "arm64" if _GRAVITON.match(name) else "x86_64"
        found.append(
            instance_type(name).kind(
                reserved_memory=settings.reserved_memory_mib,
                dynamic_ports=last - first + 1,
                trunking=_trunks(graph, group),
                attributes={
                    "ecs.cpu-architecture": architecture,
                    "ecs.os-type": "linux",
                    "ecs.ami-id": str(data.get("ImageId") or ""),
                },
            )
        )
    return tuple(found)


def _settings(graph: Graph, template: Resource, known: Mapping[str, Value]) -> AgentSettings:
    data = graph.properties(template, known=known)["LaunchTemplateData"]
    return agent_settings(str(data.get("UserData") or ""))


def version_of(graph: Graph, template: Resource, known: Mapping[str, Value]) -> str:
    """Tell one content of a launch template from another, as its version number does."""
    data = graph.properties(template, known=known)["LaunchTemplateData"]
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _trunks(graph: Graph, group: Resource) -> bool:
    """Say whether its stack boots only with trunking; the account's setting is in no template.

    It is stacks/constructs/trunking_check.py that refuses.
    """
    paths = (
        str(one.metadata.get("aws:cdk:path", ""))
        for one in graph.stacks[group.stack].of_type("AWS::CloudFormation::CustomResource")
    )
    return any("/TrunkingCheck/" in path for path in paths)


def _zones(
    graph: Graph, group: Resource, properties: Mapping[str, Value], known: Mapping[str, Value]
) -> tuple[str, ...]:
    subnets = properties.get("VPCZoneIdentifier") or []
    found: dict[str, None] = {}
    for one in graph.references(group):
        if one.path.startswith("Properties.VPCZoneIdentifier"):
            subnet = graph.stacks[one.stack].resources[one.logical_id]
            found[str(graph.properties(subnet, known=known)["AvailabilityZone"])] = None
    if not found:
        # Subnets of somebody else's VPC: no template says in which zones they are.
        region = graph.stacks[group.stack].region or "zone-"
        found = {f"{region}{letter}": None for letter, _ in zip("abcdef", subnets, strict=False)}
    return tuple(found)


def _provider(graph: Graph, group: Resource) -> Resource | None:
    for one in graph.stacks[group.stack].of_type("AWS::ECS::CapacityProvider"):
        if any(found.logical_id == group.logical_id for found in graph.references(one)):
            return one
    return None


def _template(graph: Graph, group: Resource, where: str) -> Resource:
    found = {
        (one.stack, one.logical_id)
        for one in graph.references(group)
        if graph.stacks[one.stack].resources[one.logical_id].type == "AWS::EC2::LaunchTemplate"
    }
    if len(found) != 1:
        raise TemplateError(f"{where}: expected one launch template, got {len(found)}")
    ((stack, logical_id),) = found
    return graph.stacks[stack].resources[logical_id]


def _referred(graph: Graph, resource: Resource, path: str, where: str) -> list[Resource]:
    found = [
        graph.stacks[one.stack].resources[one.logical_id]
        for one in graph.references(resource)
        if one.path.startswith(path)
    ]
    if len(found) != 1:
        raise TemplateError(f"{where}.{path}: expected a resource of the assembly, got {found!r}")
    return found


def _physical(graph: Graph, known: Mapping[str, Value], resource: Resource) -> str:
    """Give what a Ref to a resource resolves to."""
    key = f"{graph.stacks[resource.stack].name}.{resource.logical_id}"
    return str(known.get(key, f"${{{key}}}"))


def _name(known: Mapping[str, Value], graph: Graph, resource: Resource) -> str:
    """Give a service's name: its attribute where that is known, else its stack's own."""
    key = f"{graph.stacks[resource.stack].name}.{resource.logical_id}.Name"
    return str(known.get(key) or graph.stacks[resource.stack].name)
