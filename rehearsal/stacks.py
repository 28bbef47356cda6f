"""Plays CloudFormation: gives the resources of an environment their physical ids and outputs.

It creates nothing. What a resource does is played by others, by these ids; what is played by
nobody has an id too, so that references to it resolve.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from templates import Graph, Resource, Stack, TemplateError, Unresolved, Value

# The account that moto answers for.
ACCOUNT = "123456789012"
PARTITION = "aws"
# What is played, and by what. A type that stands in neither of the two tables is named as unknown.
PLAYED = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "the bounds of a service's tasks",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "target tracking",
    "AWS::AutoScaling::AutoScalingGroup": "container instances",
    "AWS::CloudWatch::Alarm": "alarms on the balancer's counts",
    "AWS::EC2::LaunchTemplate": "the agent's settings",
    "AWS::EC2::Subnet": "availability zones",
    "AWS::EC2::VPC": "addresses",
    "AWS::ECR::Repository": "the images' names",
    "AWS::ECS::CapacityProvider": "managed scaling and draining",
    "AWS::ECS::Cluster": "the cluster",
    "AWS::ECS::ClusterCapacityProviderAssociations": "the cluster",
    "AWS::ECS::Service": "services",
    "AWS::ECS::TaskDefinition": "tasks",
    "AWS::ElasticLoadBalancingV2::Listener": "the load balancer",
    "AWS::ElasticLoadBalancingV2::ListenerRule": "the load balancer",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "the load balancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "the load balancer",
    "AWS::Logs::LogGroup": "the containers' logs",
    "AWS::ServiceDiscovery::HttpNamespace": "Service Connect's names",
}
# What plays no part because nobody plays these.
NOT_PLAYED = {
    "AWS::Budgets::": "nothing is paid for",
    "AWS::CertificateManager::": "the balancer speaks plain HTTP",
    "AWS::CloudFormation::CustomResource": "no function runs",
    "AWS::CloudWatch::Dashboard": "there is no dashboard",
    "AWS::EC2::": "no route, gateway, endpoint or security group holds anything back",
    "AWS::Events::": "no event is sent",
    "AWS::IAM::": "no permission is checked",
    "AWS::KMS::": "nothing is encrypted",
    "AWS::Lambda::": "no function runs",
    "AWS::Logs::": "logs are not kept after the rehearsal",
    "AWS::Route53::": "no name leads here",
    "AWS::S3::": "the balancer writes no access log",
    "AWS::SNS::": "nobody is written to",
    "AWS::SSM::": "no parameter is looked up",
    "AWS::WAFv2::": "no firewall looks at requests",
    "Custom::": "no function runs",
}


@dataclass
class StackRecord:
    """One stack as CloudFormation would list it."""

    stack: Stack
    id: str
    outputs: dict[str, Value] = field(default_factory=dict)
    physical: dict[str, str] = field(default_factory=dict)


class Stacks:
    """The stacks of one environment, and what is known of them as if they were deployed.

    `known` is what templates.Graph.resolve wants. Ids are derived from the names, so that the same
    environment has the same ones each time; a task definition gets a new revision, and a launch
    template a new version, only when its properties change.
    """

    def __init__(self, environment: str, *, region: str, address: str) -> None:
        self.environment = environment
        self.region = region
        self.address = address
        self.known: dict[str, Value] = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": PARTITION,
            "AWS::Region": region,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NotificationARNs": [],
        }
        self.records: dict[str, StackRecord] = {}
        # By family: the digest of each revision's properties, the first one first.
        self.revisions: dict[str, list[str]] = {}
        self._versions: dict[str, list[str]] = {}
        # By task definition: the digest of what it declares, and its revision's ARN.
        self._declared: dict[str, tuple[str, str]] = {}

    def update(self, graph: Graph) -> None:
        """Take an assembly; raise TemplateError where it has no such environment."""
        stacks = graph.environment(self.environment)
        self.records = {}
        for stack in stacks:
            arn = self.arn("cloudformation", f"stack/{stack.name}/{_hex(stack.name, 32)}")
            self.records[stack.name] = StackRecord(stack, arn)
            for name, parameter in (stack.template.get("Parameters") or {}).items():
                if "Image::Id" in str(parameter.get("Type")):
                    self.known[f"{stack.name}.{name}"] = f"ami-{_hex(parameter['Default'], 17)}"
            for resource in stack.resources.values():
                self._name(graph, stack, resource)
        # These have ids that depend on what their properties say, and name the others.
        for resource in self.of_type("AWS::ECS::TaskDefinition"):
            self._revise(graph, graph.stacks[resource.stack], resource)
        for resource in self.of_type("AWS::EC2::LaunchTemplate"):
            self._version(graph, graph.stacks[resource.stack], resource)
        for record in self.records.values():
            self._describe(graph, record)

    def _describe(self, graph: Graph, record: StackRecord) -> None:
        stack = record.stack
        record.physical = {
            logical_id: str(self.known[f"{stack.name}.{logical_id}"])
            for logical_id in stack.resources
        }
        record.outputs = {
            name: graph.resolve(output["Value"], stack=stack.display_name, known=self.known)
            for name, output in (stack.template.get("Outputs") or {}).items()
        }

    def physical(self, resource: Resource) -> str:
        """Give what a Ref to a resource resolves to."""
        (name,) = (
            record.stack.name
            for record in self.records.values()
            if record.stack.display_name == resource.stack
        )
        return str(self.known[f"{name}.{resource.logical_id}"])

    def of_type(self, kind: str) -> Iterator[Resource]:
        """Give the environment's resources of one type."""
        for record in self.records.values():
            yield from record.stack.of_type(kind)

    def not_played(self) -> dict[str, str]:
        """Give the types that nobody plays, with what plays no part because of it."""
        found = {
            one.type: ""
            for record in self.records.values()
            for one in record.stack.resources.values()
            if one.type not in PLAYED
        }
        return {kind: _why_not(kind) for kind in sorted(found)}

    def register(self, family: str, properties: Mapping[str, Value]) -> str:
        """Give a family's next revision, or the one that says the same; its ARN."""
        digest = _digest(properties)
        revisions = self.revisions.setdefault(family, [])
        if not revisions or revisions[-1] != digest:
            revisions.append(digest)
        return self.arn("ecs", f"task-definition/{family}:{len(revisions)}")

    def next_revision(self, family: str) -> str:
        """Give a family's next revision, whatever it says; its ARN."""
        revisions = self.revisions.setdefault(family, [])
        revisions.append("")
        return self.arn("ecs", f"task-definition/{family}:{len(revisions)}")

    def _revise(self, graph: Graph, stack: Stack, resource: Resource) -> None:
        properties = graph.properties(resource, known=self.known)
        family = str(properties.get("Family") or f"{stack.name}{resource.logical_id}")
        # Others may have registered revisions of the family since: the template's own stays.
        key, digest = f"{stack.name}.{resource.logical_id}", _digest(properties)
        if self._declared.get(key, ("", ""))[0] != digest:
            self._declared[key] = digest, self.register(family, properties)
        self._set(stack, resource, self._declared[key][1])

    def _version(self, graph: Graph, stack: Stack, resource: Resource) -> None:
        properties = graph.properties(resource, known=self.known)
        digest = json.dumps(properties["LaunchTemplateData"], sort_keys=True, default=str)
        versions = self._versions.setdefault(f"{stack.name}.{resource.logical_id}", [])
        if not versions or versions[-1] != digest:
            versions.append(digest)
        self._set(stack, resource, f"lt-{_hex(resource.logical_id + stack.name, 17)}",
                  LatestVersionNumber=str(len(versions)), DefaultVersionNumber="1")  # fmt: skip

    def _name(self, graph: Graph, stack: Stack, resource: Resource) -> None:
        """Give a resource its Ref and the attributes that templates ask for."""
        made = f"{stack.name}-{resource.logical_id}-{_suffix(stack.name + resource.logical_id)}"
        naming = _Naming(self.region, stack.name, resource, made)
        if resource.type == "AWS::ECS::Service":
            arn = self.arn("ecs", f"service/{self._cluster(graph, stack, resource)}/{made}")
            self._set(stack, resource, arn, Name=made, ServiceArn=arn)
            return
        ref, attributes = _IDENTITIES.get(resource.type, _plain)(naming)
        if "DNSName" in attributes:
            attributes["DNSName"] = self.address
        self._set(stack, resource, ref, **attributes)

    def _cluster(self, graph: Graph, stack: Stack, service: Resource) -> str:
        """Give the name of a service's cluster, which may be named after it or before it."""
        for one in graph.references(service):
            other = graph.stacks[one.stack]
            if other.resources[one.logical_id].type == "AWS::ECS::Cluster":
                return f"{other.name}-{one.logical_id}-{_suffix(other.name + one.logical_id)}"
        named = service.properties.get("Cluster")
        if isinstance(named, str):
            return named
        raise TemplateError(
            f"{stack.path}: {service.logical_id}.Cluster: expected a cluster of the assembly"
        )

    def _set(self, stack: Stack, resource: Resource, ref: str, **attributes: Value) -> None:
        key = f"{stack.name}.{resource.logical_id}"
        self.known[key] = ref
        for name, value in attributes.items():
            if value is not None and not isinstance(value, Unresolved):
                self.known[f"{key}.{name}"] = value

    def arn(self, service: str, path: str) -> str:
        """Make an ARN of the environment's account and region."""
        return f"arn:{PARTITION}:{service}:{self.region}:{ACCOUNT}:{path}"


