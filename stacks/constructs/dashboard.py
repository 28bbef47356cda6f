"""The dashboard of one service: what it is asked, how it answers, and what it stands on."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from stacks.constructs.connection import ConnectMetrics
from stacks.constructs.target_groups import TargetGroups


class ServiceDashboard(Construct):
    """One page a service, so that a new service changes nobody else's stack."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        service: ecs.Ec2Service,
        targets: TargetGroups | None,
        connect: ConnectMetrics | None,
        capacity_provider: ecs.AsgCapacityProvider,
    ) -> None:
        super().__init__(scope, construct_id)
        minute = Duration.minutes(1)
        reservation = cloudwatch.Metric(
            namespace="AWS/ECS/ManagedScaling",
            metric_name="CapacityProviderReservation",
            dimensions_map={
                "ClusterName": service.cluster.cluster_name,
                "CapacityProviderName": capacity_provider.capacity_provider_name,
            },
            period=minute,
            statistic="Maximum",
        )
        graphs: dict[str, list[cloudwatch.IMetric]] = {}
        if targets:
            graphs |= {
                "Requests a minute": [targets.metric("RequestCount", "Sum")],
                "Errors a minute": [targets.metric("HTTPCode_Target_5XX_Count", "Sum")],
                "Response time, p99, seconds": [
                    targets.metric("TargetResponseTime", "p99", together="MAX")
                ],
                "Targets, healthy and not": [
                    targets.metric("HealthyHostCount", "Minimum"),
                    targets.metric("UnHealthyHostCount", "Maximum"),
                ],
            }
        if connect:
            graphs |= {
                "Calls a minute": [connect.requests()],
                "Errors a minute, to calls": [connect.errors()],
                "Response time to calls, p99, milliseconds": [connect.response_time()],
            }
        graphs |= {
            "CPU and memory, per cent of what is reserved": [
                service.metric_cpu_utilization(period=minute),
                service.metric_memory_utilization(period=minute),
            ],
            "Reservation of the instances, per cent": [reservation],
        }
        dashboard = cloudwatch.Dashboard(self, "Page", default_interval=Duration.hours(3))
        widgets = [
            cloudwatch.GraphWidget(title=title, left=metrics, width=8, height=6)
            for title, metrics in graphs.items()
        ]
        for row in range(0, len(widgets), 3):
            dashboard.add_widgets(*widgets[row : row + 3])
