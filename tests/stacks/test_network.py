"""What NetworkStack promises."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Assembly

PRODUCTION = {"us-east-1a", "us-east-1b", "us-east-1c"}


def service(endpoint: dict[str, Any]) -> str:
    """Give the service's own part of an endpoint's service name."""
    name = endpoint["ServiceName"]
    text = name if isinstance(name, str) else str(name["Fn::Join"][1][-1])
    return text.removeprefix("com.amazonaws.us-east-1.").removeprefix(".")


def test_the_subnets_lie_in_the_zones_that_the_settings_name(synthesized: Assembly) -> None:
    subnets = synthesized.stack("Production/Network").all("AWS::EC2::Subnet")
    assert len(subnets) == 6
    assert {subnet["AvailabilityZone"] for subnet in subnets} == PRODUCTION


def test_no_subnet_gives_public_addresses_on_launch(synthesized: Assembly) -> None:
    for environment in ("Sandbox", "Production"):
        for subnet in synthesized.stack(f"{environment}/Network").all("AWS::EC2::Subnet"):
            assert subnet["MapPublicIpOnLaunch"] is False


def test_the_default_security_group_is_closed(synthesized: Assembly) -> None:
    assert synthesized.stack("Sandbox/Network").one("Custom::VpcRestrictDefaultSG")


def test_layers_come_from_s3_without_a_nat_gateways_price(synthesized: Assembly) -> None:
    endpoint = synthesized.stack("Sandbox/Network").one("AWS::EC2::VPCEndpoint")
    assert service(endpoint) == "s3"
    assert len(endpoint["RouteTableIds"]) == 4


def test_flow_logs_are_kept_as_long_as_the_settings_say(synthesized: Assembly) -> None:
    stack = synthesized.stack("Production/Network")
    assert stack.one("AWS::EC2::FlowLog")["TrafficType"] == "ALL"
    group = stack.one("AWS::Logs::LogGroup")
    assert group["RetentionInDays"] == 365
    assert group["KmsKeyId"]


@pytest.mark.parametrize(
    ("variant", "gateways"), [("Bluegreen", 0), ("Linear", 2), ("Prefixed", 1)]
)
def test_each_egress_has_its_nat_gateways(variants: Assembly, variant: str, gateways: int) -> None:
    stack = variants.stack(f"{variant}/Network")
    assert len(stack.resources("AWS::EC2::NatGateway")) == gateways
    routes = stack.all("AWS::EC2::Route")
    to_internet = [route for route in routes if "NatGatewayId" in route]
    assert len(to_internet) == (2 if gateways else 0)


def test_endpoints_reach_all_that_an_instance_calls(variants: Assembly) -> None:
    stack = variants.stack("Bluegreen/Network")
    endpoints = stack.all("AWS::EC2::VPCEndpoint")
    services = {service(endpoint) for endpoint in endpoints}
    assert services == {
        *("s3", "ecr.api", "ecr.dkr", "ecs", "ecs-agent", "ecs-telemetry", "kms", "logs"),
        *("secretsmanager", "ssm", "ssmmessages"),
    }
    interfaces = [one for one in endpoints if one["VpcEndpointType"] == "Interface"]
    assert all(len(one["SubnetIds"]) == 2 and one["PrivateDnsEnabled"] for one in interfaces)
    group = stack.one("AWS::EC2::SecurityGroup")
    (rule,) = group["SecurityGroupIngress"]
    assert (rule["CidrIp"], rule["FromPort"], rule["ToPort"]) == ("10.0.0.0/16", 443, 443)


def test_a_vpc_that_exists_is_only_referred_to(variants: Assembly) -> None:
    assert "Resources" not in variants.stack("Canary/Network").body
    group = variants.stack("Canary/Cluster").one("AWS::AutoScaling::AutoScalingGroup")
    assert group["VPCZoneIdentifier"] == ["subnet-0a1b2c03", "subnet-0a1b2c04"]
    balancer = variants.stack("Canary/Ingress").one("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert balancer["Subnets"] == ["subnet-0a1b2c01", "subnet-0a1b2c02"]
