"""Refuses to boot instances that rely on ENI trunking in an account where it is off."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.findings import ONE_SHOT_FUNCTION, ONE_SHOT_REASON, accept

CODE = Path(__file__).with_name("trunking_function.py")


class TrunkingCheck(Construct):
    """A custom resource that is created only where the account setting awsvpcTrunking is on.

    CloudFormation has no resource for account settings, and the setting counts when an instance
    registers: what boots before it was on keeps few interfaces for life.
    Sources: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-eni.html
    and https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListAccountSettings.html
    """

    def __init__(self, scope: Construct, construct_id: str, *, log_group: logs.ILogGroup) -> None:
        super().__init__(scope, construct_id)
        function = lambda_.Function(
            self,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_14,
            handler="index.handler",
            # Inline, because only then does Lambda supply the cfnresponse module.
            code=lambda_.Code.from_inline(CODE.read_text(encoding="utf-8")),
            log_group=log_group,
            timeout=Duration.seconds(30),
        )
        function.add_to_role_policy(
            iam.PolicyStatement(actions=["ecs:ListAccountSettings"], resources=["*"])
        )
        CustomResource(
            self,
            "Setting",
            service_token=function.function_arn,
        )
        accept(
            function, *ONE_SHOT_FUNCTION, "W3005", reason=ONE_SHOT_REASON, until=date(2027, 11, 30)
        )
        accept(
            function,
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
            "AWSLambdaBasicExecutionRole]",
            "AwsSolutions-IAM5[Resource::*]",
            reason="A function that runs at deployment, writes its log and reads one account "
            "setting; ecs:ListAccountSettings knows no resource.",
            until=date(2027, 11, 30),
        )
