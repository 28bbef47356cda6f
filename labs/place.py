"""Where a lab is done: an environment, on AWS or as a rehearsal plays it, and what is in it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.progress import FOLDER
from ops import environment as deployed
from ops.deploy import find_url
from ops.environment import Environment, Failed
from ops.watch.connection import Connect, Connection
from ops.watch.read import batches

if TYPE_CHECKING:
    from types_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef
    from types_boto3_ecs.type_defs import ContainerInstanceTypeDef, ServiceTypeDef, TaskTypeDef

    from ops.aws import Aws

CAPACITY_PROVIDER = "AWS::ECS::CapacityProvider"
# What DescribeTasks and DescribeContainerInstances take at most in one call.
DESCRIBED_A_CALL = 100


class Place:
    """An environment and the clients of whoever answers for it.

    It is looked for when something of it is first asked for, so a lab that needs no environment
    runs without one; then Failed is raised where there is none, and where a resource is missing.
    """

    def __init__(
        self, environment: Environment, connect: Connect, notes: Path | None = None
    ) -> None:
        self.environment = environment
        # Where a lab's commands write what they measure, and its check reads it.
        self.notes = notes or FOLDER / environment.name
        self._connect = connect

    @cached_property
    def _connection(self) -> Connection:
        return self._connect()

    @property
    def aws(self) -> Aws:
        return self._connection.aws

    @property
    def words(self) -> str:
        """What a person calls the place, like `the rehearsal at http://127.0.0.1:4566`."""
        return self._connection.place

    @property
    def is_rehearsal(self) -> bool:
        """Whether somebody else answers in AWS's place."""
        return self.endpoint is not None

    @property
    def endpoint(self) -> str | None:
        """The URL of who answers in AWS's place; None on AWS."""
        return self._connection.endpoint

    @property
    def region(self) -> str:
        return self.environment.settings.region

    @cached_property
    def cluster(self) -> str:
        """The cluster's name."""
        return self._one(self.environment.stack("Cluster"), deployed.CLUSTER)

    @cached_property
    def identity(self) -> str:
        """What tells this cluster from one of the same name that was played or deployed before."""
        return f"{self.cluster} of {self.describe_service()['createdAt'].isoformat()}"

    @cached_property
    def service_arn(self) -> str:
        return self._one(self._service_stack, deployed.SERVICE)

    @property
    def service(self) -> str:
        """The name of the ECS service that the load balancer forwards to."""
        return self.service_arn.rpartition("/")[2]

    def other_services(self) -> list[str]:
        """Name the other ECS services of the settings that are deployed, in their order there."""
        names = map(self.service_named, self.environment.settings.services)
        return [name for name in names if name not in {"", self.service}]

    def is_deployed(self, microservice: str) -> bool:
        """Whether the microservice has a stack, whatever the settings say of it now."""
        stack = self.environment.service_stack(microservice)
        return any(one["StackName"] == stack for one in self._stacks)

    def service_named(self, microservice: str) -> str:
        """Name a microservice's ECS service; nothing where the settings or AWS have none."""
        declared = microservice in self.environment.settings.services
        if not (declared and self.is_deployed(microservice)):
            return ""
        found = self._resources(self.environment.service_stack(microservice))
        return next(iter(deployed.of_kind(found, deployed.SERVICE)), "").rpartition("/")[2]

    @cached_property
    def group(self) -> str:
        """The name of the Auto Scaling group that the container instances are in."""
        return self._one(self.environment.stack("Cluster"), deployed.GROUP)

    @cached_property
    def provider(self) -> str:
        """The capacity provider's name."""
        return self._one(self.environment.stack("Cluster"), CAPACITY_PROVIDER)

    @cached_property
    def declared_definition(self) -> str:
        """The ARN of the task definition that the templates declare."""
        return self._one(self._service_stack, deployed.TASK_DEFINITION)

    @property
    def family(self) -> str:
        """The family of the service's task definitions."""
        return self.declared_definition.rpartition("/")[2].rpartition(":")[0]

    @cached_property
    def target_group(self) -> str:
        """The ARN of the service's target group; of two, the one that the service names first."""
        (found, *_) = self.describe_service()["loadBalancers"]
        return found["targetGroupArn"]

    @cached_property
    def url(self) -> str:
        """The load balancer's, without a slash at its end."""
        return find_url(self.aws, self.environment).rstrip("/")

    def describe_service(self, name: str = "") -> ServiceTypeDef:
        """Give the service, or another of that name, as ECS describes it now."""
        name = name or self.service
        answer = self.aws.ecs.describe_services(cluster=self.cluster, services=[name])
        if not answer["services"]:
            raise Failed(f"service {name}: expected in cluster {self.cluster}, is not there")
        return answer["services"][0]

    def describe_group(self) -> AutoScalingGroupTypeDef:
        """Give the Auto Scaling group as it is now."""
        answer = self.aws.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.group]
        )
        return answer["AutoScalingGroups"][0]

    def tasks(self, *, stopped: bool = False, of_service: bool = True) -> list[TaskTypeDef]:
        """Describe tasks: those that shall run or, for the hour that ECS knows them, the others."""
        asked: dict[str, Any] = {"desiredStatus": "STOPPED" if stopped else "RUNNING"}
        if of_service:
            asked["serviceName"] = self.service
        else:
            asked["family"] = self.family
        pages = self.aws.ecs.get_paginator("list_tasks").paginate(cluster=self.cluster, **asked)
        arns = [arn for page in pages for arn in page["taskArns"]]
        return [
            task
            for some in batches(arns, DESCRIBED_A_CALL)
            for task in self.aws.ecs.describe_tasks(cluster=self.cluster, tasks=some)["tasks"]
        ]

    def instances(self) -> list[ContainerInstanceTypeDef]:
        """Describe the container instances that are registered with the cluster."""
        pages = self.aws.ecs.get_paginator("list_container_instances").paginate(
            cluster=self.cluster
        )
        arns = [arn for page in pages for arn in page["containerInstanceArns"]]
        return [
            instance
            for some in batches(arns, DESCRIBED_A_CALL)
            for instance in self.aws.ecs.describe_container_instances(
                cluster=self.cluster, containerInstances=some
            )["containerInstances"]
        ]

    @cached_property
    def container(self) -> str:
        """The name of the service's own container, beside which ECS may start others in a task."""
        (first, *_) = self.aws.ecs.describe_task_definition(
            taskDefinition=self.declared_definition
        )["taskDefinition"]["containerDefinitions"]
        return first["name"]

    @property
    def _service_stack(self) -> str:
        services = self.environment.settings.services
        routed = (name for name, one in services.items() if one.route is not None)
        first = next(routed, None)
        if first is None:
            raise Failed(
                f"{self.environment.name}.services: expected one with a route, got "
                f"{', '.join(services)}"
            )
        return self.environment.service_stack(first)

    def _one(self, stack: str, kind: str) -> str:
        """Give the id of the stack's first resource of a type."""
        found = deployed.of_kind(self._resources(stack), kind)
        if not found:
            raise Failed(f"{stack}: expected a resource of type {kind}; {self._deploy}")
        return found[0]

    def _resources(self, stack: str) -> list[deployed.Resource]:
        there = {one["StackName"] for one in self._stacks}
        if stack not in there:
            raise Failed(f"{stack}: expected a stack on {self.words}; {self._deploy}")
        if stack not in self._read:
            self._read[stack] = deployed.resources(self.aws.cloudformation, [stack])
        return self._read[stack]

    @cached_property
    def _stacks(self) -> list[Any]:
        return [*deployed.stacks(self.aws.cloudformation, self.environment)]

    @cached_property
    def _read(self) -> dict[str, list[deployed.Resource]]:
        return {}

    @property
    def _deploy(self) -> str:
        return f"deploy it with: make deploy ENV={self.environment.name}"
