"""Writes how requests reach a service's Pods: Services and the Ingress.

The Ingress is written for the AWS Load Balancer Controller, which makes the same kind of load
balancer; its annotations carry what an Ingress has no field for. Sources, read 2026-11-25:
https://kubernetes.io/docs/concepts/services-networking/ingress/ and
https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectClientAlias.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labs.kubernetes import names
from labs.kubernetes.fields import Fields
from labs.kubernetes.notes import ALB_CONTROLLER, CONCEPTS, Notes
from labs.kubernetes.pods import Ports
from labs.kubernetes.target import (
    CERTIFICATE,
    FIREWALL,
    LOAD_BALANCER,
    Route,
    Target,
    listens,
    redirects_to_https,
    referred,
    routes_to,
)
from templates import Graph, Resource, TemplateError, Unresolved, Value

Manifest = dict[str, Any]

ANNOTATION = "alb.ingress.kubernetes.io"
# The controller takes an order from 1 to 1000.
MAXIMUM_ORDER = 1000
PAGE_INGRESS = f"{CONCEPTS}/services-networking/ingress/"
PAGE_SERVICE = f"{CONCEPTS}/services-networking/service/"
PAGE_DNS = f"{CONCEPTS}/services-networking/dns-pod-service/"


def services(
    properties: Mapping[str, Value],
    *,
    where: str,
    name: str,
    labels: Mapping[str, str],
    ports: Ports,
    target: Target | None,
    notes: Notes,
) -> list[Manifest]:
    """Give a Service for the load balancer's port and one for each Service Connect name.

    The service's own name is the load balancer's; where a Service Connect name is the same, one
    Service has both ports.
    """
    found: dict[str, dict[int, Manifest]] = {}
    if target is not None:
        port = ports.name(target.container, target.container_port, where)
        _expose(found, name, target.port, port, where)
    connect = Fields(properties.get("ServiceConnectConfiguration") or {}, where)
    if connect.flag("Enabled"):
        _connect(found, connect, ports, notes)
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "labels": dict(labels)},
            "spec": {"selector": dict(labels), "ports": list(exposed.values())},
        }
        for service, exposed in found.items()
    ]


def _expose(
    found: dict[str, dict[int, Manifest]], service: str, port: int, target: str, where: str
) -> None:
    exposed = found.setdefault(service, {})
    if port in exposed and exposed[port]["targetPort"] != target:
        raise TemplateError(
            f"{where}: expected one port of the Pod behind {service}:{port}, got "
            f"{exposed[port]['targetPort']} and {target}"
        )
    if port not in exposed:
        taken = {one["name"] for one in exposed.values()}
        own = target if target not in taken else f"port-{port}"
        exposed[port] = {"name": own, "port": port, "targetPort": target, "protocol": "TCP"}


def _connect(
    found: dict[str, dict[int, Manifest]], connect: Fields, ports: Ports, notes: Notes
) -> None:
    """Give each client alias the Service that answers under its name and port."""
    place = "ServiceConnectConfiguration"
    namespace = connect.any("Namespace")
    short = str(namespace).rpartition("/")[2]
    offered = connect.parts("Services")
    for one in offered:
        port_name = one.text("PortName") or ""
        if port_name not in ports.by_name:
            known = ", ".join(ports.by_name) or "none"
            raise one.error("PortName", f"the name of a port mapping ({known})", port_name)
        container, number, _ = ports.by_name[port_name]
        discovery = one.text("DiscoveryName") or port_name
        target = ports.name(container, number, one.where)
        # Without an alias its port is the container's (unverified).
        aliases = one.parts("ClientAliases") or [Fields({"Port": number}, one.where)]
        for alias in aliases:
            dns = alias.text("DnsName") or f"{discovery}.{short}"
            listening = alias.counted("Port", number, low=1)
            first, _, rest = dns.partition(".")
            _expose(found, names.label(first, f"{alias.where}.DnsName"), listening, target,
                    alias.where)  # fmt: skip
            if rest:
                notes.differs(
                    place,
                    f"{dns} is the Service {first} in a namespace {rest}: apply the manifests "
                    f"there, or ask for {first}",
                    PAGE_DNS,
                )
        if one.any("IngressPortOverride"):
            notes.none(f"{place}.IngressPortOverride", "there is no proxy with a port of its own")
        if one.any("Timeout"):
            notes.none(f"{place}.Timeout", "a Service has no timeout; a mesh or a route has")
        if one.any("Tls"):
            notes.none(f"{place}.Tls", "a Service encrypts nothing; a mesh would")
    notes.differs(
        place,
        "a Service is a name and an address for every Pod of the cluster, without the proxy "
        "beside each task: no retries, no outlier detection, no metrics"
        + ("" if offered else "; a client needs nothing for it"),
        PAGE_SERVICE,
    )


def ingress(
    graph: Graph,
    target: Target,
    *,
    environment: str,
    name: str,
    labels: Mapping[str, str],
    notes: Notes,
) -> Manifest | None:
    """Give the Ingress of the listener rules that lead to a target group; None without any."""
    routes = list(routes_to(graph, target.resource))
    if not routes:
        notes.none("LoadBalancers", "no listener rule leads there, so there is no Ingress")
        return None
    listeners = {(one.listener.stack, one.listener.logical_id) for one in routes}
    if len(listeners) > 1:
        notes.none("LoadBalancers", f"the rules of {routes[0].where} only: others listen elsewhere")
    route = routes[0]
    annotations = _listening(graph, route.listener, notes)
    annotations |= _group(environment, route, notes)
    annotations |= _checks(target)
    rules = []
    backend = {"service": {"name": name, "port": {"number": target.port}}}
    paths = [_path(pattern, notes) | {"backend": backend} for pattern in route.paths]
    for host in route.hosts or ("",):
        rule: Manifest = {"host": host} if host else {}
        rules.append(rule | {"http": {"paths": paths}})
    for condition in route.other_conditions:
        notes.none("ListenerRule.Conditions", f"not translated: {condition}", ALB_CONTROLLER)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "labels": dict(labels), "annotations": annotations},
        "spec": {"ingressClassName": "alb", "rules": rules},
    }


def _path(pattern: str, notes: Notes) -> Manifest:
    """Give a path pattern as a path; patterns that are neither whole nor a prefix stay patterns."""
    prefix = "/" if pattern in {"*", "/*"} else pattern.removesuffix("/*")
    if "*" in prefix or "?" in prefix:
        notes.differs(
            "ListenerRule.Conditions",
            f"what {pattern} matches is the controller's to say (unverified for this one)",
            f"{PAGE_INGRESS}#path-types",
        )
        return {"path": pattern, "pathType": "ImplementationSpecific"}
    if prefix == pattern:
        return {"path": pattern, "pathType": "Exact"}
    if prefix != "/":
        notes.differs(
            "ListenerRule.Conditions",
            f"the prefix {prefix} matches {prefix} itself too, {pattern} does not",
            f"{PAGE_INGRESS}#path-types",
        )
    return {"path": prefix, "pathType": "Prefix"}


def _group(environment: str, route: Route, notes: Notes) -> dict[str, str]:
    """Let the Ingresses of an environment share a load balancer, in the order of its rules."""
    found = {f"{ANNOTATION}/group.name": environment}
    if route.priority is None:
        return found
    if route.priority <= MAXIMUM_ORDER:
        found[f"{ANNOTATION}/group.order"] = str(route.priority)
    else:
        notes.none(
            "ListenerRule.Priority",
            f"{route.priority}: the controller takes an order up to {MAXIMUM_ORDER}",
            ALB_CONTROLLER,
        )
    return found


def _listening(graph: Graph, listener: Resource, notes: Notes) -> dict[str, str]:
    """Give what the load balancer is and where it listens, and note what only AWS has."""
    balancer = referred(graph, listener, "Properties.LoadBalancerArn", LOAD_BALANCER)
    if balancer is None:
        raise TemplateError(
            f"{listener.stack}: {listener.logical_id}.LoadBalancerArn: "
            "expected a load balancer of the assembly"
        )
    protocol, port = listens(graph, listener)
    ports = [{protocol: port}]
    found = {
        f"{ANNOTATION}/scheme": str(graph.properties(balancer).get("Scheme") or "internet-facing"),
        # A Pod has an address of its own in the VPC; an instance's port would be a second hop.
        f"{ANNOTATION}/target-type": "ip",
    }
    if protocol == "HTTPS":
        found |= _secure(graph, listener, notes)
        if redirects_to_https(graph, balancer):
            ports = [{"HTTP": 80}, *ports]
            found[f"{ANNOTATION}/ssl-redirect"] = str(port)
    found[f"{ANNOTATION}/listen-ports"] = json.dumps(ports)
    attributes = {
        str(one["Key"]): one["Value"]
        for one in graph.properties(balancer).get("LoadBalancerAttributes") or []
    }
    known = {
        key: value
        for key, value in attributes.items()
        if not key.startswith("access_logs.") and not isinstance(value, Unresolved)
    }
    if known:
        found[f"{ANNOTATION}/load-balancer-attributes"] = _map(known)
    if len(known) < len(attributes):
        notes.none(
            "LoadBalancer.AccessLogs",
            "a bucket of the other stack; the annotation load-balancer-attributes takes its name",
            ALB_CONTROLLER,
        )
    for one in graph.resources(FIREWALL):
        if referred(graph, one, "Properties.ResourceArn", LOAD_BALANCER) is balancer:
            notes.none(
                "LoadBalancer.WebAcl",
                "the annotation wafv2-acl-arn takes an ARN that only a deployment knows",
                ALB_CONTROLLER,
            )
    notes.differs(
        "LoadBalancers",
        "the AWS Load Balancer Controller, which is yours to install, makes the load balancer and "
        "its security group; with another controller the annotations mean nothing, and Kubernetes "
        "lets a new Pod count as ready before the load balancer does",
        ALB_CONTROLLER,
    )
    return found


def _secure(graph: Graph, listener: Resource, notes: Notes) -> dict[str, str]:
    fields = Fields(graph.properties(listener), f"{listener.stack}: {listener.logical_id}")
    found: dict[str, str] = {}
    if policy := fields.text("SslPolicy"):
        found[f"{ANNOTATION}/ssl-policy"] = policy
    for certificate in fields.parts("Certificates"):
        arn = certificate.text("CertificateArn") or ""
        if arn and not isinstance(arn, Unresolved):
            found[f"{ANNOTATION}/certificate-arn"] = arn
            continue
        own = referred(graph, listener, "Properties.Certificates", CERTIFICATE)
        domain = graph.properties(own).get("DomainName") if own else "the domain"
        notes.yours(
            "Listener.Certificates",
            f"the annotation certificate-arn with the certificate of {domain}: only a deployment "
            "knows its ARN",
            ALB_CONTROLLER,
        )
    return found


def _checks(target: Target) -> dict[str, str]:
    """Give the load balancer its health check again, which stays its own beside the Pod's probe."""
    found = {
        "healthcheck-path": target.path,
        "healthcheck-port": str(target.check_port or "traffic-port"),
        "healthcheck-protocol": target.check_protocol,
        "healthcheck-interval-seconds": str(target.interval),
        "healthcheck-timeout-seconds": str(target.timeout),
        "healthy-threshold-count": str(target.healthy),
        "unhealthy-threshold-count": str(target.unhealthy),
        "success-codes": target.codes,
    }
    if target.attributes:
        found["target-group-attributes"] = _map(target.attributes)
    return {f"{ANNOTATION}/{key}": value for key, value in found.items()}


def _map(values: Mapping[str, Value]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())
