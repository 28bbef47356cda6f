"""Draws an environment from its synthesized templates: stacks, a request's path, a deploy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from handbook.drawing import Edge, Frame, Node, Picture
from templates import Graph, Resource, Stack, TemplateError, is_true

BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
TARGETS = "AWS::ElasticLoadBalancingV2::TargetGroup"
SERVICE = "AWS::ECS::Service"
DEFINITION = "AWS::ECS::TaskDefinition"
SCALING = "AWS::ApplicationAutoScaling::ScalableTarget"
GROUP = "AWS::AutoScaling::AutoScalingGroup"
SUBNET = "AWS::EC2::Subnet"
SECURITY_GROUP = "AWS::EC2::SecurityGroup"

# What a stack is told by, where it has some: one of them, and several.
NOUNS = {
    "AWS::EC2::VPC": ("VPC", "VPCs"),
    SUBNET: ("subnet", "subnets"),
    "AWS::EC2::NatGateway": ("NAT gateway", "NAT gateways"),
    "AWS::EC2::VPCEndpoint": ("VPC endpoint", "VPC endpoints"),
    "AWS::ECR::Repository": ("repository", "repositories"),
    "AWS::ECS::Cluster": ("ECS cluster", "ECS clusters"),
    "AWS::ECS::CapacityProvider": ("capacity provider", "capacity providers"),
    GROUP: ("Auto Scaling group", "Auto Scaling groups"),
    "AWS::SNS::Topic": ("topic", "topics"),
    "AWS::Budgets::Budget": ("budget", "budgets"),
    BALANCER: ("load balancer", "load balancers"),
    LISTENER: ("listener", "listeners"),
    "AWS::WAFv2::WebACL": ("firewall", "firewalls"),
    "AWS::CertificateManager::Certificate": ("certificate", "certificates"),
    DEFINITION: ("task definition", "task definitions"),
    SERVICE: ("ECS service", "ECS services"),
    RULE: ("listener rule", "listener rules"),
    TARGETS: ("target group", "target groups"),
    SCALING: ("range of task counts", "ranges of task counts"),
    "AWS::CloudWatch::Alarm": ("alarm", "alarms"),
    "AWS::KMS::Key": ("KMS key", "KMS keys"),
}


def pictures(graph: Graph) -> list[Picture]:
    """Draw every environment that the graph has, each in three pictures.

    Raises TemplateError where the templates have not what an environment is made of.
    """
    names = dict.fromkeys(name.partition("/")[0] for name in graph.stacks)
    return [
        draw(graph, name)
        for name in sorted(names, reverse=True)
        for draw in (stacks, request, deploy)
    ]


def stacks(graph: Graph, environment: str) -> Picture:
    """Draw the stacks, each above those that it depends on."""
    own = _Environment(graph, environment)
    nodes = []
    for stack in reversed(own.stacks):
        counted = [(kind, len(stack.of_type(kind))) for kind in NOUNS]
        lines = tuple(f"{count} {NOUNS[kind][count > 1]}" for kind, count in counted if count)
        total = f"{len(stack.resources)} resources"
        nodes.append(Node(stack.display_name, own.short(stack), lines, total, own.colour(stack)))
    edges = tuple(
        Edge(stack.display_name, other)
        for stack in reversed(own.stacks)
        for other in stack.depends_on
    )
    title = f"The stacks of {environment}, and which stands on which"
    return Picture(f"{environment.lower()}-stacks", title, tuple(nodes), edges, (), "stands on")


def request(graph: Graph, environment: str) -> Picture:
    """Draw a request's path: balancer, listeners, rules, target groups, services, instances."""
    own = _Environment(graph, environment)
    drawn = _Drawn(own)
    for balancer in own.of_type(BALANCER):
        _draw_balancer(drawn, balancer)
    for rule in own.of_type(RULE):
        _draw_rule(drawn, rule)
    for service in own.of_type(SERVICE):
        _draw_service(drawn, service)
    title = f"The path of a request in {environment}"
    return drawn.picture(f"{environment.lower()}-request", title)


