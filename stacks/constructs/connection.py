"""How services reach each other: Service Connect's names, its metrics, and who may come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration, Size
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_logs as logs
from constructs import Construct

from settings import ConnectSettings, HostPorts, ServiceSettings

NAMESPACE = "AWS/ECS"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the tasks of a service are reached: an address, and the ports behind a group."""

    name: str
    url: str
    security_group: ec2.ISecurityGroup
    ports: HostPorts


@dataclass(frozen=True, kw_only=True)
class ConnectMetrics:
    """What Service Connect's proxies measure of the requests to one service.

    By the name in Cloud Map alone, which is unique in an account and region since it begins with
    the environment's: the other set of dimensions names the cluster, and for what targets answer a
    service that is, by those who looked at it, the one that calls. Source of the names, read
    2026-11-25: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
    """

    discovery_name: str

    def requests(self) -> cloudwatch.Metric:
        """Give the requests that reached the service, a minute."""
        return self._metric("RequestCount", "Sum", "DiscoveryName")

    def errors(self) -> cloudwatch.Metric:
        """Give the 5xx that it answered, a minute."""
        return self._metric("HTTPCode_Target_5XX_Count", "Sum", "TargetDiscoveryName")

    def response_time(self) -> cloudwatch.Metric:
        """Give the slowest hundredth of its answers, in milliseconds (the unit is unverified)."""
        return self._metric("TargetResponseTime", "p99", "TargetDiscoveryName")

    def _metric(self, name: str, statistic: str, dimension: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={dimension: self.discovery_name},
            statistic=statistic,
            period=Duration.minutes(1),
        )


def discovery_name(environment: str, service: str) -> str:
    """Name a service in Cloud Map, and so in its metrics."""
    return f"{environment}-{service}"


def connected(
    settings: ServiceSettings, *, environment: str, name: str, log_group: logs.ILogGroup
) -> ecs.ServiceConnectProps | None:
    """Say what a service offers under which name, or that it only calls; None for neither."""
    if not settings.connect and not settings.calls:
        return None
    offered = [_offered(settings.connect, environment, name)] if settings.connect else None
    return ecs.ServiceConnectProps(
        services=offered,
        # The proxy's own log, as bounded as the container's; no access log, since both services
        # write a line about each request.
        log_driver=ecs.LogDrivers.aws_logs(
            stream_prefix="service-connect",
            log_group=log_group,
            mode=ecs.AwsLogDriverMode.NON_BLOCKING,
            max_buffer_size=Size.mebibytes(4),
        ),
    )


def _offered(connect: ConnectSettings, environment: str, name: str) -> ecs.ServiceConnectService:
    return ecs.ServiceConnectService(
        port_mapping_name=name,
        discovery_name=discovery_name(environment, name),
        dns_name=name,
        port=connect.port,
        per_request_timeout=Duration.seconds(connect.request_timeout_seconds),
        idle_timeout=Duration.seconds(connect.idle_timeout_seconds),
    )


def open_ports(
    scope: Construct,
    *,
    callees: Sequence[Endpoint],
    caller: ec2.ISecurityGroup,
    instances: ec2.ISecurityGroup,
) -> None:
    """Let a service in with a group of its own to those that it calls, and to nothing else of them.

    Tasks in bridge mode have their instance's address, so several callees may be behind one group.
    """
    # The proxies meet at the container's port, or in bridge mode at a host port that the agent
    # chose. Source, read 2026-11-25:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
    opened = False
    for callee in callees:
        shared = callee.security_group is instances
        if shared and opened:
            continue
        opened = opened or shared
        ec2.CfnSecurityGroupIngress(
            scope,
            "CallToInstances" if shared else f"CallTo{callee.name.title().replace('-', '')}",
            group_id=callee.security_group.security_group_id,
            source_security_group_id=caller.security_group_id,
            ip_protocol="tcp",
            from_port=callee.ports.first,
            to_port=callee.ports.last,
            description="Calls through Service Connect",
        )
