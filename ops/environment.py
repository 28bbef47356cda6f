"""An environment by its names, and what of it CloudFormation says is deployed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from settings import EnvironmentSettings

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_cloudformation.type_defs import StackTypeDef

    from ops.aws import Answer, ScalableTargets

TAG = "drydock:environment"
SHARED_STACKS = ("Network", "Registry", "Cluster", "Ingress")

CLUSTER = "AWS::ECS::Cluster"
SERVICE = "AWS::ECS::Service"
TASK_DEFINITION = "AWS::ECS::TaskDefinition"
GROUP = "AWS::AutoScaling::AutoScalingGroup"
BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
TARGET_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup"
BUCKET = "AWS::S3::Bucket"

# All that may raise a service's task count again: metrics, and the clock.
# Source: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-suspend-resume-scaling.html
SUSPENDED = {
    "DynamicScalingInSuspended": True,
    "DynamicScalingOutSuspended": True,
    "ScheduledScalingSuspended": True,
}


class Failed(Exception):  # noqa: N818 - what a command says of itself, not an error in it
    """A command cannot go on; a line a reason, each with what to do about it."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Environment:
    """The names that app.py gives an environment's stage, stacks and tag."""

    name: str
    settings: EnvironmentSettings

    @property
    def stage(self) -> str:
        """The construct path of its stage, as the CDK CLI selects it."""
        return self.name.title()

    @property
    def tag(self) -> str:
        """The value of the tag that all of its resources carry."""
        return self._prefix + self.name

    @property
    def stacks(self) -> list[str]:
        """The names of its stacks in CloudFormation, in deployment order."""
        services = (self.service_stack(name) for name in self.settings.callees_first)
        return [*(self.stack(name) for name in SHARED_STACKS), *services]

    def stack(self, construct_id: str) -> str:
        """Name the stack of that construct id."""
        return f"{self._prefix}{self.stage}-{construct_id}"

    def service_stack(self, service: str) -> str:
        """Name a microservice's stack."""
        return self.stack(service.title().replace("-", ""))

    @property
    def _prefix(self) -> str:
        return f"{self.settings.prefix}-" if self.settings.prefix else ""


@dataclass(frozen=True)
class Resource:
    """One resource of a stack, under the id that its own service knows it by."""

    stack: str
    kind: str
    id: str
    status: str
    reason: str = ""


def stacks(cloudformation: CloudFormationClient, environment: Environment) -> list[StackTypeDef]:
    """Give the environment's stacks that exist: by name, and by tag those the settings forgot."""
    pages = cloudformation.get_paginator("describe_stacks").paginate()
    found = [stack for page in pages for stack in page["Stacks"]]
    return [
        stack
        for stack in found
        if stack["StackStatus"] != "DELETE_COMPLETE"
        and (
            stack["StackName"] in environment.stacks
            or {"Key": TAG, "Value": environment.tag} in stack.get("Tags", [])
        )
    ]


def resources(cloudformation: CloudFormationClient, names: Iterable[str]) -> list[Resource]:
    """List what those stacks (names or ids) made; of a deleted one, what it left behind."""
    found = []
    for name in names:
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=name):
            found += [
                Resource(
                    stack=name,
                    kind=summary["ResourceType"],
                    id=summary["PhysicalResourceId"],
                    status=summary["ResourceStatus"],
                    reason=summary.get("ResourceStatusReason", ""),
                )
                for summary in page["StackResourceSummaries"]
                if summary.get("PhysicalResourceId")
                and summary["ResourceStatus"] != "DELETE_COMPLETE"
            ]
    return found


def of_kind(found: Iterable[Resource], kind: str) -> list[str]:
    """Give the ids of one type's resources, a deleted stack's aside."""
    return [
        resource.id
        for resource in found
        if resource.kind == kind and resource.status != "DELETE_SKIPPED"
    ]


def scalable_target(client: ScalableTargets, service: str) -> Answer | None:
    """Give what scales that service (its ARN), if anything does."""
    found = client.describe_scalable_targets(
        ServiceNamespace="ecs",
        ResourceIds=[scaling_id(service)],
        ScalableDimension="ecs:service:DesiredCount",
    )["ScalableTargets"]
    return found[0] if found else None


def scaling_id(service: str) -> str:
    """Turn a service's ARN into Application Auto Scaling's id, service/CLUSTER/NAME."""
    return service.split(":", 5)[5]


def is_half_destroyed(
    found: Iterable[Resource], autoscaling: AutoScalingClient, targets: ScalableTargets
) -> bool:
    """Whether `destroy` had begun: it leaves marks that no value in the settings can make.

    CloudFormation sees no change in the template, so a deploy would not undo them.
    """
    found = list(found)
    groups = of_kind(found, GROUP)
    if groups:
        answer = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=groups)
        if any(group["MaxSize"] == 0 for group in answer["AutoScalingGroups"]):
            return True
    scaled = (scalable_target(targets, service) for service in of_kind(found, SERVICE))
    return any(
        target is not None
        and target["MaxCapacity"] == 0
        and all(target.get("SuspendedState", {}).get(kind) for kind in SUSPENDED)
        for target in scaled
    )
