"""The synthesized templates, created in moto in their order, and the resources that came of it.

moto plays CloudFormation to a degree. What it cannot is named here, so that nobody believes more
than was proved; asserted are resources through boto3, never a stack's status.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.conftest import Assembly, Values

# moto refuses these outright, so the test takes them out of its copy of a template.
REFUSED = {
    "Custom::VpcRestrictDefaultSG": "a custom resource of this name",
    "AWS::CloudFormation::CustomResource": "a function that it would have to run",
    "Custom::S3AutoDeleteObjects": "a custom resource of this name",
    "AWS::Route53::RecordSet": "a record in a zone that it does not know",
    "AWS::Lambda::Function": "code that the CDK CLI would have uploaded",
}
REFUSED_PROPERTIES = {("AWS::KMS::Key", "Tags"): "it expects TagKey where CloudFormation has Key"}
# Of what it creates it drops these: scanning of a repository, a task definition's network mode,
# and of a service its load balancers, circuit breaker, placement, grace period and Service Connect.
# moto passes these types by with a log line: the templates declare them, no resource comes of it.
LEFT_OUT = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CertificateManager::Certificate",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::ECS::CapacityProvider",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::S3::BucketPolicy",
    "AWS::ServiceDiscovery::HttpNamespace",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::WAFv2::LoggingConfiguration",
    "AWS::WAFv2::WebACL",
    "AWS::WAFv2::WebACLAssociation",
}
# What only such a resource could give, and other stacks import; resolved by hand.
BY_HAND = {
    r'{"Fn::GetAtt": \["[^"]*DiscoveryNamespace[^"]*", "Arn"\]}': "made-by-hand",
    r'{"Fn::ImportValue": "[^"]*CapacityProvider[^"]*"}': "made-by-hand",
    r'{"Fn::GetAtt": \["[^"]*", "TargetGroupFullName"\]}': "targetgroup/made-by-hand/0",
}
# moto knows other images, and lets nobody write below /aws; the defaults name these instead.
PARAMETERS = {"image": "ami-12345678", "bootstrap": "30"}
STACKS = ("Network", "Registry", "Cluster", "Ingress", "Quotes", "Web")


class Deployed:
    """What moto made of one environment."""

    def __init__(self, environment: str, unsupported: set[str]) -> None:
        self.environment = environment
        self.unsupported = unsupported

    def resources(self, stack: str, kind: str) -> list[str]:
        """Give the physical ids of a stack's resources of one type."""
        with warnings.catch_warnings():  # moto warns again of every type that it passes by
            warnings.simplefilter("ignore")
            listed = boto3.client("cloudformation").list_stack_resources(
                StackName=f"{self.environment}-{stack}"
            )["StackResourceSummaries"]
        return [one["PhysicalResourceId"] for one in listed if one["ResourceType"] == kind]


def for_moto(template: Values, certificate: str) -> Values:
    """Copy a template without what moto refuses, and with what it cannot resolve filled in."""
    text = json.dumps(template)
    for pattern, value in BY_HAND.items():
        text = re.sub(pattern, json.dumps(value), text)
    copy: Values = json.loads(text)
    for parameter in copy.get("Parameters", {}).values():
        parameter["Default"] = "image" if "Image::Id" in parameter["Type"] else "bootstrap"
    for name, resource in list(copy.get("Resources", {}).items()):
        if resource["Type"] in REFUSED:
            del copy["Resources"][name]
        for kind, key in REFUSED_PROPERTIES:
            if resource["Type"] == kind:
                resource["Properties"].pop(key, None)
        if resource["Type"] == "AWS::ElasticLoadBalancingV2::Listener":
            for one in resource["Properties"].get("Certificates", []):
                one["CertificateArn"] = certificate
    return copy


