"""What IngressStack promises."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Assembly

ENVIRONMENTS = ("Sandbox", "Production")


def attributes(assembly: Assembly, environment: str) -> dict[str, Any]:
    stack = assembly.stack(f"{environment}/Ingress")
    found = stack.one("AWS::ElasticLoadBalancingV2::LoadBalancer")["LoadBalancerAttributes"]
    return {one["Key"]: one["Value"] for one in found}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_malformed_requests_end_at_the_balancer(synthesized: Assembly, environment: str) -> None:
    found = attributes(synthesized, environment)
    assert found["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert found["routing.http.desync_mitigation_mode"] == "strictest"


@pytest.mark.parametrize(
    ("environment", "protected"), [("Sandbox", "false"), ("Production", "true")]
)
def test_deletion_protection_is_a_setting(
    synthesized: Assembly, environment: str, protected: str
) -> None:
    assert attributes(synthesized, environment)["deletion_protection.enabled"] == protected


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_requests_are_logged(synthesized: Assembly, environment: str) -> None:
    assert attributes(synthesized, environment)["access_logs.s3.enabled"] == "true"
    bucket = synthesized.stack(f"{environment}/Ingress").one("AWS::S3::Bucket")
    block = bucket["PublicAccessBlockConfiguration"]
    assert all(block.values())
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["ExpirationInDays"] == (7 if environment == "Sandbox" else 365)


def test_a_sandbox_takes_its_logs_along(synthesized: Assembly) -> None:
    stack = synthesized.stack("Sandbox/Ingress")
    ((_, bucket),) = stack.resources("AWS::S3::Bucket").items()
    assert bucket["DeletionPolicy"] == "Delete"
    assert stack.resources("Custom::S3AutoDeleteObjects")
    assert not synthesized.stack("Production/Ingress").resources("Custom::S3AutoDeleteObjects")


def test_the_balancer_reaches_exactly_the_agents_ports(synthesized: Assembly) -> None:
    stack = synthesized.stack("Sandbox/Ingress")
    for kind in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
        rule = stack.one(kind)
        assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (20000, 20255, "tcp")
    (group,) = stack.resources("AWS::EC2::SecurityGroup")
    source = stack.one("AWS::EC2::SecurityGroupIngress")["SourceSecurityGroupId"]
    assert source == {"Fn::GetAtt": [group, "GroupId"]}


def test_without_bridge_mode_no_port_of_an_instance_is_open(synthesized: Assembly) -> None:
    stack = synthesized.stack("Production/Ingress")
    assert not stack.resources("AWS::EC2::SecurityGroupIngress")
    assert not stack.resources("AWS::EC2::SecurityGroupEgress")


def test_a_sandbox_speaks_http(synthesized: Assembly) -> None:
    listener = synthesized.stack("Sandbox/Ingress").one("AWS::ElasticLoadBalancingV2::Listener")
    assert (listener["Port"], listener["Protocol"]) == (80, "HTTP")
    (action,) = listener["DefaultActions"]
    assert action["FixedResponseConfig"]["StatusCode"] == "404"


def test_production_speaks_https_and_redirects_to_it(synthesized: Assembly) -> None:
    stack = synthesized.stack("Production/Ingress")
    listeners = {one["Port"]: one for one in stack.all("AWS::ElasticLoadBalancingV2::Listener")}
    assert listeners[80]["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    assert listeners[443]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-Res-PQ")
    (certificate,) = stack.resources("AWS::CertificateManager::Certificate")
    assert listeners[443]["Certificates"] == [{"CertificateArn": {"Ref": certificate}}]
    assert stack.one("AWS::Route53::RecordSet")["Name"] == "drydock.example.com."


def test_a_certificate_that_exists_is_used_as_it_is(variants: Assembly) -> None:
    stack = variants.stack("Canary/Ingress")
    listeners = {one["Port"]: one for one in stack.all("AWS::ElasticLoadBalancingV2::Listener")}
    (certificate,) = listeners[443]["Certificates"]
    assert certificate["CertificateArn"].startswith("arn:aws:acm:us-east-1:111122223333:")
    assert not stack.resources("AWS::CertificateManager::Certificate")
    assert not stack.resources("AWS::Route53::RecordSet")


def test_only_the_allowed_ranges_come_in(synthesized: Assembly) -> None:
    for environment, ports in (("Sandbox", {80}), ("Production", {80, 443})):
        group = synthesized.stack(f"{environment}/Ingress").one("AWS::EC2::SecurityGroup")
        rules = group["SecurityGroupIngress"]
        assert {rule["FromPort"] for rule in rules} == ports
        assert {rule["CidrIp"] for rule in rules} == {"0.0.0.0/0"}


def test_production_has_a_firewall_that_logs_what_it_blocks(synthesized: Assembly) -> None:
    stack = synthesized.stack("Production/Ingress")
    acl = stack.one("AWS::WAFv2::WebACL")
    assert acl["Scope"] == "REGIONAL"
    assert [rule["Priority"] for rule in acl["Rules"]] == [0, 1, 2, 3]
    (balancer,) = stack.resources("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert stack.one("AWS::WAFv2::WebACLAssociation")["ResourceArn"] == {"Ref": balancer}
    (group,) = stack.all("AWS::Logs::LogGroup")
    assert group["LogGroupName"].startswith("aws-waf-logs-")
    assert not synthesized.stack("Sandbox/Ingress").resources("AWS::WAFv2::WebACL")