def deploy(graph: Graph, environment: str) -> Picture:
    """Draw what flows when `cdk deploy` runs: templates, images, tasks."""
    own = _Environment(graph, environment)
    drawn = _Drawn(own)
    total = sum(len(stack.resources) for stack in own.stacks)
    drawn.node(
        "templates", "Synthesized templates", f"{len(own.stacks)} stacks, {total} resources",
        colour=0,
    )  # fmt: skip
    order = ", ".join(own.short(stack) for stack in own.stacks)
    drawn.node("cloudformation", "CloudFormation", f"in the order {order}", colour=0)
    drawn.node("cli", "cdk deploy", colour=0)
    drawn.edge("templates", "cli")
    drawn.edge("cli", "cloudformation", f"{len(own.stacks)} stacks")
    for service in own.of_type(SERVICE):
        _draw_rollout(drawn, service)
    return drawn.picture(
        f"{environment.lower()}-deploy", f"What flows in a deploy of {environment}"
    )


@dataclass
class _Environment:
    """The stacks of one environment, and what its resources name."""

    graph: Graph
    name: str
    stacks: tuple[Stack, ...] = ()

    def __post_init__(self) -> None:
        self.stacks = self.graph.environment(self.name)

    def short(self, stack: Stack) -> str:
        return stack.display_name.partition("/")[2]

    def colour(self, stack: Stack) -> int:
        """Give a stack's colour: by its place in the order, services sharing the last one."""
        return min(1 + self.stacks.index(stack), 5)

    def of_type(self, kind: str) -> Iterator[Resource]:
        for stack in self.stacks:
            yield from stack.of_type(kind)

    def named(self, resource: Resource, path: str, kind: str) -> list[Resource]:
        """Give the resources of a kind that a property names; path is like Properties.Actions."""
        found = {}
        for one in self.graph.references(resource):
            other = self.graph.stack(one.stack).resources[one.logical_id]
            if other.type == kind and f"{one.path}.".startswith(f"{path}."):
                found[_key(other)] = other
        return list(found.values())

    def only(self, resource: Resource, path: str, kind: str) -> Resource:
        found = self.named(resource, path, kind)
        if len(found) != 1:
            raise TemplateError(
                f"{resource.stack}: {resource.logical_id}.{path}: expected one {kind}, "
                f"got {len(found)}"
            )
        return found[0]

    def properties(self, resource: Resource) -> dict[str, Any]:
        return self.graph.properties(resource)

    def balancers_ports(self, groups: Iterable[Resource]) -> list[str]:
        """Give the ports on which those security groups let in what comes from a balancer."""
        balancers = {
            _key(one)
            for balancer in self.of_type(BALANCER)
            for one in self.named(balancer, "Properties.SecurityGroups", SECURITY_GROUP)
        }
        wanted = {_key(one) for one in groups}
        found = []
        for rule in self.of_type("AWS::EC2::SecurityGroupIngress"):
            sources = self.named(rule, "Properties.SourceSecurityGroupId", SECURITY_GROUP)
            targets = self.named(rule, "Properties.GroupId", SECURITY_GROUP)
            if {_key(one) for one in sources} & balancers and {
                _key(one) for one in targets
            } & wanted:
                found.append(_range(self.properties(rule)))
        return sorted(set(found))


@dataclass
class _Drawn:
    """Boxes and arrows as they are found."""

    own: _Environment
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def node(self, key: str, title: str, *lines: str, tag: str = "", colour: int) -> str:
        self.nodes.setdefault(key, Node(key, title, lines, tag, colour))
        return key

    def resource(self, resource: Resource, title: str, *lines: str) -> str:
        stack = self.own.graph.stack(resource.stack)
        short = self.own.short(stack)
        return self.node(_key(resource), title, *lines, tag=short, colour=self.own.colour(stack))

    def edge(self, start: str, end: str, says: str = "") -> None:
        edge = Edge(start, end, says)
        if edge not in self.edges:
            self.edges.append(edge)

    def picture(self, name: str, title: str) -> Picture:
        nodes, edges = tuple(self.nodes.values()), tuple(self.edges)
        return Picture(name, title, nodes, edges, tuple(self.frames))


