"""A target group and Service Connect become Services and an Ingress."""

from __future__ import annotations

from typing import Any

import pytest

import templates
from labs.kubernetes.environment import Service, translate
from templates import TemplateError
from tests.labs.conftest import Edited, container_of, one, said, service_of
from tests.labs.kubernetes.schemas import accepted

Values = dict[str, Any]
RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"
ALB = "alb.ingress.kubernetes.io"


def paths(service: Service) -> list[tuple[str, str]]:
    (rule,) = service.manifest("Ingress")["spec"]["rules"]
    return [(each["path"], each["pathType"]) for each in rule["http"]["paths"]]


def annotated(service: Service) -> Values:
    found: Values = service.manifest("Ingress")["metadata"]["annotations"]
    return {key.removeprefix(f"{ALB}/"): value for key, value in found.items()}


def test_the_service_has_the_balancers_port_before_the_pods(web: Service) -> None:
    spec = web.manifest("Service")["spec"]
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]


def test_the_ingress_routes_and_checks_as_the_balancer_does(web: Service) -> None:
    assert paths(web) == [("/", "Prefix")]
    found = annotated(web)
    assert found["healthcheck-path"] == "/health/ready"
    assert found["healthcheck-interval-seconds"] == "10"
    assert found["healthy-threshold-count"] == "2"
    assert found["success-codes"] == "200"
    assert found["listen-ports"] == '[{"HTTP": 80}]'
    assert found["scheme"] == "internet-facing"
    assert (found["group.name"], found["group.order"]) == ("sandbox", "100")
    assert "deregistration_delay.timeout_seconds=30" in found["target-group-attributes"]
    assert "idle_timeout.timeout_seconds=60" in found["load-balancer-attributes"]


def test_https_redirects_and_what_only_a_deployment_knows_is_yours(graph: templates.Graph) -> None:
    service = translate(graph, "production").service("web")
    found = annotated(service)
    assert found["listen-ports"] == '[{"HTTP": 80}, {"HTTPS": 443}]'
    assert found["ssl-redirect"] == "443"
    assert found["ssl-policy"].startswith("ELBSecurityPolicy-TLS13")
    assert "certificate-arn" not in found
    assert said(service, "Listener.Certificates").startswith("yours to create")
    assert "wafv2-acl-arn" in said(service, "LoadBalancer.WebAcl")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/quotes/*", ("/quotes", "Prefix")),
        ("/about", ("/about", "Exact")),
        ("/*.png", ("/*.png", "ImplementationSpecific")),
        ("*", ("/", "Prefix")),
    ],
)
def test_a_path_pattern_is_a_path(edited: Edited, pattern: str, expected: tuple[str, str]) -> None:
    def change(resources: Values) -> None:
        (condition,) = one(resources, RULE)["Conditions"]
        condition["PathPatternConfig"]["Values"] = [pattern]

    service = edited(change)
    accepted(service.manifests)
    assert paths(service) == [expected]


def test_hosts_are_rules_and_other_conditions_are_said(edited: Edited) -> None:
    def change(resources: Values) -> None:
        one(resources, RULE)["Conditions"] += [
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["a.example", "b.example"]}},
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
        ]
        one(resources, RULE)["Priority"] = 2000

    service = edited(change)
    accepted(service.manifests)
    rules = service.manifest("Ingress")["spec"]["rules"]
    assert [each["host"] for each in rules] == ["a.example", "b.example"]
    assert "source-ip" in said(service, "ListenerRule.Conditions")
    assert "group.order" not in annotated(service)
    assert "2000" in said(service, "ListenerRule.Priority")


def connected(resources: Values, *services: Values) -> None:
    container_of(resources)["PortMappings"][0]["Name"] = "api"
    service_of(resources)["ServiceConnectConfiguration"] = {
        "Enabled": True, "Namespace": "sandbox", "Services": list(services),
    }  # fmt: skip


def test_a_service_connect_name_is_a_service_beside_the_balancers(edited: Edited) -> None:
    alias = {"DnsName": "greetings", "Port": 8000}

    def change(resources: Values) -> None:
        connected(resources, {"PortName": "api", "ClientAliases": [alias]})

    service = edited(change)
    accepted(service.manifests)
    found = {
        each["metadata"]["name"]: each["spec"]["ports"]
        for each in service.manifests
        if each["kind"] == "Service"
    }
    assert [(one["port"], one["targetPort"]) for one in found["web"]] == [(80, "api")]
    assert [(one["port"], one["targetPort"]) for one in found["greetings"]] == [(8000, "api")]
    assert "outlier detection" in said(service, "ServiceConnectConfiguration")


def test_a_name_that_is_the_services_own_gets_both_ports(edited: Edited) -> None:
    def change(resources: Values) -> None:
        alias = {"DnsName": "web.sandbox", "Port": 8080}
        connected(resources, {"PortName": "api", "ClientAliases": [alias]})

    service = edited(change)
    accepted(service.manifests)
    ports = service.manifest("Service")["spec"]["ports"]
    assert [(one["port"], one["targetPort"]) for one in ports] == [(80, "api"), (8080, "api")]
    assert "namespace sandbox" in said(service, "ServiceConnectConfiguration")


def test_without_an_alias_the_name_is_the_one_that_is_discovered(edited: Edited) -> None:
    def change(resources: Values) -> None:
        connected(resources, {"PortName": "api", "DiscoveryName": "quotes"})

    names = [each["metadata"]["name"] for each in edited(change).manifests]
    assert "quotes" in names


def test_a_client_of_service_connect_needs_nothing(edited: Edited) -> None:
    service = edited(lambda resources: connected(resources))
    assert "a client needs nothing" in said(service, "ServiceConnectConfiguration")
    assert len([each for each in service.manifests if each["kind"] == "Service"]) == 1


def test_a_service_connect_port_that_is_not_there_is_refused(edited: Edited) -> None:
    def change(resources: Values) -> None:
        connected(resources, {"PortName": "grpc"})

    with pytest.raises(TemplateError, match=r"PortName: expected .* \(api\), got 'grpc'"):
        edited(change)


def test_a_target_group_that_no_rule_leads_to_has_no_ingress(edited: Edited) -> None:
    def change(resources: Values) -> None:
        rule = next(key for key, each in resources.items() if each["Type"] == RULE)
        del resources[rule]
        for each in resources.values():
            each["DependsOn"] = [name for name in each.get("DependsOn", []) if name != rule]

    service = edited(change)
    assert "Ingress" not in {each["kind"] for each in service.manifests}
    assert "no listener rule" in said(service, "LoadBalancers")