@pytest.fixture(scope="module", params=["Sandbox", "Production"])
def deployed(request: pytest.FixtureRequest, synthesized: Assembly) -> Iterator[Deployed]:
    logger = logging.getLogger("moto")
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    with mock_aws(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in PARAMETERS.items():
            boto3.client("ssm").put_parameter(Name=name, Value=value, Type="String")
        requested = boto3.client("acm").request_certificate(DomainName="drydock.example.com")
        client = boto3.client("cloudformation")
        for stack in STACKS:
            body = synthesized.stack(f"{request.param}/{stack}").body
            template = for_moto(body, requested["CertificateArn"])
            client.create_stack(
                StackName=f"{request.param}-{stack}",
                TemplateBody=json.dumps(template),
                Capabilities=["CAPABILITY_NAMED_IAM"],
            )
        unsupported = {line.split()[-1] for line in seen if "No Moto CloudFormation" in line}
        yield Deployed(request.param, unsupported)
    logger.removeHandler(handler)


def test_moto_leaves_out_only_what_is_named_here(deployed: Deployed) -> None:
    assert deployed.unsupported <= LEFT_OUT


def test_the_vpc_has_its_subnets_and_gateways(deployed: Deployed) -> None:
    client = boto3.client("ec2")
    (vpc,) = deployed.resources("Network", "AWS::EC2::VPC")
    subnets = client.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    zones = 2 if deployed.environment == "Sandbox" else 3
    assert len(subnets) == 2 * zones
    assert len({one["AvailabilityZone"] for one in subnets}) == zones
    assert not any(one["MapPublicIpOnLaunch"] for one in subnets)
    gateways = client.describe_nat_gateways(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    assert len(gateways["NatGateways"]) == (1 if zones == 2 else 3)


def test_the_repositories_are_immutable(deployed: Deployed) -> None:
    found = boto3.client("ecr").describe_repositories()["repositories"]
    environment = deployed.environment.lower()
    names = {one["repositoryName"] for one in found}
    assert names == {f"{environment}-web", f"{environment}-quotes"}
    assert {one["imageTagMutability"] for one in found} == {"IMMUTABLE"}


def test_the_launch_template_is_what_instances_get(deployed: Deployed) -> None:
    client = boto3.client("ec2")
    (template,) = client.describe_launch_templates()["LaunchTemplates"]
    assert deployed.resources("Cluster", "AWS::EC2::LaunchTemplate") == [
        template["LaunchTemplateId"]
    ]
    versions = client.describe_launch_template_versions(
        LaunchTemplateId=template["LaunchTemplateId"]
    )["LaunchTemplateVersions"]
    data = versions[0]["LaunchTemplateData"]
    assert data["ImageId"] == "ami-12345678"
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def test_the_group_has_its_bounds_and_stands_in_the_private_subnets(deployed: Deployed) -> None:
    (group,) = boto3.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["MaxSize"]) == (
        (2, 6) if deployed.environment == "Sandbox" else (3, 12)
    )
    subnets = boto3.client("ec2").describe_subnets(SubnetIds=group["VPCZoneIdentifier"].split(","))[
        "Subnets"
    ]
    kinds = {
        tag["Value"] for one in subnets for tag in one["Tags"] if tag["Key"].endswith("subnet-type")
    }
    assert kinds == {"Private"}


def test_the_balancer_stands_in_the_public_subnets_and_forwards_to_the_service(
    deployed: Deployed,
) -> None:
    client = boto3.client("elbv2")
    (balancer,) = client.describe_load_balancers()["LoadBalancers"]
    assert balancer["Scheme"] == "internet-facing"
    listeners = client.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    ports = {one["Port"]: one["ListenerArn"] for one in listeners}
    assert set(ports) == ({80} if deployed.environment == "Sandbox" else {80, 443})
    rules = client.describe_rules(ListenerArn=ports[max(ports)])["Rules"]
    (ours,) = [one for one in rules if one["Priority"] == "100"]
    (group,) = client.describe_target_groups()["TargetGroups"]
    assert ours["Actions"][0]["TargetGroupArn"] == group["TargetGroupArn"]
    assert group["HealthCheckPath"] == "/health/ready"


@pytest.mark.usefixtures("deployed")
def test_the_task_definitions_say_what_the_containers_get() -> None:
    client = boto3.client("ecs")
    arns = client.list_task_definitions()["taskDefinitionArns"]
    assert len(arns) == 2
    for arn in arns:
        task = client.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        (container,) = task["containerDefinitions"]
        assert container["user"] == "10001:10001"
        assert container["readonlyRootFilesystem"] is True
        assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
        # The proxy's share; of the task's own CPU moto tells nothing.
        assert int(task["memory"]) - container["memory"] == 64


def test_the_services_are_in_the_cluster(deployed: Deployed) -> None:
    client = boto3.client("ecs")
    (cluster,) = client.list_clusters()["clusterArns"]
    assert deployed.resources("Cluster", "AWS::ECS::Cluster") == [cluster.split("/")[-1]]
    services = client.list_services(cluster=cluster)["serviceArns"]
    described = client.describe_services(cluster=cluster, services=services)["services"]
    assert len(described) == 2
    used = [one["taskDefinition"] for one in described]
    assert sorted(used) == sorted(client.list_task_definitions()["taskDefinitionArns"])


def test_every_log_group_ends_with_its_retention(deployed: Deployed) -> None:
    groups: list[Any] = list(boto3.client("logs").describe_log_groups()["logGroups"])
    days = 7 if deployed.environment == "Sandbox" else 365
    assert groups
    assert {one.get("retentionInDays") for one in groups} == {days}
