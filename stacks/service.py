"""ServiceStack: one microservice, from its image to who reaches it, its scaling and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TypedDict, cast

from aws_cdk import CfnOutput, Duration, IgnoreMode, IStackSynthesizer, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_sns as sns
from constructs import Construct

from settings import (
    Architecture,
    DeploymentSettings,
    HostPorts,
    LogSettings,
    ServiceSettings,
    url_variable,
)
from stacks.constructs.alerts import alarm
from stacks.constructs.connection import (
    ConnectMetrics,
    Endpoint,
    connected,
    discovery_name,
    open_ports,
)
from stacks.constructs.dashboard import ServiceDashboard
from stacks.constructs.exec_record import ExecRecord
from stacks.constructs.hardened_task import HardenedTask
from stacks.constructs.logs import Logs
from stacks.constructs.target_groups import TargetGroups
from stacks.constructs.task_scaling import TaskScaling
from stacks.findings import accept

SOURCES = Path(__file__).parent.parent / "service"
PLATFORMS = {
    "x86_64": ecr_assets.Platform.LINUX_AMD64,
    "arm64": ecr_assets.Platform.LINUX_ARM64,
}
STRATEGIES = {
    "rolling": ecs.DeploymentStrategy.ROLLING,
    "blue-green": ecs.DeploymentStrategy.BLUE_GREEN,
    "canary": ecs.DeploymentStrategy.CANARY,
    "linear": ecs.DeploymentStrategy.LINEAR,
}


class _Strategy(TypedDict, total=False):
    """The arguments of Ec2Service that a deployment strategy sets."""

    deployment_strategy: ecs.DeploymentStrategy
    circuit_breaker: ecs.DeploymentCircuitBreaker
    bake_time: Duration
    canary_configuration: ecs.TrafficShiftConfig
    linear_configuration: ecs.TrafficShiftConfig


class ServiceStack(Stack):
    """A microservice of its own: deployed, scaled and rolled back without the others."""

    service: ecs.Ec2Service
    # Where other services reach it; None where none does.
    endpoint: Endpoint | None

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ServiceSettings,
        logs: LogSettings,
        retain_data: bool,
        environment: str,
        name: str,
        architecture: Architecture,
        synthesizer: IStackSynthesizer,
        cluster: ecs.Cluster,
        capacity_provider: ecs.AsgCapacityProvider,
        listener: elbv2.ApplicationListener,
        load_balancer: elbv2.ApplicationLoadBalancer,
        topic: sns.ITopic,
        exec_record: ExecRecord,
        instances: ec2.ISecurityGroup,
        host_ports: HostPorts,
        callees: Sequence[Endpoint],
        called_from_instances: bool,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Drydock: the microservice {name}",
            synthesizer=synthesizer,
        )
        log_group = Logs(self, "Logs", settings=logs, retain=retain_data).group("Containers")
        task = HardenedTask(
            self,
            "Task",
            settings=settings.task,
            name=name,
            architecture=architecture,
            image=image(self, "Image", name=name, architecture=architecture),
            log_group=log_group,
            exec_record=exec_record,
            offers_port=settings.connect is not None,
            variables={url_variable(callee.name): callee.url for callee in callees},
        )
        targets = None
        if settings.route:
            targets = TargetGroups(
                self,
                "Targets",
                settings=settings,
                route=settings.route,
                vpc=cluster.vpc,
                listener=listener,
                load_balancer=load_balancer,
            )
        connect = None
        if settings.connect:
            connect = ConnectMetrics(discovery_name=discovery_name(environment, name))
        self.service = service = self._make_service(
            settings,
            cluster,
            capacity_provider,
            task,
            self._add_alarms(targets, connect, topic),
            connected(settings, environment=environment, name=name, log_group=log_group),
        )
        if targets:
            targets.attach(service, task.container)
        if targets and targets.alternate:
            accept(
                cast(ecs.CfnService, service.node.default_child),
                "W3005",
                reason="CDK states the dependency on the listener rule twice; nothing changes.",
                until=date(2027, 11, 30),
            )
        self.endpoint = self._open_ports(
            settings, name, instances, host_ports, callees, called_from_instances
        )
        TaskScaling(self, "Scaling", settings=settings.scaling, service=service, targets=targets)
        ServiceDashboard(
            self,
            "Dashboard",
            service=service,
            targets=targets,
            connect=connect,
            capacity_provider=capacity_provider,
        )
        CfnOutput(self, "ServiceName", value=service.service_name)

    def _open_ports(
        self,
        settings: ServiceSettings,
        name: str,
        instances: ec2.ISecurityGroup,
        host_ports: HostPorts,
        callees: Sequence[Endpoint],
        called_from_instances: bool,
    ) -> Endpoint | None:
        """Let the tasks reach those that they call; give where they are reached themselves."""
        group, ports = instances, host_ports
        if settings.task.network_mode == "awsvpc":
            group = self.service.connections.security_groups[0]
            ports = HostPorts(first=settings.task.port, last=settings.task.port)
            open_ports(self, callees=callees, caller=group, instances=instances)
            if called_from_instances:
                # Here and not by each caller: to EC2 a rule that is there already is an error.
                group.add_ingress_rule(instances, ec2.Port.tcp(settings.task.port), "Calls")
        if not settings.connect:
            return None
        url = f"http://{name}:{settings.connect.port}"
        return Endpoint(name=name, url=url, security_group=group, ports=ports)

    def _make_service(
        self,
        settings: ServiceSettings,
        cluster: ecs.Cluster,
        capacity_provider: ecs.AsgCapacityProvider,
        task: HardenedTask,
        deployment_alarms: list[cloudwatch.Alarm],
        connect: ecs.ServiceConnectProps | None,
    ) -> ecs.Ec2Service:
        deployment = settings.deployment
        awsvpc = settings.task.network_mode == "awsvpc"
        service = ecs.Ec2Service(
            self,
            "Service",
            cluster=cluster,
            task_definition=task.definition,
            # Never a launch type, which would pass by the provider and its scaling.
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(
                    capacity_provider=capacity_provider.capacity_provider_name, weight=1
                )
            ],
            placement_strategies=[
                ecs.PlacementStrategy.spread_across(ecs.BuiltInAttributes.AVAILABILITY_ZONE),
                ecs.PlacementStrategy.packed_by_memory(),
            ],
            # Both explicit: CDK's 50 per cent would halve the service in every rollout.
            min_healthy_percent=100,
            max_healthy_percent=200,
            # What ECS does to a new service that does not say; an old one would keep what it had.
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.ENABLED,
            deployment_alarms=ecs.DeploymentAlarmConfig(
                alarm_names=[made.alarm_name for made in deployment_alarms],
                behavior=ecs.AlarmBehavior.ROLLBACK_ON_ALARM,
            )
            if deployment_alarms
            else None,
            health_check_grace_period=Duration.seconds(deployment.grace_seconds)
            if settings.route
            else None,
            service_connect_configuration=connect,
            enable_execute_command=settings.task.exec,
            enable_ecs_managed_tags=True,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            vpc_subnets=ec2.SubnetSelection(
                subnets=cluster.vpc.private_subnets or cluster.vpc.isolated_subnets
            )
            if awsvpc
            else None,
            **_strategy(deployment),
        )
        if deployment.strategy != "rolling":
            accept(
                service,
                "Annotation::@aws-cdk/aws-ecs:shouldUseCircuitBreaker",
                reason="Alarms and the bake time take a shifting deployment back.",
                until=date(2027, 11, 30),
            )
        else:
            # By default half of the desired count must fail before ECS stops, and at least 3.
            threshold = {"Type": "COUNT", "Value": deployment.breaker_failures}
            cast(ecs.CfnService, service.node.default_child).add_property_override(
                "DeploymentConfiguration.DeploymentCircuitBreaker.ThresholdConfiguration", threshold
            )
        return service

    def _add_alarms(
        self, targets: TargetGroups | None, connect: ConnectMetrics | None, topic: sns.ITopic
    ) -> list[cloudwatch.Alarm]:
        """Add the alarms on how others see the service; give those that roll it back.

        The balancer's view comes first; Service Connect's counts where there is no balancer, and
        a service that nobody reaches has no alarm, and no deployment that one could end.
        """
        if targets:
            alarm(
                self,
                "UnhealthyTargets",
                metric=targets.metric("UnHealthyHostCount", "Maximum"),
                above=0,
                minutes=10,
                topic=topic,
                says="A target has failed its health check for 10 minutes.",
            )
            errors = targets.metric("HTTPCode_Target_5XX_Count", "Sum")
            slowest, seconds = targets.metric("TargetResponseTime", "p99", together="MAX"), 1
        elif connect:
            errors, slowest, seconds = connect.errors(), connect.response_time(), 1000
        else:
            return []
        return [
            alarm(
                self,
                "Errors",
                metric=errors,
                above=5,
                minutes=2,
                topic=topic,
                says="The service answered 5xx more than 5 times a minute for 2 minutes.",
            ),
            alarm(
                self,
                "Slow",
                metric=slowest,
                above=2 * seconds,
                minutes=5,
                topic=topic,
                says="One request in a hundred took more than 2 seconds, for 5 minutes.",
            ),
        ]


def image(
    scope: Construct, construct_id: str, *, name: str, architecture: Architecture
) -> ecr_assets.DockerImageAsset:
    """Make a microservice's image of its folder and of what it shares with others.

    Its tag is the hash of what its Dockerfile.dockerignore lets in. BuildKit finds that file beside
    the Dockerfile; the CDK, which makes the hash, reads one at the root of the context only.
    """
    ignored = SOURCES / name / "Dockerfile.dockerignore"
    lines = ignored.read_text(encoding="utf-8").splitlines()
    return ecr_assets.DockerImageAsset(
        scope,
        construct_id,
        directory=str(SOURCES),
        file=f"{name}/Dockerfile",
        exclude=[line for line in lines if line and not line.startswith("#")],
        ignore_mode=IgnoreMode.DOCKER,
        platform=PLATFORMS[architecture],
    )


def _strategy(deployment: DeploymentSettings) -> _Strategy:
    """Give the service's arguments for how traffic moves from the old tasks to the new."""
    chosen: _Strategy = {"deployment_strategy": STRATEGIES[deployment.strategy]}
    shift = ecs.TrafficShiftConfig(
        step_percent=deployment.step_percent,
        step_bake_time=Duration.minutes(deployment.step_minutes),
    )
    if deployment.strategy == "rolling":
        # AWS's pages disagree on whether the others have a breaker; they have alarms and a bake.
        # Sources: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html
        # and https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-failure-detection.html
        chosen["circuit_breaker"] = ecs.DeploymentCircuitBreaker(enable=True, rollback=True)
    else:
        chosen["bake_time"] = Duration.minutes(deployment.bake_minutes)
    if deployment.strategy == "canary":
        chosen["canary_configuration"] = shift
    if deployment.strategy == "linear":
        chosen["linear_configuration"] = shift
    return chosen
