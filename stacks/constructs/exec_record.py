"""Where ECS Exec writes what was typed and answered in a container."""

from __future__ import annotations

from datetime import date
from typing import cast

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.constructs.logs import Logs
from stacks.findings import accept


class ExecRecord(Construct):
    """The record of ECS Exec's sessions in one cluster, for the services that opted in.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, cluster: ecs.Cluster, logs: Logs
    ) -> None:
        super().__init__(scope, construct_id)
        self._group = logs.group("Exec")
        self._key = logs.key
        # By its L1, since the L2 would write the group's name with a `*` into every task role.
        resource = cast(ecs.CfnCluster, cluster.node.default_child)
        resource.configuration = ecs.CfnCluster.ClusterConfigurationProperty(
            execute_command_configuration=ecs.CfnCluster.ExecuteCommandConfigurationProperty(
                kms_key_id=self._key.key_arn if self._key else None,
                logging="OVERRIDE",
                log_configuration=ecs.CfnCluster.ExecuteCommandLogConfigurationProperty(
                    cloud_watch_log_group_name=self._group.log_group_name,
                    cloud_watch_encryption_enabled=self._key is not None,
                ),
            )
        )

    def grant(self, role: iam.Role) -> None:
        """Let tasks of `role` write the record, and decrypt their own sessions."""
        role.add_to_policy(iam.PolicyStatement(actions=["logs:DescribeLogGroups"], resources=["*"]))
        self._group.grant(
            role, "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"
        )
        if self._key:
            self._key.grant(role, "kms:Decrypt", "kms:GenerateDataKey")
        accept(
            role,
            "AwsSolutions-IAM5[Resource::*]",
            reason="ECS Exec was switched on in the settings: its channels and "
            "logs:DescribeLogGroups know no resource.",
            until=date(2027, 11, 30),
        )
