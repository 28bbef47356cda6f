"""Reads the values of every environment from cdk.json, strictly; knows nothing of AWS's APIs."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

PLACEHOLDER_DOMAIN = "example.com"

Architecture = Literal["x86_64", "arm64"]
Egress = Literal["one-nat-gateway", "nat-gateway-per-az", "endpoints"]
NetworkMode = Literal["bridge", "awsvpc"]
Strategy = Literal["rolling", "blue-green", "canary", "linear"]
# In days; CloudWatch Logs keeps for such periods only.
Retention = Literal[1, 3, 7, 14, 30, 90, 180, 365, 731]

Percent = Annotated[int, Field(ge=1, le=100)]
# Words joined by single hyphens, since ECR refuses a repository's name with any other.
NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
# The ids of the stacks that every environment has, in lower case.
STACKS = {"network", "registry", "cluster", "ingress"}
# What the task definition sets itself.
VARIABLES = {"PORT", "DRAIN_SECONDS", "KEEP_ALIVE_SECONDS"}
# What the keys of the two mappings must be; JSON Schema has no place for a key's description.
KEYS = {
    "services": "a name of at most 20 lower-case letters and digits, in words joined by hyphens",
    "secrets": "an environment variable's name, in capitals, like API_KEY",
}


def _text(pattern: str, description: str) -> Any:  # noqa: ANN401 - what pydantic.Field itself returns
    """A string field whose errors say what is expected in our words."""
    return Field(pattern=pattern, description=description)


VpcId = Annotated[str, _text(r"^vpc-[0-9a-f]{8,17}$", "a VPC's id, like vpc-0a1b2c3d")]
SubnetId = Annotated[str, _text(r"^subnet-[0-9a-f]{8,17}$", "a subnet's id, like subnet-0a1b2c3d")]
ZoneName = Annotated[
    str,
    _text(r"^[a-z]{2}(-[a-z]+)+-\d[a-z]$", "an availability zone's name, like us-east-1a"),
]
InstanceType = Annotated[
    str,
    _text(r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$", "an EC2 instance type, like t3.small"),
]
Cidr = Annotated[str, _text(r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$", "an IPv4 range, like 10.0.0.0/16")]
CertificateArn = Annotated[
    str,
    _text(
        r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-f-]+$",
        "the ARN of an ACM certificate",
    ),
]
SecretArn = Annotated[
    str,
    _text(
        r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}$",
        "the complete ARN of a Secrets Manager secret",
    ),
]
UrlPath = Annotated[
    str, _text(r"^/[A-Za-z0-9._~/*?-]*$", "a path that begins with /, like /quotes/*")
]
Cron = Annotated[
    str,
    _text(
        r"^cron\(\S+( \S+){5}\)$",
        "a schedule of six fields, like cron(0 19 ? * MON-FRI *)",
    ),
]


class Settings(BaseModel):
    """What every group of values has in common: no unknown key, no coercion, no change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AlertSettings(Settings):
    """Who hears of alarms and of the budget."""

    email: Annotated[
        str, _text(r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "an e-mail address, like you@example.com")
    ]
    monthly_budget_usd: Annotated[int, Field(ge=1)]


class LogSettings(Settings):
    """How long logs are kept, and whether under a key of the account's own."""

    retention_days: Retention
    encrypted: bool


class ExistingVpc(Settings):
    """A VPC that somebody else owns; its subnets in the order of network.availability_zones."""

    vpc_id: VpcId
    public_subnet_ids: Annotated[tuple[SubnetId, ...], Field(min_length=2)]
    private_subnet_ids: Annotated[tuple[SubnetId, ...], Field(min_length=2)]


class NetworkSettings(Settings):
    """The VPC: one of its own, or `existing_vpc`, whose routes are its owner's business."""

    existing_vpc: ExistingVpc | None
    cidr: Cidr
    availability_zones: Annotated[tuple[ZoneName, ...], Field(min_length=2, max_length=3)]
    egress: Egress


class RegistrySettings(Settings):
    """The image repositories. `kms` is the key of the account's own that ECR keeps there."""

    encryption: Literal["aes256", "kms"]
    untagged_image_days: Annotated[int, Field(ge=1, le=365)]