def _draw_balancer(drawn: _Drawn, balancer: Resource) -> None:
    own = drawn.own
    properties = own.properties(balancer)
    attributes = _attributes(properties.get("LoadBalancerAttributes"))
    subnets = own.named(balancer, "Properties.Subnets", SUBNET)
    lines = [properties.get("Scheme", "internet-facing"), *_in_zones(own, subnets)]
    if seconds := attributes.get("idle_timeout.timeout_seconds"):
        lines.append(f"idle for at most {seconds} s")
    allowed = [
        f"{entry.get('CidrIp') or entry.get('CidrIpv6')}, port {_range(entry)}"
        for group in own.named(balancer, "Properties.SecurityGroups", SECURITY_GROUP)
        for entry in own.properties(group).get("SecurityGroupIngress", [])
        if entry.get("CidrIp") or entry.get("CidrIpv6")
    ]
    client = drawn.node("client", "Client", *(f"from {one}" for one in allowed), colour=0)
    before = client
    key = _key(balancer)
    for association in own.of_type("AWS::WAFv2::WebACLAssociation"):
        if not own.named(association, "Properties.ResourceArn", BALANCER):
            continue
        firewall = own.only(association, "Properties.WebACLArn", "AWS::WAFv2::WebACL")
        rules = len(own.properties(firewall).get("Rules", []))
        before = drawn.resource(firewall, "Firewall", f"{rules} rules")
        drawn.edge(client, before)
    drawn.edge(before, drawn.resource(balancer, "Load balancer", *lines))
    for listener in own.of_type(LISTENER):
        if _key(own.only(listener, "Properties.LoadBalancerArn", BALANCER)) == key:
            _draw_listener(drawn, listener, key)


def _draw_listener(drawn: _Drawn, listener: Resource, balancer: str) -> None:
    properties = drawn.own.properties(listener)
    lines = [properties["SslPolicy"]] if "SslPolicy" in properties else []
    for action in properties["DefaultActions"]:
        if action["Type"] == "fixed-response":
            lines.append(f"what no rule takes: {action['FixedResponseConfig']['StatusCode']}")
        elif action["Type"] == "redirect":
            to = action["RedirectConfig"]
            status = to["StatusCode"].removeprefix("HTTP_")
            lines.append(f"{status} to {to['Protocol']} {to['Port']}")
    title = f"Listener {properties['Protocol']} {properties['Port']}"
    drawn.edge(balancer, drawn.resource(listener, title, *lines))


def _draw_rule(drawn: _Drawn, rule: Resource) -> None:
    own = drawn.own
    properties = own.properties(rule)
    conditions = [
        f"{one['Field'].replace('-', ' ')} {' or '.join(_values(one))}"
        for one in properties["Conditions"]
    ]
    key = drawn.resource(rule, f"Rule {properties['Priority']}", *conditions)
    listener = own.only(rule, "Properties.ListenerArn", LISTENER)
    drawn.edge(_key(listener), key)
    for index, action in enumerate(properties["Actions"]):
        weighed = action.get("ForwardConfig", {}).get("TargetGroups", [])
        for place, one in enumerate(weighed):
            path = f"Properties.Actions.{index}.ForwardConfig.TargetGroups.{place}"
            target = own.only(rule, path, TARGETS)
            drawn.edge(key, _draw_targets(drawn, target), f"weight {one.get('Weight', 1)}")
        if not weighed and "TargetGroupArn" in action:
            path = f"Properties.Actions.{index}.TargetGroupArn"
            drawn.edge(key, _draw_targets(drawn, own.only(rule, path, TARGETS)))


def _draw_targets(drawn: _Drawn, target: Resource) -> str:
    properties = drawn.own.properties(target)
    kind = {"instance": "instances and ports", "ip": "addresses of tasks"}
    lines = [
        f"of {kind.get(properties['TargetType'], properties['TargetType'])}",
        f"asks {properties['HealthCheckPath']} every {properties['HealthCheckIntervalSeconds']} s",
    ]
    seconds = _attributes(properties.get("TargetGroupAttributes")).get(
        "deregistration_delay.timeout_seconds"
    )
    lines += [f"drains for {seconds} s"] if seconds else []
    number = len(drawn.own.graph.stack(target.stack).of_type(TARGETS))
    own_name = f" {_short_id(target)}" if number > 1 else ""
    return drawn.resource(target, f"Target group{own_name}", *lines)


