"""ServiceStack: one microservice, from its image to its listener rule, scaling and alarms."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TypedDict, cast

from aws_cdk import CfnOutput, Duration, IStackSynthesizer, Stack
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
    LogSettings,
    ServiceSettings,
)
from stacks.constructs.alerts import alarm
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

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ServiceSettings,
        logs: LogSettings,
        retain_data: bool,
        name: str,
        architecture: Architecture,
        synthesizer: IStackSynthesizer,
        cluster: ecs.Cluster,
        capacity_provider: ecs.AsgCapacityProvider,
        listener: elbv2.ApplicationListener,
        load_balancer: elbv2.ApplicationLoadBalancer,
        topic: sns.ITopic,
        exec_record: ExecRecord,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Drydock: the microservice {name}",
            synthesizer=synthesizer,
        )
        log_groups = Logs(self, "Logs", settings=logs, retain=retain_data)
        task = HardenedTask(
            self,
            "Task",
            settings=settings.task,
            name=name,
            architecture=architecture,
            image=ecr_assets.DockerImageAsset(
                self, "Image", directory=str(SOURCES / name), platform=PLATFORMS[architecture]
            ),
            log_group=log_groups.group("Containers"),
            exec_record=exec_record,
        )
        targets = TargetGroups(
            self,
            "Targets",
            settings=settings,
            vpc=cluster.vpc,
            listener=listener,
            load_balancer=load_balancer,
        )
        deployment_alarms = self._add_alarms(targets, topic)
        self.service = service = self._make_service(
            settings, cluster, capacity_provider, task, deployment_alarms
        )
        targets.attach(service, task.container)
        if targets.alternate:
            accept(
                cast(ecs.CfnService, service.node.default_child),
                "W3005",
                reason="CDK states the dependency on the listener rule twice; nothing changes.",
                until=date(2027, 11, 30),
            )
        TaskScaling(self, "Scaling", settings=settings.scaling, service=service, targets=targets)
        ServiceDashboard(
            self, "Dashboard", service=service, targets=targets, capacity_provider=capacity_provider
        )
        CfnOutput(self, "ServiceName", value=service.service_name)

    def _make_service(
        self,
        settings: ServiceSettings,
        cluster: ecs.Cluster,
        capacity_provider: ecs.AsgCapacityProvider,
        task: HardenedTask,
        deployment_alarms: list[cloudwatch.Alarm],
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
            ),
            health_check_grace_period=Duration.seconds(deployment.grace_seconds),
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
        if deployment.strategy == "rolling":
            # By default half of the desired count must fail before ECS stops, and at least 3.
            threshold = {"Type": "COUNT", "Value": deployment.breaker_failures}
            cast(ecs.CfnService, service.node.default_child).add_property_override(
                "DeploymentConfiguration.DeploymentCircuitBreaker.ThresholdConfiguration", threshold
            )
        return service

    def _add_alarms(self, targets: TargetGroups, topic: sns.ITopic) -> list[cloudwatch.Alarm]:
        """Add the alarms on the balancer's view of the service; give those that roll it back."""
        errors = alarm(
            self,
            "Errors",
            metric=targets.metric("HTTPCode_Target_5XX_Count", "Sum"),
            above=5,
            minutes=2,
            topic=topic,
            says="The service answered 5xx more than 5 times a minute for 2 minutes.",
        )
        slow = alarm(
            self,
            "Slow",
            metric=targets.metric("TargetResponseTime", "p99", together="MAX"),
            above=2,
            minutes=5,
            topic=topic,
            says="One request in a hundred took more than 2 seconds, for 5 minutes.",
        )
        alarm(
            self,
            "UnhealthyTargets",
            metric=targets.metric("UnHealthyHostCount", "Maximum"),
            above=0,
            minutes=10,
            topic=topic,
            says="A target has failed its health check for 10 minutes.",
        )
        return [errors, slow]


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
