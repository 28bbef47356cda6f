"""Reads what a load balancer's target group and listener say of a service.

Source, read 2026-11-25: the API reference of Elastic Load Balancing, CreateTargetGroup, for the
defaults and for what counts as healthy:
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
The defaults of interval, timeout and deregistration delay are on
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from labs.kubernetes.fields import Fields
from templates import Graph, Resource, TemplateError, Value

TARGET_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup"
RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
CERTIFICATE = "AWS::CertificateManager::Certificate"
FIREWALL = "AWS::WAFv2::WebACLAssociation"


@dataclass(frozen=True)
class Target:
    """A target group, and the container and port by which the service's tasks join it.

    All times are in seconds; `codes` are the HTTP codes that count as healthy, like 200-299.
    """

    resource: Resource
    container: str
    container_port: int
    port: int
    protocol: str
    check_protocol: str
    check_port: int | None
    path: str
    interval: int
    timeout: int
    healthy: int
    unhealthy: int
    codes: str
    deregistration: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A listener rule that leads to a target group, and the listener that it stands on."""

    where: str
    priority: int | None
    paths: tuple[str, ...]
    hosts: tuple[str, ...]
    other_conditions: tuple[str, ...]
    listener: Resource


def target_of(graph: Graph, service: Resource, balancers: list[Fields]) -> Target | None:
    """Read the first target group that a service's tasks join; None without a load balancer."""
    if not balancers:
        return None
    first = balancers[0]
    container, port = first.text("ContainerName"), first.number("ContainerPort", low=1)
    if container is None or port is None:
        raise first.error("ContainerName", "a container and its port", (container, port))
    found = [
        graph.stacks[one.stack].resources[one.logical_id]
        for one in graph.references(service)
        if one.path == "Properties.LoadBalancers.0.TargetGroupArn"
    ]
    if len(found) != 1 or found[0].type != TARGET_GROUP:
        raise first.error(
            "TargetGroupArn", "a target group of the assembly", first.any("TargetGroupArn")
        )
    first.any("TargetGroupArn")
    return _target(graph, found[0], container, port)


def _target(graph: Graph, resource: Resource, container: str, container_port: int) -> Target:
    where = f"{resource.stack}: {resource.logical_id}"
    fields = Fields(graph.properties(resource), where)
    attributes = {
        str(one.any("Key")): str(one.any("Value")) for one in fields.parts("TargetGroupAttributes")
    }
    protocol = fields.text("Protocol") or "HTTP"
    check_port = fields.any("HealthCheckPort") or "traffic-port"
    delay = attributes.get("deregistration_delay.timeout_seconds", "300")
    if not delay.isdecimal():
        raise fields.error("TargetGroupAttributes", "a delay in seconds", delay)
    return Target(
        resource=resource,
        container=container,
        container_port=container_port,
        port=fields.counted("Port", 80, low=1),
        protocol=protocol,
        check_protocol=fields.text("HealthCheckProtocol") or protocol,
        check_port=None if check_port == "traffic-port" else int(check_port),
        path=fields.text("HealthCheckPath") or "/",
        interval=fields.counted("HealthCheckIntervalSeconds", 30, low=1),
        timeout=fields.counted("HealthCheckTimeoutSeconds", 5, low=1),
        healthy=fields.counted("HealthyThresholdCount", 5, low=1),
        unhealthy=fields.counted("UnhealthyThresholdCount", 2, low=1),
        codes=str(fields.part("Matcher").any("HttpCode") or "200"),
        deregistration=int(delay),
        attributes=attributes,
    )


def routes_to(graph: Graph, target: Resource) -> Iterator[Route]:
    """Give the listener rules, and the listeners' own actions, that forward to a target group."""
    key = (target.stack, target.logical_id)
    for kind in (RULE, LISTENER):
        for resource in graph.resources(kind):
            leads = any(
                (one.stack, one.logical_id) == key and "Actions" in one.path
                for one in graph.references(resource)
            )
            if leads:
                yield _route(graph, resource)


def _route(graph: Graph, resource: Resource) -> Route:
    where = f"{resource.stack}: {resource.logical_id}"
    if resource.type == LISTENER:
        return Route(where, None, ("/*",), (), (), resource)
    fields = Fields(graph.properties(resource), where)
    paths: list[str] = []
    hosts: list[str] = []
    others: list[str] = []
    for condition in fields.parts("Conditions"):
        kind = condition.text("Field")
        values = condition.texts("Values")
        if kind == "path-pattern":
            paths += values + condition.part("PathPatternConfig").texts("Values")
        elif kind == "host-header":
            hosts += values + condition.part("HostHeaderConfig").texts("Values")
        else:
            others.append(str(kind))
    listener = referred(graph, resource, "Properties.ListenerArn", LISTENER)
    if listener is None:
        raise fields.error("ListenerArn", "a listener of the assembly", fields.any("ListenerArn"))
    priority = fields.number("Priority", low=1)
    return Route(where, priority, tuple(paths) or ("/*",), tuple(hosts), tuple(others), listener)


def referred(graph: Graph, resource: Resource, path: str, kind: str) -> Resource | None:
    """Give the resource of a type that another names at a path or below it, if there is one."""
    for one in graph.references(resource):
        found = graph.stacks[one.stack].resources[one.logical_id]
        if found.type == kind and (one.path == path or one.path.startswith(f"{path}.")):
            return found
    return None


def listens(graph: Graph, listener: Resource) -> tuple[str, int]:
    """Give the protocol and the port of a listener."""
    fields = Fields(graph.properties(listener), f"{listener.stack}: {listener.logical_id}")
    return fields.text("Protocol") or "HTTP", fields.counted("Port", 80, low=1)


def redirects_to_https(graph: Graph, balancer: Resource) -> bool:
    """Say whether another listener of the load balancer answers HTTP with a redirect to HTTPS."""
    for one in graph.resources(LISTENER):
        if referred(graph, one, "Properties.LoadBalancerArn", LOAD_BALANCER) is not balancer:
            continue
        for action in graph.properties(one).get("DefaultActions") or []:
            configuration: Mapping[str, Value] = action.get("RedirectConfig") or {}
            if configuration.get("Protocol") == "HTTPS":
                return True
    return False


def probe(target: Target, port: str | int) -> dict[str, Any]:
    """Give the readiness probe that asks what the load balancer asks, as often and as patiently.

    Sources, read 2026-11-25: https://kubernetes.io/docs/concepts/workloads/pods/probes/ and the
    page above. A first check counts for a load balancer at once; a probe wants `successThreshold`
    of them also at the start (unverified: not on the page).
    """
    times = {
        "periodSeconds": target.interval,
        "timeoutSeconds": target.timeout,
        "successThreshold": target.healthy,
        "failureThreshold": target.unhealthy,
    }
    port = port if target.check_port is None else target.check_port
    if target.check_protocol in {"HTTP", "HTTPS"}:
        get: dict[str, Any] = {"path": target.path, "port": port}
        if target.check_protocol == "HTTPS":
            get["scheme"] = "HTTPS"
        return {"httpGet": get, **times}
    if target.check_protocol == "TCP":
        return {"tcpSocket": {"port": port}, **times}
    raise TemplateError(
        f"{target.resource.stack}: {target.resource.logical_id}.HealthCheckProtocol: "
        f"expected HTTP, HTTPS or TCP, got {target.check_protocol!r}"
    )
