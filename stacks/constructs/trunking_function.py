"""The code of TrunkingCheck's Lambda function; sent inline, so it stands alone."""

from __future__ import annotations

from typing import Any

import boto3
import cfnresponse  # type: ignore[import-not-found]  # Lambda supplies it to inline code


def handler(event: dict[str, Any], context: object) -> None:
    """Fail the deployment before an instance boots, with the command that mends it."""
    reason = None
    if event["RequestType"] != "Delete":
        try:
            # What holds for this function's role, which has no setting of its own, is the account's
            # default, and so what holds for the instances' role; to ask for that one is forbidden.
            settings = boto3.client("ecs").list_account_settings(
                name="awsvpcTrunking", effectiveSettings=True
            )["settings"]
            if [setting["value"] for setting in settings] != ["enabled"]:
                reason = (
                    "The settings rely on ENI trunking, which is off in this account. Turn it on "
                    "with: aws ecs put-account-setting-default --name awsvpcTrunking "
                    "--value enabled"
                )
        except Exception as error:  # CloudFormation waits an hour for a function that only raises
            reason = f"awsvpcTrunking could not be read: {error}"
    status = cfnresponse.FAILED if reason else cfnresponse.SUCCESS
    cfnresponse.send(event, context, status, {}, "awsvpcTrunking", reason=reason)
