"""NetworkStack: the VPC, its subnets, and how the instances reach AWS."""

from __future__ import annotations

from datetime import date

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from settings import LogSettings, NetworkSettings
from stacks.constructs.logs import Logs
from stacks.findings import accept, accept_cdk_functions

NAT_GATEWAYS = {"one-nat-gateway": 1, "endpoints": 0}

# What a container instance without a way to the internet calls: images, the ECS control plane,
# logs, keys of sessions and secrets, and Session Manager.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html; that
# Session Manager needs these two of its own is unverified.
INTERFACE_ENDPOINTS = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Ecs": ec2.InterfaceVpcEndpointAwsService.ECS,
    "EcsAgent": ec2.InterfaceVpcEndpointAwsService.ECS_AGENT,
    "EcsTelemetry": ec2.InterfaceVpcEndpointAwsService.ECS_TELEMETRY,
    "Kms": ec2.InterfaceVpcEndpointAwsService.KMS,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,
}


class NetworkStack(Stack):
    """The VPC that everything stands in: its own, or one that exists and is only referred to."""

    vpc: ec2.IVpc

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: NetworkSettings,
        logs: LogSettings,
        retain_data: bool,
    ) -> None:
        super().__init__(scope, construct_id, description="Drydock: the VPC")
        existing = settings.existing_vpc
        if existing:
            self.vpc = ec2.Vpc.from_vpc_attributes(
                self,
                "Vpc",
                vpc_id=existing.vpc_id,
                availability_zones=list(settings.availability_zones),
                public_subnet_ids=list(existing.public_subnet_ids),
                private_subnet_ids=list(existing.private_subnet_ids),
            )
            accept(
                self.vpc,
                "@aws-cdk/aws-ec2:noSubnetRouteTableId",
                reason="The routes of a VPC that exists are its owner's; nothing here reads them.",
                until=date(2027, 11, 30),
            )
            return
        self.vpc = vpc = self._make_vpc(settings)
        vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                Logs(self, "Logs", settings=logs, retain=retain_data).group("Flow")
            ),
        )
        accept_cdk_functions(self)
        accept(
            self,
            "W3010",
            reason="The settings name the zones, so that a synth needs no account to look them up "
            "in and gives the same subnets on every machine.",
            until=date(2027, 11, 30),
        )
        if settings.egress == "endpoints":
            self._add_endpoints(vpc, settings.cidr)

    def _add_endpoints(self, vpc: ec2.Vpc, cidr: str) -> None:
        group = ec2.SecurityGroup(
            self,
            "EndpointSecurityGroup",
            vpc=vpc,
            allow_all_outbound=False,
            description="Interface endpoints: HTTPS from inside the VPC",
        )
        group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443))
        for name, service in INTERFACE_ENDPOINTS.items():
            vpc.add_interface_endpoint(name, service=service, security_groups=[group], open=False)

    def _make_vpc(self, settings: NetworkSettings) -> ec2.Vpc:
        zones = settings.availability_zones
        private = (
            ec2.SubnetType.PRIVATE_ISOLATED
            if settings.egress == "endpoints"
            else ec2.SubnetType.PRIVATE_WITH_EGRESS
        )
        return ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(settings.cidr),
            availability_zones=list(zones),
            nat_gateways=NAT_GATEWAYS.get(settings.egress, len(zones)),
            # Three zones of either kind fit into the smallest range that the settings allow.
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    cidr_mask=26,
                    map_public_ip_on_launch=False,
                ),
                ec2.SubnetConfiguration(name="Private", subnet_type=private),
            ],
            # Image layers come from S3; this endpoint is free, a NAT gateway bills each byte.
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
            },
            restrict_default_security_group=True,
        )
