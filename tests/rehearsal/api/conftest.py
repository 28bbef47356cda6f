"""A World that acts at once, served over HTTP, and boto3's clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.model import OperationModel
from moto.ecr.models import ecr_backends
from moto.logs.models import logs_backends

import rehearsal.api.server
from rehearsal.api import Server, serve
from rehearsal.api.application import Application
from rehearsal.api.shapes import problems
from rehearsal.stacks import ACCOUNT
from rehearsal.world import World
from templates import Graph
from tests.rehearsal.acting import ActingAgent, ActingBalancer, Ticking, acting_world, steady, until

REGION = "us-east-1"
# A client tries once: what is refused or fails is what the test is about.
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
# Of any service: its stubs know each by a name of its own.
_SESSION: Any = boto3.Session(
    aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION
)
Values = dict[str, Any]


@dataclass
class Served:
    """A World behind its endpoint."""

    world: World
    server: Server
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, service: str, *, region: str = REGION) -> Any:  # noqa: ANN401 - of any service
        """Give boto3's client of a service."""
        key = f"{service} {region}"
        if key not in self._clients:
            self._clients[key] = _SESSION.client(
                service, endpoint_url=self.endpoint, config=ONCE, region_name=region
            )
        return self._clients[key]

    @property
    def ecs(self) -> Any:  # noqa: ANN401 - ECS's client
        return self.client("ecs")

    @property
    def cluster(self) -> str:
        return self.world.cluster_name

    @property
    def services(self) -> list[str]:
        """The names of the services that the templates declare."""
        return [one.definition.name for one in self.world.declared.services]

    @property
    def service(self) -> str:
        """The name of the service behind the balancer."""
        (name,) = (one for one in self.services if "-Web-" in one)
        return name

    @property
    def agent(self) -> ActingAgent:
        assert isinstance(self.world.agent, ActingAgent)
        return self.world.agent

    @property
    def balancer(self) -> ActingBalancer:
        assert isinstance(self.world.balancer, ActingBalancer)
        return self.world.balancer

    def described(self, service: str | None = None) -> Values:
        """Describe a service."""
        found: Values = self.ecs.describe_services(
            cluster=self.cluster, services=[service or self.service]
        )["services"][0]
        return found

    def tasks(self, **filters: object) -> list[str]:
        """List tasks."""
        pages = self.ecs.get_paginator("list_tasks").paginate(cluster=self.cluster, **filters)
        return [arn for page in pages for arn in page["taskArns"]]

    def register(self, family: str, **container: object) -> str:
        """Register a small task definition."""
        definition = {"name": "main", "image": "small:1", "memory": 32, **container}
        found: str = self.ecs.register_task_definition(
            family=family, containerDefinitions=[definition]
        )["taskDefinition"]["taskDefinitionArn"]
        return found


@dataclass(frozen=True)
class Answered:
    """What the API has answered in a test, and where that is not as botocore's model has it."""

    operations: set[tuple[str, str]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answered]:
    """Hold every answer of every test against botocore's model of it."""
    found = Answered()
    call = Application.call

    def checked(self: Application, operation: OperationModel, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - an answer
        answer = call(self, operation, parameters)
        found.operations.add((operation.service_model.service_name, operation.name))
        if operation.output_shape is not None:
            found.wrong.extend(
                f"{operation.name}: {one}" for one in problems(operation.output_shape, answer)
            )
        elif answer:
            found.wrong.append(f"{operation.name}: expected nothing, got {answer}")
        return answer

    monkeypatch.setattr(Application, "call", checked)
    yield found
    assert not found.wrong


@pytest.fixture
def idle(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A World that has begun and does not tick yet."""
    yield from _served(graph, monkeypatch)


@pytest.fixture
def served(idle: Served) -> Iterator[Served]:
    """A World that ticks, whose services are steady."""
    with Ticking(idle.world):
        until(lambda: steady(idle.world))
        yield idle


@pytest.fixture
def still(idle: Served) -> Served:
    """A World whose services are steady, and that ticks only when a test lets it."""
    with Ticking(idle.world):
        until(lambda: steady(idle.world))
    return idle


def _served(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(rehearsal.api.server, "POLL_SECONDS", 0.005)
    for backends in (logs_backends, ecr_backends, cloudwatch_backends):
        backends[ACCOUNT][REGION].reset()
    world = acting_world(graph, monkeypatch)
    server = serve(world, 0, say=world.say)
    world.endpoint_port = server.port
    try:
        yield Served(world, server)
    finally:
        server.close()
        world.close()
