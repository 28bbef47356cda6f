"""An account in moto with a small environment in it, and what the commands are given in tests.

What moto cannot play is played here, by name:
- ECS's rollouts: a service's deployments are as it was created with, and `list_service_deployments`
  does not exist; `World.deployed` answers it.
- tasks that take time to stop: moto's are gone at once; `World.linger` keeps them.
- Auto Scaling's protection as ECS sets it, and instances that take time to end.
- CloudFormation's DELETE_FAILED and DELETE_SKIPPED; `World.answer` stands in for the one answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.model import OperationModel
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends

from ops.aws import Aws
from ops.environment import TAG, Environment
from ops.preflight import Cleared
from settings import parse

REGION = "us-east-1"
Values = dict[str, Any]

CLUSTER = {
    "Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "boats"}},
    "Template": {
        "Type": "AWS::EC2::LaunchTemplate",
        "Properties": {
            "LaunchTemplateName": "boats",
            "LaunchTemplateData": {"ImageId": "ami-12c6146b", "InstanceType": "t3.small"},
        },
    },
    "Group": {
        "Type": "AWS::AutoScaling::AutoScalingGroup",
        "Properties": {
            "AvailabilityZones": ["us-east-1a"],
            "MinSize": "2",
            "MaxSize": "6",
            "DesiredCapacity": "2",
            "NewInstancesProtectedFromScaleIn": True,
            "LaunchTemplate": {"LaunchTemplateId": {"Ref": "Template"}, "Version": "1"},
        },
    },
}


def microservice(name: str) -> Values:
    """Give a service's template, without what a balancer or Service Connect would need."""
    return {
        "Task": {
            "Type": "AWS::ECS::TaskDefinition",
            "Properties": {
                "Family": name,
                "ContainerDefinitions": [{"Name": name, "Image": name, "Memory": 64}],
            },
        },
        "Service": {
            "Type": "AWS::ECS::Service",
            "Properties": {
                "Cluster": "boats",
                "ServiceName": name,
                "TaskDefinition": {"Ref": "Task"},
                "DesiredCount": 2,
            },
        },
    }


class FakeClock:
    """A clock whose sleeps take no time, and after which the world may have changed."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self.seconds = 0.0
        self.happens = list(happens)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.happens:
            self.happens.pop(0)()


@dataclass
class World:
    """An account, and what was called in it, in order."""

    environment: Environment
    session: boto3.Session
    aws: Aws
    answers: dict[str, Callable[[Values], Values | None]] = field(default_factory=dict)
    afters: dict[str, Callable[[], object]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    cdk_calls: list[list[str]] = field(default_factory=list)
    cdk_codes: list[int] = field(default_factory=list)

    @property
    def cleared(self) -> Cleared:
        return Cleared(self.environment, self.aws, DEFAULT_ACCOUNT_ID)

    def say(self, line: str) -> None:
        self.said.append(line)

    def text(self) -> str:
        return "\n".join(self.said)

    def make_stack(
        self, name: str, resources: Values, *, outputs: Values | None = None, tag: str = "sandbox"
    ) -> str:
        """Create a stack of a real, small template; give its id."""
        template = {"Resources": resources, "Outputs": outputs or {}}
        made = self.aws.cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(template),
            Tags=[{"Key": TAG, "Value": tag}],
        )
        self.calls.clear()
        return made["StackId"]

    def make_environment(self) -> None:
        """Create the parts of a sandbox that a teardown must wait for, as CloudFormation would."""
        self.make_stack("Sandbox-Cluster", CLUSTER)
        self.make_stack("Sandbox-Web", microservice("web"))
        self.aws.scalable_targets.register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=self.scaling_id,
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=2,
            MaxCapacity=6,
        )
        self.calls.clear()

    def make_ingress(self, url: str) -> None:
        queue = {"Nothing": {"Type": "AWS::SQS::Queue"}}
        self.make_stack("Sandbox-Ingress", queue, outputs={"Url": {"Value": url}})

    @property
    def service(self) -> str:
        """The ARN of web."""
        arns = self.aws.ecs.list_services(cluster="boats")["serviceArns"]
        (arn,) = (one for one in arns if one.endswith("/web"))
        return arn

    @property
    def scaling_id(self) -> str:
        return "service/boats/" + self.service.rsplit("/", 1)[1]

    def group(self) -> Values:
        (group,) = self.aws.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        return dict(group)

    def linger(self, count: int) -> None:
        """Have that many tasks of the service run, whatever is desired."""
        backend = ecs_backends[DEFAULT_ACCOUNT_ID][REGION]
        (service,) = backend.services.values()
        service.running_count = count

    def cdk(self, arguments: Sequence[str]) -> int:
        """Stand in for the CLI: delete the stacks as CloudFormation does, or fail as told."""
        self.cdk_calls.append(list(arguments))
        self.calls.append("cdk " + " ".join(arguments))
        code = self.cdk_codes.pop(0) if self.cdk_codes else 0
        if arguments[0] == "destroy" and code == 0:
            calls = list(self.calls)
            for name in reversed(self.environment.stacks):
                self.aws.cloudformation.delete_stack(StackName=name)
            self.calls[:] = calls
        return code

    def answer(self, operation: str, answer: Callable[[Values], Values | None]) -> None:
        """Answer an operation that moto lacks or plays otherwise; None leaves it to moto."""
        self.answers[operation] = answer

    def after(self, operation: str, happens: Callable[[], object]) -> None:
        """Have something happen when AWS has done an operation and we have not heard yet."""
        self.afters[operation] = happens

    def deployed(self, *deployments: Values) -> None:
        """Have ECS remember those service deployments, oldest first."""
        made = [
            {"createdAt": datetime(2026, 11, 24, day, tzinfo=UTC), **deployment}
            for day, deployment in enumerate(deployments)
        ]
        self.answer("ListServiceDeployments", lambda _: {"serviceDeployments": made})


class Wire:
    """The clients of a whole test run, which are slow to make; what they call is a test's own."""

    world: World

    def __init__(self) -> None:
        self.session = boto3.Session(region_name=REGION)
        before: Callable[..., Any] = self._before  # an answer, which the stubs do not foresee
        self.session.events.register("before-call", before)
        self.session.events.register("after-call", self._after)
        self.aws = Aws(self.session)

    def make_world(self, values: Values) -> World:
        """Give an account with nothing in it, whose every call is recorded."""
        self.world = World(Environment("sandbox", parse(values)["sandbox"]), self.session, self.aws)
        # moto lets nobody write below /aws, where AWS has the images' parameters.
        self.world.answer("GetParameter", _image)
        return self.world

    def _before(
        self,
        model: OperationModel,
        params: Values,
        **_: object,
    ) -> tuple[object, Values] | None:
        self.world.calls.append(model.name)
        if model.name not in self.world.answers:
            return None
        body = params.get("body")
        given = body if isinstance(body, dict) else json.loads(body or "{}")
        answered = self.world.answers[model.name](given)
        return None if answered is None else (SimpleNamespace(status_code=HTTPStatus.OK), answered)

    def _after(self, model: OperationModel, **_: object) -> None:
        for operation in (model.name, "*"):
            if operation in self.world.afters:
                self.world.afters[operation]()


def _image(given: Values) -> Values | None:
    """Answer for the parameter of an image; the others are moto's."""
    return {"Parameter": {"Value": "ami-1"}} if given["Name"].endswith("/image_id") else None
