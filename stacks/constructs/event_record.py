"""Keeps what ECS itself soon forgets: why tasks stopped and deployments failed.

ECS shows a stopped task for an hour or little more, and the last 100 events of a service.
"""

from __future__ import annotations

from typing import cast

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct


class EventRecord(Construct):
    """ECS's events of one cluster in a log group; failed deployments and ill
    instances also to the topic.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: ecs.ICluster,
        log_group: logs.LogGroup,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id)
        services = Stack.of(self).format_arn(
            service="ecs", resource="service", resource_name=f"{cluster.cluster_name}/"
        )
        of_cluster = {"clusterArn": [cluster.cluster_arn]}
        patterns: dict[str, dict[str, object]] = {
            "Tasks": {"detail-type": ["ECS Task State Change"], "detail": of_cluster},
            "Instances": {
                "detail-type": [
                    "ECS Container Instance State Change",
                    "ECS Container Instance Health Change",
                ],
                "detail": of_cluster,
            },
            # These carry their cluster in the service's ARN only.
            "Services": {
                "detail-type": ["ECS Deployment State Change", "ECS Service Action"],
                "resources": [{"prefix": services}],
            },
        }
        # An L1 rule: the L2 target for log groups brings a Lambda function that writes the
        # resource policy, which CloudFormation can write itself.
        for name, pattern in patterns.items():
            events.CfnRule(
                self,
                name,
                event_pattern={"source": ["aws.ecs"], **pattern},
                targets=[events.CfnRule.TargetProperty(id="Log", arn=_arn(log_group))],
            )
        # The group's own policy: an account has ten of its own in a region, and a class of thirty
        # learners on one account would need thirty. That EventBridge heeds it was not tried.
        # Source, read 2026-11-25:
        # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutResourcePolicy.html
        cast(
            logs.CfnLogGroup, log_group.node.default_child
        ).resource_policy_document = iam.PolicyDocument(
            statements=[
                iam.PolicyStatement(
                    principals=[
                        iam.ServicePrincipal("delivery.logs.amazonaws.com"),
                        iam.ServicePrincipal("events.amazonaws.com"),
                    ],
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    # Of this group only, whose ARN its own properties cannot name.
                    resources=["*"],
                )
            ]
        )
        told: dict[str, dict[str, object]] = {
            # Of the breaker by the first type, of an alarm by the second.
            "FailedDeployments": {
                "detail-type": ["ECS Deployment State Change", "ECS Service Action"],
                "resources": [{"prefix": services}],
                "detail": {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
            },
            # A container runtime that fails, or an agent that stays away; the agent's ordinary
            # reconnections, several an hour, are no such event.
            "ImpairedInstances": {
                "detail-type": ["ECS Container Instance Health Change"],
                "detail": {**of_cluster, "overallStatus": ["IMPAIRED"]},
            },
        }
        for name, pattern in told.items():
            events.CfnRule(
                self,
                name,
                event_pattern={"source": ["aws.ecs"], **pattern},
                targets=[events.CfnRule.TargetProperty(id="Topic", arn=topic.topic_arn)],
            )


def _arn(log_group: logs.LogGroup) -> str:
    """Give the group's ARN as EventBridge wants it, without the `:*` of CloudFormation's."""
    return Stack.of(log_group).format_arn(
        service="logs",
        resource="log-group",
        resource_name=log_group.log_group_name,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