def _draw_service(drawn: _Drawn, service: Resource) -> None:
    own = drawn.own
    properties = own.properties(service)
    definition = own.only(service, "Properties.TaskDefinition", DEFINITION)
    mode = own.properties(definition).get("NetworkMode", "bridge")
    key = drawn.resource(
        service, _service_title(own, service), *_tasks(own, service), f"network mode {mode}"
    )
    containers = {
        f"{one['ContainerName']}, port {one['ContainerPort']}"
        for one in properties.get("LoadBalancers", [])
    }
    for target in own.named(service, "Properties.LoadBalancers", TARGETS):
        drawn.edge(_draw_targets(drawn, target), key, " and ".join(sorted(containers)))
    groups = own.named(service, "Properties.NetworkConfiguration", SECURITY_GROUP)
    for group in _instances(own, service):
        for template in own.named(group, "Properties", "AWS::EC2::LaunchTemplate"):
            groups = groups or own.named(template, "Properties", SECURITY_GROUP)
        ports = own.balancers_ports(groups)
        many = "ports" if len(ports) > 1 or "-" in "".join(ports) else "port"
        for zone in _draw_zones(drawn, group):
            drawn.edge(key, zone, f"{many} {' and '.join(ports)}" if ports else "")


def _draw_zones(drawn: _Drawn, group: Resource) -> list[str]:
    """Draw where the group's instances are, once; give the keys."""
    own = drawn.own
    stack = own.graph.stack(group.stack)
    keys = []
    for subnet in own.named(group, "Properties.VPCZoneIdentifier", SUBNET):
        properties = own.properties(subnet)
        title = str(properties.get("AvailabilityZone", _short_id(subnet)))
        keys.append(
            drawn.node(
                f"{_key(group)} in {_key(subnet)}", title, "container instances",
                f"in {properties['CidrBlock']}",
                tag=own.short(stack), colour=own.colour(stack),
            )
        )  # fmt: skip
    frame = Frame(f"{_group_title(own, group)}: {_size(own, group)}", tuple(keys))
    if keys and frame not in drawn.frames:
        drawn.frames.append(frame)
    return keys


def _draw_rollout(drawn: _Drawn, service: Resource) -> None:
    """Draw how one service's image and tasks come to be."""
    own = drawn.own
    definition = own.only(service, "Properties.TaskDefinition", DEFINITION)
    containers = own.properties(definition)["ContainerDefinitions"]
    named = ", ".join(str(one["Name"]) for one in containers)
    task = drawn.resource(definition, f"Task definition of {named}")
    drawn.edge("cloudformation", task)
    images = own.graph.stack(service.stack).assets().get("dockerImages", {})
    repositories = []
    for asset, image in images.items():
        for to in image["destinations"].values():
            repository = _repository(own, to["repositoryName"])
            repositories.append(repository)
            properties = own.properties(repository)
            lines = [f"tags are {properties.get('ImageTagMutability', 'MUTABLE').lower()}"]
            if is_true(properties.get("ImageScanningConfiguration", {}).get("ScanOnPush")):
                lines.append("scanned when pushed")
            stored = drawn.resource(repository, f"Repository {to['repositoryName']}", *lines)
            tag = "the tag is the source's hash" if to["imageTag"] == asset else to["imageTag"]
            platform = image["source"].get("platform", "any platform")
            source = drawn.node(
                f"source {service.stack}", f"Source of {named}", f"for {platform}", tag,
                colour=0,
            )  # fmt: skip
            drawn.edge(source, "cli", "builds the image")
            publisher = _publisher(own, to.get("assumeRoleArn", ""))
            if publisher:
                drawn.edge("cli", drawn.resource(*publisher), "assumes")
                drawn.edge(_key(publisher[0]), stored, "pushes")
            else:
                drawn.edge("cli", stored, "pushes")
            if any(_names(one["Image"], to) for one in containers):
                drawn.edge(stored, task, "the image's tag")
    key = drawn.resource(service, _service_title(own, service), *_strategy(own, service))
    drawn.edge(task, key, "the new revision")
    for target in own.named(service, "Properties.LoadBalancers", TARGETS):
        drawn.edge(key, _draw_targets(drawn, target), "registers, deregisters")
    for group in _instances(own, service):
        instances = drawn.resource(group, "Container instances", _size(own, group))
        drawn.edge(key, instances, "starts, stops tasks")
        for repository in repositories:
            drawn.edge(_key(repository), instances, "layers")


def _repository(own: _Environment, name: str) -> Resource:
    for repository in own.of_type("AWS::ECR::Repository"):
        if own.properties(repository).get("RepositoryName") == name:
            return repository
    raise TemplateError(f"{own.name}: expected the repository {name} of an image, got none")


