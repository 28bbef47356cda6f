"""What an environment's templates declare to those who play it: the balancer, the agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rehearsal.balancer import Listener, Rule, TargetGroup
from rehearsal.stacks import Stacks
from scheduler.agent_settings import AgentSettings, agent_settings
from templates import Graph, Resource, Value

ELB = "AWS::ElasticLoadBalancingV2::"
# What a service may declare and nobody plays.
UNPLAYED = (
    "ServiceRegistries",
    "VolumeConfigurations",
    "VpcLatticeConfigurations",
)


class Declared:
    """Reads the resources of one environment, resolved."""

    def __init__(self, graph: Graph, stacks: Stacks) -> None:
        self._graph = graph
        self._stacks = stacks

    def properties(self, resource: Resource) -> dict[str, Value]:
        """Give a resource's properties."""
        return self._graph.properties(resource, known=self._stacks.known)

    def of_type(self, kind: str) -> Iterator[tuple[str, Mapping[str, Value]]]:
        """Give the id and the properties of each resource of a type."""
        for one in self._stacks.of_type(kind):
            yield self._stacks.physical(one), self.properties(one)

    def agent(self) -> AgentSettings:
        """Read the settings of the agents from the first launch template's user data."""
        return next(iter(self._agents().values()), AgentSettings())

    def agents_left_out(self) -> list[str]:
        """Name the launch templates whose agents would have other settings than the first's."""
        (first, settings), *others = self._agents().items() or [("", AgentSettings())]
        return [
            f"{name}: its agent's settings are not played: those of {first} count for every group"
            for name, other in others
            if other != settings
        ]

    def _agents(self) -> dict[str, AgentSettings]:
        return {
            name: agent_settings(str(properties["LaunchTemplateData"].get("UserData") or ""))
            for name, properties in self.of_type("AWS::EC2::LaunchTemplate")
        }

    def listeners(self) -> list[Listener]:
        """Read the balancer's listeners with their rules."""
        rules: dict[str, list[Rule]] = {}
        for arn, properties in self.of_type(f"{ELB}ListenerRule"):
            rule = Rule.from_properties(arn, properties)
            rules.setdefault(str(properties["ListenerArn"]), []).append(rule)
        return [
            Listener.from_properties(arn, properties, rules.get(arn, []))
            for arn, properties in self.of_type(f"{ELB}Listener")
        ]

    def target_groups(self) -> list[TargetGroup]:
        """Read the target groups."""
        return [
            TargetGroup.from_properties(arn, properties)
            for arn, properties in self.of_type(f"{ELB}TargetGroup")
        ]

    def default_namespace(self) -> str:
        """Name the namespace of Service Connect that the cluster's services use by default."""
        for _, properties in self.of_type("AWS::ECS::Cluster"):
            return str((properties.get("ServiceConnectDefaults") or {}).get("Namespace") or "")
        return ""

    def balancer_attributes(self) -> dict[str, str]:
        """Read the balancer's attributes."""
        return {
            str(one["Key"]): str(one["Value"])
            for _, properties in self.of_type(f"{ELB}LoadBalancer")
            for one in properties.get("LoadBalancerAttributes") or []
        }

    def subnet(self, zone: str, groups: Mapping[str, Resource]) -> str:
        """Name a subnet of a zone in which a group boots its instances."""
        for group in groups.values():
            for one in self._graph.references(group):
                subnet = self._graph.stacks[one.stack].resources[one.logical_id]
                if (
                    subnet.type == "AWS::EC2::Subnet"
                    and self.properties(subnet).get("AvailabilityZone") == zone
                ):
                    return self._stacks.physical(subnet)
        return ""


def left_out(
    service: str, properties: Mapping[str, Value], target: Mapping[str, Value]
) -> list[str]:
    """Name what of a service's and its scalable target's properties is not played."""
    found = [f"{name} is not played" for name in UNPLAYED if properties.get(name)]
    connect = properties.get("ServiceConnectConfiguration") or {}
    found += [
        f"{name} of Service Connect is not played"
        for name in ("LogConfiguration", "AccessLogConfiguration")
        if connect.get(name)
    ]
    found += [
        f"{name} of Service Connect is not played"
        for name in ("IngressPortOverride", "Tls")
        if any(one.get(name) for one in connect.get("Services") or [])
    ]
    if properties.get("SchedulingStrategy") == "DAEMON":
        found.append("a daemon's scheduling is not played: it is kept at its desired count")
    if len(properties.get("LoadBalancers") or []) > 1:
        found.append("only the first of its LoadBalancers is played")
    if (properties.get("DeploymentConfiguration") or {}).get("LifecycleHooks"):
        found.append("the hooks of its deployments are not called")
    controller = (properties.get("DeploymentController") or {}).get("Type", "ECS")
    if controller != "ECS":
        found.append(f"its deployment controller {controller} is played as ECS")
    if len(properties.get("CapacityProviderStrategy") or []) > 1:
        found.append("only the first provider of its CapacityProviderStrategy is played")
    if target.get("ScheduledActions"):
        found.append("its scheduled actions are not played: no clock puts it to sleep or wakes it")
    return [f"{service}: {one}" for one in found]
