"""Which operations are answered from the World, which are refused, and which are moto's."""

from __future__ import annotations

from collections.abc import Mapping

from rehearsal.api import (
    application_autoscaling,
    autoscaling,
    cloudformation,
    ec2,
    ecs_clusters,
    ecs_definitions,
    ecs_deployments,
    ecs_instances,
    ecs_running,
    ecs_services,
    ecs_tags,
    ecs_tasks,
    elbv2,
    ssm,
)
from rehearsal.api.account import Operation
from rehearsal.api.errors import ApiError, not_played

ANSWERED: Mapping[str, Mapping[str, Operation]] = {
    "application-autoscaling": application_autoscaling.OPERATIONS,
    "autoscaling": autoscaling.OPERATIONS,
    "cloudformation": cloudformation.OPERATIONS,
    "ec2": ec2.OPERATIONS,
    "ecs": {
        **ecs_clusters.OPERATIONS,
        **ecs_definitions.OPERATIONS,
        **ecs_deployments.OPERATIONS,
        **ecs_instances.OPERATIONS,
        **ecs_running.OPERATIONS,
        **ecs_services.OPERATIONS,
        **ecs_tags.OPERATIONS,
        **ecs_tasks.OPERATIONS,
    },
    "elbv2": elbv2.OPERATIONS,
    "ssm": ssm.OPERATIONS,
}
# The world is the only one that knows of these. What is not answered changes nothing there, so
# moto's answer would be of a world of its own; only what reads is passed on to it.
OWNED = ("application-autoscaling", "autoscaling", "cloudformation", "elbv2")
READS = ("Describe", "Estimate", "Get", "List", "Validate")
# What moto answers for, by the service's name in a signature: moto's own name of it. They are
# those with operations above, those that are told what the templates declare (seeds.py), and those
# that the project's commands ask (ops/aws.py). None of them makes moto do more than keep records,
# where others start containers (Batch, Lambda) or send requests (SNS, EventBridge, Firehose).
MOTO: Mapping[str, str] = {
    "application-autoscaling": "applicationautoscaling",
    "autoscaling": "autoscaling",
    "cloudformation": "cloudformation",
    "ec2": "ec2",
    "ecr": "ecr",
    "ecs": "ecs",
    "elasticloadbalancing": "elb",
    "kms": "kms",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "s3": "s3",
    "ssm": "ssm",
    "sts": "sts",
    "tagging": "resourcegroupstaggingapi",
}
# The settings of an account, in moto's books.
MOTOS = {
    "DeleteAccountSetting",
    "ListAccountSettings",
    "PutAccountSetting",
    "PutAccountSettingDefault",
}
# What a client that asks elsewhere would be told nothing of, or what it would miss.
OF_THE_REGION = (*OWNED, "cloudwatch", "ec2", "ecr", "ecs", "logs", "ssm")
_PARTS = {
    "Gateway": "gateways",
    "Daemon": "daemons",
    "ExpressGateway": "Express Mode services",
    "TaskSet": "task sets, and deployments that are controlled by others than ECS",
    "ExecuteCommand": "ExecuteCommand",
    "ContainerAgent": "updates of the agent",
    "RegisterContainerInstance": "instances from outside: those of its groups register themselves",
    "DiscoverPollEndpoint": "the agent's own API",
    "Submit": "the agent's own API",
    "CapacityProvider": "capacity providers beside the template's; deploy another template",
    "Cluster": "changes of the cluster; deploy another template",
    "ContinueServiceDeployment": "lifecycle hooks of deployments",
}


def unplayed(service: str) -> ApiError:
    """Say that nobody answers for a service; AWS has no words for it, S3 and moto this code."""
    return ApiError(
        "NotImplemented",
        f"The rehearsal does not play the service {service:.100}; it answers for "
        f"{', '.join(sorted(MOTO))}, by their names in a signature.",
        status=501,
    )


def refusal(service: str, operation: str) -> ApiError | None:
    """Say why an operation is not answered, if that is so; None where moto shall answer."""
    if service == "ecs" and operation not in MOTOS:
        what = max((part for part in _PARTS if part in operation), key=len, default="")
        return not_played(f"{operation}: {_PARTS[what]}" if what else operation)
    if service in OWNED and not operation.startswith(READS):
        code = "ValidationException" if service == "application-autoscaling" else "ValidationError"
        return ApiError(
            code,
            f"The rehearsal does not play {operation}: what is there comes from the templates. "
            "Change them and run: python -m rehearsal deploy",
        )
    return None
