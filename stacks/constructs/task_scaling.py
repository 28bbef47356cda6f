"""How many tasks a service has: by CPU, by requests, and by the clock."""

from __future__ import annotations

from typing import cast

from aws_cdk import Duration, TimeZone
from aws_cdk import aws_applicationautoscaling as appscaling
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from settings import ScalingSettings
from stacks.constructs.target_groups import NAMESPACE, TargetGroups

SCALE_IN_COOLDOWN = Duration.minutes(5)
SCALE_OUT_COOLDOWN = Duration.minutes(1)


class TaskScaling(Construct):
    """Target tracking between the minimum and the maximum, and an optional sleep.

    Without a balancer nobody counts requests for each task, and CPU alone decides.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ScalingSettings,
        service: ecs.Ec2Service,
        targets: TargetGroups | None,
    ) -> None:
        super().__init__(scope, construct_id)
        tasks = service.auto_scale_task_count(
            min_capacity=settings.min_tasks, max_capacity=settings.max_tasks
        )
        tasks.scale_on_cpu_utilization(
            "Cpu",
            target_utilization_percent=settings.cpu_percent,
            scale_in_cooldown=SCALE_IN_COOLDOWN,
            scale_out_cooldown=SCALE_OUT_COOLDOWN,
        )
        requests = settings.requests_per_target_per_minute
        if targets and requests and targets.alternate:
            self._track_requests_of_both(tasks, requests, targets)
        elif targets and requests:
            tasks.scale_on_request_count(
                "Requests",
                requests_per_target=requests,
                target_group=targets.primary,
                scale_in_cooldown=SCALE_IN_COOLDOWN,
                scale_out_cooldown=SCALE_OUT_COOLDOWN,
            )
        if settings.schedule:
            time_zone = TimeZone.of(settings.schedule.timezone)
            tasks.scale_on_schedule(
                "Sleep",
                schedule=appscaling.Schedule.expression(settings.schedule.sleep),
                time_zone=time_zone,
                min_capacity=0,
                max_capacity=0,
            )
            tasks.scale_on_schedule(
                "Wake",
                schedule=appscaling.Schedule.expression(settings.schedule.wake),
                time_zone=time_zone,
                min_capacity=settings.min_tasks,
                max_capacity=settings.max_tasks,
            )

    def _track_requests_of_both(
        self, tasks: ecs.ScalableTaskCount, requests: int, targets: TargetGroups
    ) -> None:
        """Track the requests for each target, whichever group has the traffic.

        The predefined metric names one group, and ECS swaps the two with every deployment.
        """
        scalable = cast(appscaling.ScalableTarget, tasks.node.find_child("Target"))
        policy = appscaling.CfnScalingPolicy
        metrics = [
            policy.TargetTrackingMetricDataQueryProperty(
                id=f"m{index}",
                return_data=False,
                metric_stat=policy.TargetTrackingMetricStatProperty(
                    stat="Sum",
                    metric=policy.TargetTrackingMetricProperty(
                        namespace=NAMESPACE,
                        metric_name="RequestCountPerTarget",
                        dimensions=[
                            policy.TargetTrackingMetricDimensionProperty(
                                name="TargetGroup", value=group.target_group_full_name
                            )
                        ],
                    ),
                ),
            )
            for index, group in enumerate(targets.groups)
        ]
        both = policy.TargetTrackingMetricDataQueryProperty(
            id="both", expression="FILL(m0, 0) + FILL(m1, 0)", return_data=True
        )
        policy(
            self,
            "RequestsOfBoth",
            policy_name="RequestsOfBoth",
            policy_type="TargetTrackingScaling",
            scaling_target_id=scalable.scalable_target_id,
            target_tracking_scaling_policy_configuration=policy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=requests,
                scale_in_cooldown=SCALE_IN_COOLDOWN.to_seconds(),
                scale_out_cooldown=SCALE_OUT_COOLDOWN.to_seconds(),
                customized_metric_specification=policy.CustomizedMetricSpecificationProperty(
                    metrics=[*metrics, both]
                ),
            ),
        )
