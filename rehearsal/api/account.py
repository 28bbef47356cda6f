"""The world as the API looks things up in it, and what only the API has to remember."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rehearsal.api import wire
from rehearsal.api.errors import ApiError, invalid, refused
from rehearsal.api.shapes import from_cloudformation
from rehearsal.api.wire import Answer
from rehearsal.records import Definition, Host, ServiceRecord, TaskRecord
from rehearsal.world import World
from scheduler.model import Group, Instance, Refresh, Service, Task
from templates import Resource, Value

Asked = Mapping[str, Any]
Operation = Callable[["Account", Asked], Answer]

# Whom the answers name where AWS names a principal; nobody's permissions are checked here.
PRINCIPAL = "user/rehearsal"
TOKEN_SECONDS = 24 * 3600


class Account:
    """An account with one environment in it; whoever asks holds the world's lock."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began = time.time()
        self.updated: float | None = None
        # What was tagged or changed of the cluster and its capacity provider, by ARN.
        self.tags: dict[str, dict[str, str]] = {}
        # Calls that came with a token, so that a second one does nothing: by operation and token,
        # each with when it was made, the oldest first.
        self.tokens: dict[tuple[str, str], tuple[float, Asked, Answer]] = {}
        # Instance refreshes by id, with their groups.
        self.refreshes: dict[str, tuple[str, Refresh]] = {}
        # Application Auto Scaling's SuspendedState, by service.
        self.suspended: dict[str, dict[str, bool]] = {}
        # NewInstancesProtectedFromScaleIn, where it was changed, by group.
        self.new_protected: dict[str, bool] = {}

    # Time and names.

    def now(self) -> float:
        """Give AWS's time here."""
        return self.world.clock.now()

    def wall(self, moment: float) -> float:
        """Give when that was, in seconds since the epoch."""
        return self.world.clock.wall(moment)

    def arn(self, path: str) -> str:
        """Make an ARN of ECS."""
        return self.world.arn(path)

    def iam(self, path: str) -> str:
        """Make an ARN of IAM."""
        known = self.world.stacks.known
        return f"arn:{known['AWS::Partition']}:iam::{known['AWS::AccountId']}:{path}"

    @property
    def region(self) -> str:
        return self.world.stacks.region

    @property
    def cluster_name(self) -> str:
        return self.world.cluster_name

    @property
    def cluster_arn(self) -> str:
        return self.arn(f"cluster/{self.cluster_name}")

    def instance_arn(self, instance_id: str) -> str:
        """Give a container instance's ARN."""
        return self.arn(f"container-instance/{self.cluster_name}/{instance_id}")

    def private_name(self, address: str) -> str:
        """Make the name that EC2 gives a private address, as it looks there; unverified."""
        zone = "ec2" if self.region == "us-east-1" else f"{self.region}.compute"
        return f"ip-{address.replace('.', '-')}.{zone}.internal"

    # The templates.

    def resources(self, kind: str) -> list[tuple[Resource, str, Mapping[str, Value]]]:
        """Give the resources of one type with their physical ids and resolved properties."""
        world = self.world
        return [
            (one, world.stacks.physical(one), world.graph.properties(one, known=world.stacks.known))
            for one in world.stacks.of_type(kind)
        ]

    def read(self, service: str, shape: str, properties: Mapping[str, Value]) -> dict[str, Any]:
        """Respell resolved properties as one of a service's shapes has them."""
        found: dict[str, Any] = from_cloudformation(
            wire.model(service).shape_for(shape), properties
        )
        return found

    def vpc_id(self) -> str:
        """Give the VPC's id; nothing where it is somebody else's."""
        return next((name for _, name, _ in self.resources("AWS::EC2::VPC")), "")

    def zones_of(self, subnets: Sequence[str]) -> dict[str, str]:
        """Give the zones of those subnets that the templates declare."""
        return {
            name: str(properties.get("AvailabilityZone"))
            for _, name, properties in self.resources("AWS::EC2::Subnet")
            if name in subnets
        }

    # Looking up.

    def check_cluster(self, asked: Asked) -> None:
        """Raise ApiError unless the cluster that is asked about is the one that there is."""
        self.check_cluster_name(asked.get("cluster") or "default")

    def check_cluster_name(self, named: str) -> None:
        """Raise ApiError unless that is the cluster's name or ARN."""
        if named not in (self.cluster_name, self.cluster_arn):
            raise ApiError("ClusterNotFoundException", "Cluster not found.")

    def _named(self, kind: str, named: str) -> str:
        """Take the name out of a name or an ARN; raise ApiError for another cluster's."""
        if not named.startswith("arn:"):
            return named
        parts = named.split(":", 5)
        path = parts[5].split("/") if len(parts) == 6 else []
        if len(path) not in (2, 3) or path[0] != kind or parts[2] != "ecs":
            raise invalid(f"Invalid identifier: {named}")
        if len(path) == 3 and path[1] != self.cluster_name:
            raise invalid(
                f"Invalid identifier: Identifier is for cluster {path[1]}. "
                f"Your cluster is {self.cluster_name}"
            )
        return path[-1]

    def service(self, named: str) -> ServiceRecord | None:
        """Find a service by name or ARN."""
        return self.world.services.get(self._named("service", named))

    def need_service(self, named: str) -> ServiceRecord:
        """Find a service that is not INACTIVE; raise ApiError where there is none."""
        record = self.service(named)
        if record is None or self.service_status(record) == "INACTIVE":
            raise ApiError("ServiceNotFoundException", "Service not found.")
        return record

    def service_of(self, record: ServiceRecord) -> Service:
        """Give a service as the scheduler has it, or as it was when it was deleted."""
        return record.deleted or self.world.state.services[record.name]

    def service_status(self, record: ServiceRecord) -> str:
        """Say whether a service is ACTIVE, DRAINING (deleted, with tasks left) or INACTIVE."""
        service = self.service_of(record)
        if service.is_active:
            return "ACTIVE"
        there = self.world.state.services.get(record.name) is service
        return "DRAINING" if there else "INACTIVE"

    def task(self, named: str) -> TaskRecord | None:
        """Find a task by id or ARN, while the API still knows it."""
        task_id = self._named("task", named)
        if len(task_id) > 36:
            raise invalid("taskId longer than 36.")
        if not re.fullmatch(r"[0-9a-f]{32}|[0-9a-f-]{36}", task_id):
            raise invalid("taskId length should be one of [32,36]")
        record = self.world.tasks.get(task_id)
        return record if record is not None and self.scheduled(record) is not None else None

    def scheduled(self, record: TaskRecord) -> Task | None:
        """Give a task as the scheduler has it; None once it has been forgotten."""
        task = self.world.state.tasks.get(record.id)
        return task if task is not None else self.stopped().get(record.id)

    def stopped(self) -> Mapping[str, Task]:
        """Give the stopped tasks that the API still knows."""
        return {one.id: one for one in self.world.state.stopped}

    def instances(self) -> list[Instance]:
        """Give the container instances: those that have registered."""
        hosts = self.world.hosts
        return [
            one
            for one in self.world.state.instances.values()
            if one.id in hosts and hosts[one.id].registered_at is not None
        ]

    def instance(self, named: str) -> Instance | None:
        """Find a container instance by id or ARN."""
        instance_id = self._named("container-instance", named)
        if len(instance_id) > 36:
            raise invalid("instanceId longer than 36.")
        one = self.world.state.instances.get(instance_id)
        return one if one is not None and self.host(one).registered_at is not None else None

    def host(self, instance: Instance) -> Host:
        """Give the EC2 instance of a container instance."""
        return self.world.hosts[instance.id]

    def of_ec2(self, ec2_id: str) -> Instance | None:
        """Find an instance by its EC2 id."""
        for one in self.world.state.instances.values():
            if one.id in self.world.hosts and self.host(one).ec2_id == ec2_id:
                return one
        return None

    def group_of(self, instance: Instance) -> Group | None:
        """Give an instance's Auto Scaling group."""
        return self.world.state.groups.get(instance.group or "")

    def definition(self, named: str) -> Definition | None:
        """Find a task definition by family (its newest ACTIVE one), family:revision or ARN."""
        family, _, revision = self._named("task-definition", named).partition(":")
        if revision:
            wanted = self.arn(f"task-definition/{family}:{revision}")
            return self.world.definitions.get(wanted)
        found = [
            one
            for one in self.world.definitions.values()
            if one.family == family and one.status == "ACTIVE"
        ]
        return max(found, key=lambda one: one.revision, default=None)

    def need_definition(self, named: str) -> Definition:
        """Find a task definition to run; raise ApiError where there is none, or not any more."""
        definition = self.definition(named)
        if definition is None:
            raise refused("TaskDefinition not found.")
        if definition.status != "ACTIVE":
            raise refused("TaskDefinition is inactive")
        return definition

    # Calls that shall not be done twice.

    def once(self, operation: str, asked: Asked, do: Callable[[], Answer]) -> Answer:
        """Do what is asked; a second call with the same client token gets the first one's answer.

        RunTask's tokens are known for 24 hours, on the page below; CreateService's are taken for
        the same, which is unverified. Source, read 2026-11-24:
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
        """
        token = asked.get("clientToken")
        if not token:
            return do()
        while self.tokens:
            oldest, (made_at, *_) = next(iter(self.tokens.items()))
            if made_at >= self.now() - TOKEN_SECONDS:
                break
            del self.tokens[oldest]
        if (operation, token) in self.tokens:
            _, before, answer = self.tokens[operation, token]
            if before != asked:
                raise ApiError(
                    "ConflictException",
                    "The client token was used before with other parameters.",
                )
            return answer
        answer = do()
        self.tokens[operation, token] = self.now(), asked, answer
        return answer


def batch(named: Sequence[str], limit: int, what: str) -> None:
    """Raise ApiError where more are named than one call takes."""
    if len(named) > limit:
        raise invalid(f"{what} can have at most {limit} items.")


def missing(arn: str) -> dict[str, str]:
    """Make the failure that says that something is not there."""
    return {"arn": arn, "reason": "MISSING"}


def uuid_of(text: str) -> str:
    """Make an id that stays the same for the same thing, where AWS gives something a UUID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))
