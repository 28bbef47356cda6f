"""The list prices of docs/cost.md, and what an environment costs an hour by its templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from templates import Graph, Resource, is_true

HOURS_A_MONTH = 730
# Dollars, us-east-1. docs/cost.md says of each where it is from, or that it is unverified.
# An hour, Linux.
INSTANCES: Mapping[str, float] = {"t3.small": 0.0208, "m7g.large": 0.0816}
# An hour each; of an endpoint for each zone.
NAT_GATEWAY = 0.045
ADDRESS = 0.005
BALANCER = 0.0225
ENDPOINT = 0.01
# A month each; of a volume for each GB.
VOLUME_GB = 0.08
FIREWALL = 5.0
FIREWALL_RULE = 1.0
KEY = 1.0
MONITORED_INSTANCE = 2.10
ALARM = 0.10


@dataclass(frozen=True)
class Cost:
    """Dollars an hour with the fewest instances and with the most, without traffic.

    `unknown` names instance types that have no price here, and of which none is counted.
    """

    least: float
    most: float
    unknown: tuple[str, ...]


def cost_an_hour(graph: Graph, environment: str) -> Cost:
    """Add up an environment's resources, by its name in the settings, at the list prices.

    Raises TemplateError where the assembly has no such environment.
    """
    found = [
        (resource, graph.properties(resource))
        for stack in graph.environment(environment)
        for resource in stack.resources.values()
    ]
    standing = sum(_standing(resource, properties) for resource, properties in found)
    least = most = standing
    unknown: list[str] = []
    for group in groups(graph, environment):
        if group.instance_types[0] not in INSTANCES:
            unknown.append(group.instance_types[0])
            continue
        each = _instance(group)
        least += group.least * each
        most += group.most * each
    return Cost(least, most, tuple(unknown))


@dataclass(frozen=True)
class Group:
    """One Auto Scaling group: its types in their order, its sizes, and what each instance has."""

    instance_types: tuple[str, ...]
    least: int
    most: int
    volume_gib: int
    monitored: bool


def groups(graph: Graph, environment: str) -> Iterator[Group]:
    """Read an environment's Auto Scaling groups with the launch templates that they name."""
    for stack in graph.environment(environment):
        templates = {one.logical_id: one for one in stack.of_type("AWS::EC2::LaunchTemplate")}
        for resource in stack.of_type("AWS::AutoScaling::AutoScalingGroup"):
            own = graph.properties(resource)
            named = [
                templates[reference.logical_id]
                for reference in graph.references(resource)
                if reference.logical_id in templates
            ]
            data = graph.properties(named[0])["LaunchTemplateData"]
            policy = own.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
            types = [one["InstanceType"] for one in policy.get("Overrides", [])]
            volumes = [one["Ebs"] for one in data.get("BlockDeviceMappings", []) if "Ebs" in one]
            yield Group(
                tuple(types or [data["InstanceType"]]),
                int(own["MinSize"]),
                int(own["MaxSize"]),
                sum(int(volume["VolumeSize"]) for volume in volumes),
                is_true(data.get("Monitoring", {}).get("Enabled")),
            )


def _standing(resource: Resource, properties: Mapping[str, Any]) -> float:
    """Give what one resource costs an hour, instances aside."""
    match resource.type:
        case "AWS::EC2::NatGateway":
            return NAT_GATEWAY
        case "AWS::EC2::EIP":
            return ADDRESS
        case "AWS::ElasticLoadBalancingV2::LoadBalancer":
            # One public address in each zone.
            public = properties.get("Scheme") == "internet-facing"
            return BALANCER + (ADDRESS * _count(properties, "Subnets") if public else 0)
        case "AWS::EC2::VPCEndpoint" if properties.get("VpcEndpointType") == "Interface":
            return ENDPOINT * _count(properties, "SubnetIds")
        case "AWS::WAFv2::WebACL":
            return (FIREWALL + FIREWALL_RULE * _count(properties, "Rules")) / HOURS_A_MONTH
        case "AWS::KMS::Key":
            return KEY / HOURS_A_MONTH
        case "AWS::CloudWatch::Alarm":
            return ALARM / HOURS_A_MONTH
    return 0


def _instance(group: Group) -> float:
    month = group.volume_gib * VOLUME_GB + (MONITORED_INSTANCE if group.monitored else 0)
    return INSTANCES[group.instance_types[0]] + month / HOURS_A_MONTH


def _count(properties: Mapping[str, Any], key: str) -> int:
    values: Sequence[Any] = properties.get(key, [])
    return len(values)
