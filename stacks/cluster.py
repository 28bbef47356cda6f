"""ClusterStack: the ECS cluster, its EC2 capacity, and who hears when that falls short."""

from __future__ import annotations

from datetime import date

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_servicediscovery as servicediscovery
from aws_cdk import aws_sns as sns
from constructs import Construct

from settings import AlertSettings, ClusterSettings, HostPorts, LogSettings
from stacks.constructs.alerts import Alerts, alarm
from stacks.constructs.container_instances import ContainerInstances
from stacks.constructs.event_record import EventRecord
from stacks.constructs.exec_record import ExecRecord
from stacks.constructs.logs import Logs
from stacks.findings import accept


class ClusterStack(Stack):
    """The cluster and its capacity provider, which CloudFormation must delete in one stack."""

    cluster: ecs.Cluster
    capacity_provider: ecs.AsgCapacityProvider
    instances: ec2.SecurityGroup
    topic: sns.ITopic
    exec_record: ExecRecord

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ClusterSettings,
        alerts: AlertSettings,
        logs: LogSettings,
        retain_data: bool,
        environment: str,
        connect_ports: HostPorts | None,
        vpc: ec2.IVpc,
    ) -> None:
        super().__init__(scope, construct_id, description="Drydock: the ECS cluster on EC2")
        log_groups = Logs(self, "Logs", settings=logs, retain=retain_data)
        self.topic = Alerts(self, "Alerts", settings=alerts, encrypted=logs.encrypted).topic
        self.cluster = cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=vpc,
            container_insights_v2=ecs.ContainerInsights[settings.container_insights.upper()],
            # Where services find each other. With a name of ours, as Cloud Map wants one.
            default_cloud_map_namespace=ecs.CloudMapNamespaceOptions(
                name=environment,
                type=servicediscovery.NamespaceType.HTTP,
                use_for_service_connect=True,
            ),
        )
        self.exec_record = ExecRecord(self, "ExecRecord", cluster=cluster, logs=log_groups)
        if settings.container_insights == "disabled":
            accept(
                cluster,
                "AwsSolutions-ECS4",
                "CKV_AWS_65",
                reason="Switched off in the settings to save its metrics' price; the alarms and "
                "the dashboard stand on metrics that ECS and the balancer give for nothing.",
                until=date(2027, 11, 30),
            )
        instances = ContainerInstances(
            self, "Instances", settings=settings, cluster=cluster, logs=log_groups
        )
        self.capacity_provider = instances.capacity_provider
        self.instances = instances.security_group
        if connect_ports:
            # For calls between tasks in bridge mode, which have their instance's address; exactly
            # the ports that the agent gives to tasks. Source, read 2026-11-25:
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
            self.instances.add_ingress_rule(
                self.instances,
                ec2.Port.tcp_range(connect_ports.first, connect_ports.last),
                "Calls between tasks in bridge mode",
            )
        EventRecord(
            self,
            "Events",
            cluster=cluster,
            log_group=log_groups.group("Events"),
            topic=self.topic,
        )
        self._add_alarms(settings, instances)

    def _add_alarms(self, settings: ClusterSettings, instances: ContainerInstances) -> None:
        alarm(
            self,
            "CapacityShort",
            metric=cloudwatch.Metric(
                namespace="AWS/ECS/ManagedScaling",
                metric_name="CapacityProviderReservation",
                dimensions_map={
                    "ClusterName": self.cluster.cluster_name,
                    "CapacityProviderName": self.capacity_provider.capacity_provider_name,
                },
                period=Duration.minutes(1),
                statistic="Maximum",
            ),
            above=settings.target_capacity_percent,
            minutes=20,
            topic=self.topic,
            says="Tasks wait for instances that managed scaling has not brought for 20 minutes.",
        )
        in_service = cloudwatch.Metric(
            namespace="AWS/AutoScaling",
            metric_name="GroupInServiceInstances",
            dimensions_map={"AutoScalingGroupName": instances.group.auto_scaling_group_name},
            period=Duration.minutes(1),
            statistic="Minimum",
        )
        alarm(
            self,
            "InstancesMissing",
            metric=cloudwatch.MathExpression(
                expression=f"{settings.min_instances} - in_service",
                using_metrics={"in_service": in_service},
                period=Duration.minutes(1),
                label="instances missing",
            ),
            above=0,
            minutes=15,
            topic=self.topic,
            says="Fewer instances in service than the group's minimum for 15 minutes.",
        )