@dataclass(frozen=True)
class _Naming:
    """What a resource's ids are made of; `made` is the name that CloudFormation would give it."""

    region: str
    stack: str
    resource: Resource
    made: str

    @property
    def short(self) -> str:
        """The name as far as a load balancer's may go."""
        return self.made[:32].rstrip("-")

    @property
    def digits(self) -> str:
        return _hex(self.made, 17)

    def property(self, name: str, otherwise: str | None = None) -> Value:
        return self.resource.properties.get(name, otherwise)

    def arn(self, service: str, path: str) -> str:
        return f"arn:{PARTITION}:{service}:{self.region}:{ACCOUNT}:{path}"


_Identity = tuple[str, dict[str, Value]]


def _plain(one: _Naming) -> _Identity:
    kind = one.resource.type
    if kind.startswith("AWS::IAM::"):
        path = f"{kind.rpartition('::')[2].lower()}/{one.made}"
        return one.made, {"Arn": f"arn:{PARTITION}:iam::{ACCOUNT}:{path}", "RoleId": one.digits}
    service = kind.split("::")[1].lower()
    return one.made, {"Arn": one.arn(service, one.made), "Id": one.made, "Name": one.made}


def _load_balancer(one: _Naming) -> _Identity:
    full = f"app/{one.short}/{one.digits[:16]}"
    return one.arn("elasticloadbalancing", f"loadbalancer/{full}"), {
        "DNSName": "",
        "LoadBalancerFullName": full,
        "LoadBalancerName": one.short,
        "CanonicalHostedZoneID": "Z35SXDOTRQ7X7K",
    }