class HostPorts(Settings):
    """The host ports, first to last, that the agent gives to tasks in bridge mode."""

    first: Annotated[int, Field(ge=1024, le=65535)]
    last: Annotated[int, Field(ge=1024, le=65535)]


class AgentSettings(Settings):
    """What the ECS agent on each container instance is told."""

    reserved_memory_mib: Annotated[int, Field(ge=0, le=4096)]
    task_pids_limit: Annotated[int, Field(ge=16, le=4096)]
    host_ports: HostPorts


class ClusterSettings(Settings):
    """The cluster and the container instances that it stands on."""

    ami: Annotated[
        str,
        _text(
            r"^al2023-ami-ecs-hvm-2023\.0\.\d{8}-kernel-\d+\.\d+-(x86_64|arm64)$",
            "the name of an ECS-optimized AL2023 image, "
            "like al2023-ami-ecs-hvm-2023.0.20261113-kernel-6.1-x86_64",
        ),
    ]
    architecture: Architecture
    instance_types: Annotated[tuple[InstanceType, ...], Field(min_length=1, max_length=10)]
    min_instances: Annotated[int, Field(ge=0, le=1000)]
    max_instances: Annotated[int, Field(ge=1, le=1000)]
    on_demand_base: Annotated[int, Field(ge=0, le=1000)]
    on_demand_percent: Annotated[int, Field(ge=0, le=100)]
    root_volume_gib: Annotated[int, Field(ge=30, le=1000)]
    max_instance_lifetime_days: Annotated[int, Field(ge=1, le=365)]
    detailed_monitoring: bool
    container_insights: Literal["disabled", "enabled", "enhanced"]
    target_capacity_percent: Percent
    termination_protection: bool
    eni_trunking: bool
    agent: AgentSettings


class Domain(Settings):
    """A name in a hosted zone of Route 53 that the balancer answers to."""

    name: Annotated[str, _text(r"^([a-z0-9-]+\.)+[a-z]{2,}$", "a domain name")]
    hosted_zone_id: Annotated[str, _text(r"^Z[A-Z0-9]{5,31}$", "a hosted zone's id, like Z0123456")]
    hosted_zone_name: Annotated[str, _text(r"^([a-z0-9-]+\.)+[a-z]{2,}$", "a domain name")]


class IngressSettings(Settings):
    """The load balancer. HTTPS where a certificate or a domain is set, HTTP otherwise."""

    allowed_cidrs: Annotated[tuple[Cidr, ...], Field(min_length=1)]
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=4000)]
    certificate_arn: CertificateArn | None
    domain: Domain | None
    waf: bool

    @property
    def https(self) -> bool:
        """Whether the balancer serves HTTPS and only redirects HTTP."""
        return self.certificate_arn is not None or self.domain is not None


class RouteSettings(Settings):
    """Which requests reach a service, and when one of its targets counts as healthy or gone."""

    path: UrlPath
    priority: Annotated[int, Field(ge=1, le=50000)]
    health_path: UrlPath
    deregistration_delay_seconds: Annotated[int, Field(ge=1, le=3600)]


class ConnectSettings(Settings):
    """Where other services reach this one through Service Connect: by its name, at this port."""

    port: Annotated[int, Field(ge=1024, le=65535)]
    request_timeout_seconds: Annotated[int, Field(ge=1, le=4000)]
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=4000)]


class ProxySettings(Settings):
    """What Service Connect's proxy gets in each task, on top of what the container gets."""

    cpu: Annotated[int, Field(ge=2, le=196608)]
    memory_mib: Annotated[int, Field(ge=6, le=1048576)]