def _publisher(own: _Environment, arn: str) -> tuple[Resource, str] | None:
    """Give the role of ours that pushes, and its name; None where it is the bootstrap's."""
    for role in own.of_type("AWS::IAM::Role"):
        name = own.properties(role).get("RoleName")
        if name and arn.endswith(f":role/{name}"):
            return role, f"Role {name}"
    return None


def _names(image: str, destination: dict[str, str]) -> bool:
    return image.endswith(f"/{destination['repositoryName']}:{destination['imageTag']}")


def _strategy(own: _Environment, service: Resource) -> list[str]:
    properties = own.properties(service)
    how = properties.get("DeploymentConfiguration", {})
    least, most = how.get("MinimumHealthyPercent", 100), how.get("MaximumPercent", 200)
    lines = [
        how.get("Strategy", "ROLLING").lower().replace("_", " "),
        f"{least} to {most} per cent of the tasks",
    ]
    breaker = how.get("DeploymentCircuitBreaker", {})
    if is_true(breaker.get("Enable")):
        count = breaker.get("ThresholdConfiguration", {}).get("Value")
        after = f" after {count} failures" if count else ""
        back = "rolled back" if is_true(breaker.get("Rollback")) else "stopped"
        lines.append(f"{back} by the circuit breaker{after}")
    alarms = own.named(
        service, "Properties.DeploymentConfiguration.Alarms", "AWS::CloudWatch::Alarm"
    )
    if alarms:
        back = "rolled back" if is_true(how["Alarms"].get("Rollback")) else "stopped"
        lines.append(f"{back} by {' or '.join(_short_id(one) for one in alarms)}")
    return lines


def _service_title(own: _Environment, service: Resource) -> str:
    return f"Service {own.short(own.graph.stack(service.stack))}"


def _tasks(own: _Environment, service: Resource) -> list[str]:
    for target in own.of_type(SCALING):
        if any(
            _key(one) == _key(service)
            for one in own.named(target, "Properties.ResourceId", SERVICE)
        ):
            properties = own.properties(target)
            return [f"{properties['MinCapacity']} to {properties['MaxCapacity']} tasks"]
    count = own.properties(service).get("DesiredCount")
    return [] if count is None else [f"{count} tasks"]


def _instances(own: _Environment, service: Resource) -> list[Resource]:
    """Give the Auto Scaling groups behind a service's capacity providers."""
    providers = own.named(
        service, "Properties.CapacityProviderStrategy", "AWS::ECS::CapacityProvider"
    )
    return [
        group
        for provider in providers
        for group in own.named(provider, "Properties.AutoScalingGroupProvider", GROUP)
    ]


def _group_title(own: _Environment, group: Resource) -> str:
    several = len(list(own.of_type(GROUP))) > 1
    return f"Auto Scaling group {_short_id(group)}" if several else "Auto Scaling group"


def _size(own: _Environment, group: Resource) -> str:
    properties = own.properties(group)
    mixed = properties.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    types = [one["InstanceType"] for one in mixed.get("Overrides", []) if "InstanceType" in one]
    for template in own.named(group, "Properties", "AWS::EC2::LaunchTemplate"):
        kind = own.properties(template).get("LaunchTemplateData", {}).get("InstanceType")
        types = types or ([kind] if kind else [])
    return f"{properties['MinSize']} to {properties['MaxSize']} of {' or '.join(types)}"


def _in_zones(own: _Environment, subnets: Iterable[Resource]) -> list[str]:
    zones = [str(own.properties(one).get("AvailabilityZone", _short_id(one))) for one in subnets]
    return [f"in {', '.join(zones)}"] if zones else []


def _attributes(listed: list[dict[str, str]] | None) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in listed or []}


def _values(condition: dict[str, Any]) -> list[str]:
    found = condition.get("Values")
    for inner in condition.values():
        if isinstance(inner, dict) and "Values" in inner:
            found = inner["Values"]
    return [str(one) for one in found or []]


def _range(rule: dict[str, Any]) -> str:
    low, high = rule.get("FromPort"), rule.get("ToPort")
    return f"{low}" if low == high else f"{low}-{high}"


def _key(resource: Resource) -> str:
    return f"{resource.stack}.{resource.logical_id}"


def _short_id(resource: Resource) -> str:
    """Give a logical id without the hash that the CDK puts behind it."""
    name, end = resource.logical_id[:-8], resource.logical_id[-8:]
    is_hash = bool(name) and set(end) <= set("0123456789ABCDEF")
    return name if is_hash else resource.logical_id