def _listener(one: _Naming) -> _Identity:
    of = "listener" if one.resource.type.endswith("Listener") else "listener-rule"
    balancer = f"app/{one.stack}/{_hex(one.stack, 16)}"
    arn = one.arn("elasticloadbalancing", f"{of}/{balancer}/{one.digits[:16]}")
    return arn, {"ListenerArn": arn, "RuleArn": arn}


def _target_group(one: _Naming) -> _Identity:
    full = f"targetgroup/{one.short}/{one.digits[:16]}"
    arn = one.arn("elasticloadbalancing", full)
    return arn, {"TargetGroupFullName": full, "TargetGroupName": one.short}


def _vpc(one: _Naming) -> _Identity:
    vpc, group = f"vpc-{one.digits}", f"sg-{one.digits}"
    cidr = one.property("CidrBlock")
    return vpc, {"VpcId": vpc, "CidrBlock": cidr, "DefaultSecurityGroup": group}


def _subnet(one: _Naming) -> _Identity:
    subnet = f"subnet-{one.digits}"
    return subnet, {"SubnetId": subnet, "AvailabilityZone": one.property("AvailabilityZone")}


def _repository(one: _Naming) -> _Identity:
    name = str(one.property("RepositoryName", one.made.lower()))
    uri = f"{ACCOUNT}.dkr.ecr.{one.region}.amazonaws.com/{name}"
    return name, {"Arn": one.arn("ecr", f"repository/{name}"), "RepositoryUri": uri}


def _topic(one: _Naming) -> _Identity:
    arn = one.arn("sns", one.made)
    return arn, {"TopicArn": arn, "TopicName": one.made}


def _log_group(one: _Naming) -> _Identity:
    name = str(one.property("LogGroupName", one.made))
    return name, {"Arn": one.arn("logs", f"log-group:{name}:*")}


def _alarm(one: _Naming) -> _Identity:
    name = str(one.property("AlarmName", one.made))
    return name, {"Arn": one.arn("cloudwatch", f"alarm:{name}")}


_IDENTITIES: Mapping[str, Callable[[_Naming], _Identity]] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::EC2::SecurityGroup": lambda one: (f"sg-{one.digits}", {"GroupId": f"sg-{one.digits}"}),
    "AWS::EC2::Subnet": _subnet,
    "AWS::EC2::VPC": _vpc,
    "AWS::ECR::Repository": _repository,
    "AWS::ECS::Cluster": lambda one: (one.made, {"Arn": one.arn("ecs", f"cluster/{one.made}")}),
    "AWS::ElasticLoadBalancingV2::Listener": _listener,
    "AWS::ElasticLoadBalancingV2::ListenerRule": _listener,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::ElasticLoadBalancingV2::TargetGroup": _target_group,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::SNS::Topic": _topic,
}


def _why_not(kind: str) -> str:
    found = [why for prefix, why in NOT_PLAYED.items() if kind.startswith(prefix)]
    return found[0] if found else "unknown here"


def _digest(properties: Mapping[str, Value]) -> str:
    text = json.dumps(properties, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _hex(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _suffix(text: str) -> str:
    """Give the 12 capitals and digits that CloudFormation puts behind a name."""
    number = int(hashlib.sha256(text.encode()).hexdigest(), 16)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    found = ""
    for _ in range(12):
        number, rest = divmod(number, len(letters))
        found += letters[rest]
    return found
