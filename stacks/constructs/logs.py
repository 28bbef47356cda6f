"""The log groups of one stack."""

from __future__ import annotations

from datetime import date

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from settings import LogSettings
from stacks.findings import accept

RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    731: logs.RetentionDays.TWO_YEARS,
}


class Logs(Construct):
    """Log groups that end with their retention, under one key where the settings encrypt.

    A key a stack, not one for all: the groups of a stack come and go with it.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: LogSettings, retain: bool
    ) -> None:
        super().__init__(scope, construct_id)
        self._retention = RETENTION[settings.retention_days]
        self._removal = RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY
        self.key = self._make_key() if settings.encrypted else None

    def group(self, construct_id: str, *, name: str | None = None) -> logs.LogGroup:
        """Add a log group; only one whose name a service prescribes is given a name."""
        group = logs.LogGroup(
            self,
            construct_id,
            log_group_name=name,
            retention=self._retention,
            encryption_key=self.key,
            removal_policy=self._removal,
        )
        if not self.key:
            accept(
                group,
                "CKV_AWS_158",
                reason="Encrypted under CloudWatch's own key, which costs nothing; logs.encrypted "
                "gives it one of the account's own.",
                until=date(2027, 11, 30),
            )
        return group

    def _make_key(self) -> kms.Key:
        key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=self._removal)
        stack = Stack.of(self)
        # CloudWatch Logs names the group in the encryption context, so the grant ends at this
        # account's groups: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
                actions=[
                    "kms:Decrypt",
                    "kms:DescribeKey",
                    "kms:Encrypt",
                    "kms:GenerateDataKey*",
                    "kms:ReEncrypt*",
                ],
                resources=["*"],
                conditions={
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": stack.format_arn(
                            service="logs", resource="*"
                        )
                    }
                },
            )
        )
        return key