class TaskSettings(Settings):
    """What one task gets, and how it starts and stops.

    CPU and memory are the container's; with a proxy the task gets its share as well.
    """

    network_mode: NetworkMode
    port: Annotated[int, Field(ge=1024, le=65535)]
    cpu: Annotated[int, Field(ge=2, le=196608)]
    memory_mib: Annotated[int, Field(ge=6, le=1048576)]
    memory_reservation_mib: Annotated[int, Field(ge=6, le=1048576)]
    proxy: ProxySettings | None
    health_command: Annotated[tuple[str, ...], Field(min_length=1)]
    drain_seconds: Annotated[int, Field(ge=0, le=110)]
    # A Spot interruption gives two minutes, and no task may be promised more.
    stop_timeout_seconds: Annotated[int, Field(ge=2, le=120)]
    keep_alive_seconds: Annotated[int, Field(ge=1, le=4000)]
    exec: bool
    secrets: Mapping[Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")], SecretArn]


class DeploymentSettings(Settings):
    """How a new version replaces the old one.

    Steps count for canary and linear only, the grace only where a balancer checks health.
    """

    strategy: Strategy
    step_percent: Annotated[int, Field(ge=3, le=50)]
    step_minutes: Annotated[int, Field(ge=0, le=1440)]
    bake_minutes: Annotated[int, Field(ge=0, le=1440)]
    breaker_failures: Annotated[int, Field(ge=1, le=200)]
    grace_seconds: Annotated[int, Field(ge=0, le=2147483)]


class Schedule(Settings):
    """When a service goes to sleep (no task) and wakes (its minimum)."""

    timezone: Annotated[str, _text(r"^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$", "an IANA time zone")]
    sleep: Cron
    wake: Cron


class ScalingSettings(Settings):
    """How many tasks, and what makes them more or fewer; requests only with a route."""

    min_tasks: Annotated[int, Field(ge=0, le=5000)]
    max_tasks: Annotated[int, Field(ge=1, le=5000)]
    cpu_percent: Percent
    requests_per_target_per_minute: Annotated[int, Field(ge=1)] | None
    schedule: Schedule | None


class ServiceSettings(Settings):
    """One microservice; its source is the folder of its name under service/.

    With a route it is reached through the balancer; with connect, by the services that call it.
    """

    route: RouteSettings | None
    connect: ConnectSettings | None
    calls: tuple[str, ...]
    task: TaskSettings
    deployment: DeploymentSettings
    scaling: ScalingSettings


class EnvironmentSettings(Settings):
    """Everything that differs between environments."""

    account: Annotated[str, _text(r"^\d{12}$", "an account id of 12 digits")] | None
    region: Annotated[
        str, _text(r"^[a-z]{2}(-[a-z]+)+-\d$", "the name of an AWS region, like us-east-1")
    ]
    prefix: Annotated[
        str,
        _text(
            r"^([a-z][a-z0-9]*(-[a-z0-9]+)*)?$",
            "nothing, or at most 12 lower-case letters and digits, in words joined by hyphens",
        ),
        Field(max_length=12),
    ]
    # By its name, path included, since that is the same in each learner's account.
    permissions_boundary: (
        Annotated[
            str,
            _text(r"^([\w+=,.@-]+/)*[\w+=,.@-]{1,128}$", "the name of an IAM policy, like Learner"),
        ]
        | None
    )
    retain_data: bool
    deletion_protection: bool
    alerts: AlertSettings
    logs: LogSettings
    network: NetworkSettings
    registry: RegistrySettings
    cluster: ClusterSettings
    ingress: IngressSettings
    services: Annotated[
        Mapping[Annotated[str, Field(pattern=NAME, max_length=20)], ServiceSettings],
        Field(min_length=1),
    ]

    @property
    def bridge_ports(self) -> HostPorts | None:
        """The host ports that the balancer must reach: none without a route to bridge mode."""
        routed = (service for service in self.services.values() if service.route)
        modes = {service.task.network_mode for service in routed}
        return self.cluster.agent.host_ports if "bridge" in modes else None

    @property
    def connect_ports(self) -> HostPorts | None:
        """The host ports that instances must reach on each other, for calls in bridge mode."""
        bridged = {
            name
            for name, service in self.services.items()
            if service.task.network_mode == "bridge" and self.called_from_instances(name)
        }
        return self.cluster.agent.host_ports if bridged else None

    @property
    def callees_first(self) -> list[str]:
        """The services' names, each after those that it calls."""
        return _callees_first(self.services)

    def called_from_instances(self, name: str) -> bool:
        """Whether a service in bridge mode calls that one, and so from the instances' address."""
        return any(
            name in service.calls and service.task.network_mode == "bridge"
            for service in self.services.values()
        )


class SettingsError(Exception):
    """Settings that cannot be used: a line a fault, with its place, value and expectation."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


def load(cdk_json: Path, local: Path | None = None) -> dict[str, EnvironmentSettings]:
    """Read every environment by name from cdk.json's context, with the local file's values over it.

    Raises SettingsError with all faults of every environment at once. A local file that does not
    exist changes nothing; in one that does, null and lists replace, and objects merge.
    """
    values = read(cdk_json).get("context", {})
    environments = values.get("environments") if isinstance(values, dict) else None
    if local is not None and local.exists():
        environments = merge(environments, read(local))
    return parse(environments)


def parse(environments: object) -> dict[str, EnvironmentSettings]:
    """Turn plain values, as JSON gives them, into settings by environment; see `load`."""
    if not isinstance(environments, dict) or not environments:
        raise SettingsError([_fault("environments", "an object with an environment", environments)])
    faults: list[str] = []
    parsed: dict[str, EnvironmentSettings] = {}
    for name, values in environments.items():
        if not re.fullmatch(r"[a-z][a-z0-9]{0,19}", name):
            faults.append(_fault(name, "a name of 1 to 20 lower-case letters and digits", name))
            continue
        try:
            parsed[name] = EnvironmentSettings.model_validate_json(json.dumps(values))
        except ValidationError as error:
            schema = EnvironmentSettings.model_json_schema()
            faults += [_explain(name, schema, detail) for detail in _innermost(error.errors())]
        else:
            faults += [f"{name}.{fault}" for fault in _contradictions(name, parsed[name])]
    if faults:
        # A union reports once for each of its members; the reader has one place to mend.
        raise SettingsError(list(dict.fromkeys(faults)))
    return parsed


def placeholders(settings: EnvironmentSettings) -> list[str]:
    """Name the values that may be synthesized but not deployed, each with what belongs there."""
    found = []
    if settings.alerts.email.endswith("@" + PLACEHOLDER_DOMAIN):
        found.append(_fault("alerts.email", "your own address", settings.alerts.email))
    domain = settings.ingress.domain
    if domain and f".{domain.name}".endswith("." + PLACEHOLDER_DOMAIN):
        found.append(_fault("ingress.domain.name", "a domain of your own", domain.name))
    if domain and domain.hosted_zone_id.endswith("EXAMPLE"):
        expected = "the id of your own hosted zone"
        found.append(_fault("ingress.domain.hosted_zone_id", expected, domain.hosted_zone_id))
    return found


def instance_architecture(instance_type: str) -> Architecture:
    """Tell an instance type's architecture by its name: a `g` after the generation means Graviton.

    Unverified: AWS's page on the names was not read. The test holds the families that are known.
    """
    family = instance_type.split(".")[0]
    return "arm64" if re.match(r"^(a1|[a-z]+\d+[a-z]*g[a-z]*)$", family) else "x86_64"


def _contradictions(name: str, settings: EnvironmentSettings) -> Iterator[str]:
    if re.match(r"aws|ecs|fargate", settings.prefix or name):
        # CreateCapacityProvider refuses these, and its name derives from the stack's.
        place = "prefix" if settings.prefix else "name"
        expected = "not to begin with aws, ecs or fargate, which ECS refuses in a capacity provider"
        yield _fault(place, expected, settings.prefix or name)
    yield from _network_contradictions(settings)
    yield from _cluster_contradictions(settings.cluster)
    yield from _ingress_contradictions(settings.ingress, settings.region)
    priorities: dict[int, str] = {}
    stack_ids: dict[str, str] = {}
    for service_name in settings.services:
        stack_id = service_name.title().replace("-", "")
        first = stack_ids.setdefault(stack_id, service_name)
        if first != service_name:
            expected = f"a name that differs from {first} in more than a hyphen"
            yield _fault(f"services.{service_name}", expected, service_name)
        if service_name in STACKS:
            expected = f"a name other than those of stacks, {', '.join(sorted(STACKS))}"
            yield _fault(f"services.{service_name}", expected, service_name)
    for service_name, service in settings.services.items():
        place = f"services.{service_name}"
        if service.route:
            taken = priorities.setdefault(service.route.priority, service_name)
            if taken != service_name:
                expected = f"a priority of its own, not that of {taken}"
                yield _fault(f"{place}.route.priority", expected, service.route.priority)
        for fault in (
            *_service_contradictions(service),
            *_route_contradictions(service, settings.ingress),
            *_connect_contradictions(service_name, service, settings.services),
        ):
            yield f"{place}.{fault}"


def _network_contradictions(settings: EnvironmentSettings) -> Iterator[str]:
    network = settings.network
    zones = network.availability_zones
    yield from _range_fault("network.cidr", network.cidr)
    if _is_range(network.cidr) and not 16 <= int(network.cidr.split("/")[1]) <= 22:
        yield _fault("network.cidr", "a prefix from /16 to /22, as subnets need", network.cidr)
    if len(set(zones)) != len(zones):
        yield _fault("network.availability_zones", "each zone once", list(zones))
    for index, zone in enumerate(zones):
        if zone[:-1] != settings.region:
            expected = f"a zone of {settings.region}"
            yield _fault(f"network.availability_zones.{index}", expected, zone)
    if network.existing_vpc:
        public, private = (
            set(network.existing_vpc.public_subnet_ids),
            set(network.existing_vpc.private_subnet_ids),
        )
        if public & private:
            expected = "no subnet that is also in public_subnet_ids"
            place = "network.existing_vpc.private_subnet_ids"
            yield _fault(place, expected, sorted(public & private))
        for kind in ("public_subnet_ids", "private_subnet_ids"):
            ids = getattr(network.existing_vpc, kind)
            if len(set(ids)) != len(zones):
                expected = f"{len(zones)} subnets, one for each of network.availability_zones"
                yield _fault(f"network.existing_vpc.{kind}", expected, list(ids))


def _cluster_contradictions(cluster: ClusterSettings) -> Iterator[str]:
    for index, instance_type in enumerate(cluster.instance_types):
        if instance_architecture(instance_type) != cluster.architecture:
            expected = f"a type of architecture {cluster.architecture}"
            yield _fault(f"cluster.instance_types.{index}", expected, instance_type)
        # By their absence from the list of
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/eni-trunking-supported-instance-types.html
        if cluster.eni_trunking and re.match(r"t[1-4]", instance_type):
            expected = "a type that supports cluster.eni_trunking, as no t1 to t4 does"
            yield _fault(f"cluster.instance_types.{index}", expected, instance_type)
    if not cluster.ami.endswith(cluster.architecture):
        yield _fault("cluster.ami", f"an image for {cluster.architecture}", cluster.ami)
    if cluster.min_instances > cluster.max_instances:
        expected = f"at most max_instances, {cluster.max_instances}"
        yield _fault("cluster.min_instances", expected, cluster.min_instances)
    ports = cluster.agent.host_ports
    if ports.first > ports.last:
        yield _fault("cluster.agent.host_ports.first", f"at most last, {ports.last}", ports.first)
    # 51678 to 51680 are the agent's own, which it never gives to a task.
    if ports.first <= 51680 and ports.last >= 51678:
        expected = "a range without the agent's own ports, 51678 to 51680"
        yield _fault("cluster.agent.host_ports", expected, [ports.first, ports.last])


def _ingress_contradictions(ingress: IngressSettings, region: str) -> Iterator[str]:
    if ingress.certificate_arn and ingress.certificate_arn.split(":")[3] != region:
        yield _fault("ingress.certificate_arn", f"one of {region}", ingress.certificate_arn)
    for index, cidr in enumerate(ingress.allowed_cidrs):
        yield from _range_fault(f"ingress.allowed_cidrs.{index}", cidr)
    domain = ingress.domain
    if domain and not f".{domain.name}".endswith(f".{domain.hosted_zone_name}"):
        expected = f"a name in hosted_zone_name, {domain.hosted_zone_name}"
        yield _fault("ingress.domain.name", expected, domain.name)


def _service_contradictions(service: ServiceSettings) -> Iterator[str]:
    task, scaling = service.task, service.scaling
    if task.drain_seconds >= task.stop_timeout_seconds:
        expected = f"less than stop_timeout_seconds, {task.stop_timeout_seconds}"
        yield _fault("task.drain_seconds", expected, task.drain_seconds)
    if task.memory_reservation_mib >= task.memory_mib:
        expected = f"less than memory_mib, {task.memory_mib}"
        yield _fault("task.memory_reservation_mib", expected, task.memory_reservation_mib)
    variables = VARIABLES | {url_variable(called) for called in service.calls}
    for variable in variables & set(task.secrets):
        expected = f"none of {', '.join(sorted(variables))}, which the task definition sets"
        yield _fault(f"task.secrets.{variable}", expected, variable)
    if scaling.min_tasks > scaling.max_tasks:
        expected = f"at most max_tasks, {scaling.max_tasks}"
        yield _fault("scaling.min_tasks", expected, scaling.min_tasks)


def _route_contradictions(service: ServiceSettings, ingress: IngressSettings) -> Iterator[str]:
    task, route, requests = (
        service.task,
        service.route,
        service.scaling.requests_per_target_per_minute,
    )
    place = "scaling.requests_per_target_per_minute"
    if route is None:
        if requests is not None:
            expected = "null, since without a route no balancer counts its requests"
            yield _fault(place, expected, requests)
        return
    if requests is None:
        yield _fault(place, "an integer of 1 or more, since it has a route", requests)
    if task.drain_seconds > route.deregistration_delay_seconds:
        delay = route.deregistration_delay_seconds
        expected = f"at most route.deregistration_delay_seconds, {delay}"
        yield _fault("task.drain_seconds", expected, task.drain_seconds)
    if task.keep_alive_seconds <= ingress.idle_timeout_seconds:
        # The balancer would reuse a connection that the service is just closing, and answer 502.
        expected = f"more than ingress.idle_timeout_seconds, {ingress.idle_timeout_seconds}"
        yield _fault("task.keep_alive_seconds", expected, task.keep_alive_seconds)
    if "*" in route.health_path or "?" in route.health_path:
        yield _fault("route.health_path", "a path without * and ?", route.health_path)


def _connect_contradictions(
    name: str, service: ServiceSettings, services: Mapping[str, ServiceSettings]
) -> Iterator[str]:
    task, connect = service.task, service.connect
    offering = ", ".join(one for one, other in services.items() if other.connect and one != name)
    for index, called in enumerate(service.calls):
        if called == name or called not in services or not services[called].connect:
            expected = f"another service with connect, one of {offering or 'none'}"
            yield _fault(f"calls.{index}", expected, called)
        elif called in service.calls[:index]:
            yield _fault(f"calls.{index}", "each service once", called)
        elif name in _called_by(called, services):
            # Each stack would have to be deployed after the other.
            yield _fault(f"calls.{index}", "a service that does not call this one in turn", called)
    connected = connect is not None or bool(service.calls)
    if connected and task.proxy is None:
        yield _fault("task.proxy", "an object, since the service has connect or calls", None)
    if not connected and task.proxy is not None:
        expected = "null, since the service has neither connect nor calls"
        yield _fault("task.proxy", expected, task.proxy.model_dump())
    if connect and connect.request_timeout_seconds > connect.idle_timeout_seconds:
        # The connection would end first, and its request with it. Source, read 2026-11-25:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
        expected = f"at most idle_timeout_seconds, {connect.idle_timeout_seconds}"
        yield _fault("connect.request_timeout_seconds", expected, connect.request_timeout_seconds)
    if connect and task.keep_alive_seconds <= connect.idle_timeout_seconds:
        # As with the balancer: who sends must be the one who ends an idle connection.
        expected = f"more than connect.idle_timeout_seconds, {connect.idle_timeout_seconds}"
        yield _fault("task.keep_alive_seconds", expected, task.keep_alive_seconds)
    strategy = service.deployment.strategy
    if strategy != "rolling" and service.route is None and connect is None:
        # ECS shifts traffic at a balancer or in Service Connect. Source, read 2026-11-25:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-implementation.html
        expected = "rolling, since there is no traffic to shift without route and connect"
        yield _fault("deployment.strategy", expected, strategy)


def _called_by(name: str, services: Mapping[str, ServiceSettings]) -> set[str]:
    """Give the services that one calls, and those that these call in turn."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        service = services.get(waiting.pop())
        more = set(service.calls) - found if service else set()
        found |= more
        waiting += more
    return found


def _callees_first(services: Mapping[str, ServiceSettings]) -> list[str]:
    ordered: list[str] = []

    def add(name: str) -> None:
        for called in services[name].calls:
            add(called)
        if name not in ordered:
            ordered.append(name)

    for name in services:
        add(name)
    return ordered


def url_variable(service: str) -> str:
    """Name the variable that tells a task where a service that it calls is, like QUOTES_URL."""
    return service.upper().replace("-", "_") + "_URL"


def _range_fault(place: str, cidr: str) -> Iterator[str]:
    if not _is_range(cidr):
        yield _fault(place, "an IPv4 range with no host bits set, like 10.0.0.0/16", cidr)


def _is_range(cidr: str) -> bool:
    try:
        ipaddress.IPv4Network(cidr)
    except ValueError:
        return False
    return True


def read(path: Path) -> dict[str, Any]:
    """Read a file of values; raises SettingsError for one that is no JSON object, or unreadable."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise SettingsError([f"{path.name}: expected a readable file, got: {error}"]) from None
    except ValueError as error:
        raise SettingsError([f"{path.name}: expected JSON, got: {error}"]) from None
    if not isinstance(values, dict):
        raise SettingsError([_fault(path.name, "an object", values)])
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the same key twice: {', '.join(twice)}")
    return values


def merge(base: object, over: object) -> object:
    """Lay values over others: objects merge, and null, lists and all else replace."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merge(base.get(key), value) for key, value in over.items()}
    return over


def _fault(place: str, expected: str, got: object) -> str:
    return f"{place}: expected {expected}, got {got!r}"


def _innermost(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what only follows: a list with a bad entry also counts as too short."""
    places = [error["loc"] for error in errors if error["loc"][-1:] != ("[key]",)]
    return [
        error
        for error in errors
        if not any(
            len(place) > len(error["loc"]) and place[: len(error["loc"])] == error["loc"]
            for place in places
        )
    ]


def _explain(environment: str, schema: Mapping[str, Any], error: ErrorDetails) -> str:
    """Say a pydantic error in our words: the place, what was expected there, what stood there."""
    keys = [str(part) for part in error["loc"] if part != "[key]"]
    place = ".".join([environment, *keys])
    if error["type"] == "extra_forbidden":
        known = ", ".join(_at(schema, schema, keys[:-1]).get("properties", {}))
        return f"{place}: unknown key; expected one of {known}"
    if error["type"] == "missing":
        return f"{place}: missing; expected {_describe(schema, _at(schema, schema, keys))}"
    if "[key]" in error["loc"]:
        return _fault(place, KEYS[keys[-2]], keys[-1])
    return _fault(place, _describe(schema, _at(schema, schema, keys)), error["input"])


def _at(root: Mapping[str, Any], schema: Mapping[str, Any], keys: list[str]) -> Mapping[str, Any]:
    """Walk the JSON schema to the part that describes the value at `keys`."""
    for key in keys:
        schema = _not_null(root, schema)
        by_pattern = schema.get("patternProperties", {})
        parts = (
            schema.get("properties", {}).get(key),
            schema.get("items"),
            schema.get("additionalProperties"),
            *by_pattern.values(),
        )
        schema = next((part for part in parts if isinstance(part, dict)), {})
    return _target(root, schema)


def _target(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        target: Mapping[str, Any] = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        return target
    return schema


def _not_null(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    return _target(root, options[0] if options else schema)


def _describe(root: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return f"{_describe(root, _not_null(root, schema))}, or null"
    schema = _target(root, schema)
    kind = schema.get("type")
    if kind == "object":
        return "an object"
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if kind == "array":
        return f"a list of {_counted(schema, 'minItems', 'maxItems')}each {_each(root, schema)}"
    if kind == "integer":
        return "an integer" + _bounds(schema)
    return {"boolean": "true or false", "string": "a string"}.get(str(kind), "a value")


def _each(root: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    return _describe(root, schema.get("items", {}))


def _counted(schema: Mapping[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    return f"{low or 0} to {high} entries, " if high else f"{low} or more entries, "


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of {low} or more" if low is not None else ""
