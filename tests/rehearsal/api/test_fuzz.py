"""Whatever is asked, the answer is an answer or an error of AWS's, and the world goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.core.model import OperationModel
from werkzeug.test import Client

from rehearsal.api import wire
from rehearsal.api.application import Application
from rehearsal.api.operations import ANSWERED
from rehearsal.world import World
from templates import Graph
from tests.rehearsal.acting import Ticking, acting_world, steady, until

EXAMPLES = 30
# What is not required by the model, but without which little is found out.
NEEDED = {"cluster", "name", "image", "memory", "taskDefinition", "desiredCount", "containerPort"}
Strategy = st.SearchStrategy[Any]
_SIGNED = {"elbv2": "elasticloadbalancing", "cloudwatch": "monitoring"}
_RANDOM = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


class Fuzzed:
    """A World, asked without a network between."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.application = Application(world)
        self.client = Client(self.application.listening({"localhost"}, 4566))
        self.names = self._names()

    def _names(self) -> Mapping[str, list[str]]:
        """Give what a parameter of such a name may say; the shortest fitting one counts."""
        world = self.world
        service, *_ = world.services.values()
        tasks, instances = list(world.tasks), list(world.state.instances)
        definitions = [*world.definitions, *(one.family for one in world.definitions.values())]
        (group,) = world.state.groups.values()
        (stack, *_) = world.stacks.records.values()
        (deployment, *_) = service.deployments

        def arns(kind: str) -> list[str]:
            kind = f"AWS::ElasticLoadBalancingV2::{kind}"
            return [world.stacks.physical(one) for one in world.stacks.of_type(kind)]

        return {
            "cluster": [world.cluster_name],
            "service": [service.name, service.arn],
            "servicename": ["fuzzed", "other", service.name],
            "servicedeploymentarn": [deployment.arn],
            "servicerevisionarn": [deployment.revision_arn],
            "task": tasks,
            "taskdefinition": definitions,
            "family": ["fuzzed", definitions[-1]],
            "containerinstance": instances,
            "targetid": instances,
            "capacityprovider": [group.provider],
            "name": ["web", "fuzzed", group.provider],
            "containername": ["web"],
            "image": ["fuzzed:1", "broken:1"],
            "autoscalinggroupname": [group.name],
            "instanceid": [one.ec2_id for one in world.hosts.values()],
            "stackname": [stack.stack.name, stack.id],
            "logicalresourceid": list(stack.physical),
            "physicalresourceid": list(stack.physical.values()),
            "resourceid": [f"service/{world.cluster_name}/{service.name}"],
            "resourcearn": [service.arn, world.arn(f"cluster/{world.cluster_name}"),
                            world.arn(f"task/{world.cluster_name}/{tasks[0]}"), definitions[0],
                            *arns("LoadBalancer"), *arns("TargetGroup")],
            "scalabledimension": ["ecs:service:DesiredCount"],
            "servicenamespace": ["ecs"],
            "loadbalancerarn": arns("LoadBalancer"),
            "listenerarn": arns("Listener"),
            "rulearn": arns("ListenerRule"),
            "targetgrouparn": arns("TargetGroup"),
            "field": ["memory", "instanceId", "attribute:ecs.availability-zone"],
            "expression": ["attribute:ecs.os-type == linux", "agentConnected == true", "("],
            "filter": ["attribute:ecs.os-type == linux", "nonsense"],
            "launchtype": ["EC2"],
            "networkmode": ["bridge", "awsvpc"],
            "schedulingstrategy": ["REPLICA"],
            "cpu": ["256", "64"],
            "memory": ["128", "512"],
        }  # fmt: skip

    def ask(self, operation: OperationModel, parameters: Any) -> tuple[int, str]:  # noqa: ANN401
        """Ask an operation; give the status and the body."""
        service = operation.service_model.service_name
        scope = f"testing/20261124/us-east-1/{_SIGNED.get(service, service)}/aws4_request"
        headers = {
            "Host": "localhost:4566",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, Signature=0",
        }
        if wire.protocol_of(operation) == "json":
            prefix = operation.service_model.metadata["targetPrefix"]
            headers["X-Amz-Target"] = f"{prefix}.{operation.name}"
            headers["Content-Type"] = "application/x-amz-json-1.1"
            body = json.dumps(parameters)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = _form(operation, parameters)
        answer = self.client.post("/", data=body, headers=headers)
        return answer.status_code, answer.get_data(as_text=True)


@pytest.fixture
def fuzzed(graph: Graph) -> Iterator[Fuzzed]:
    """A World whose services are steady, for all the examples."""
    with pytest.MonkeyPatch.context() as patch:
        world = acting_world(graph, patch)
        with Ticking(world):
            until(lambda: steady(world))
        yield Fuzzed(world)
        world.close()


OPERATIONS = [(service, name) for service, names in ANSWERED.items() for name in names]


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=lambda one: str(one))
def test_no_parameters_make_an_operation_fail(fuzzed: Fuzzed, service: str, name: str) -> None:
    operation = wire.model(service).operation_model(name)
    shape = operation.input_shape
    assert shape is not None
    wanted = _of(shape, fuzzed.names)

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    @given(wanted)
    def ask(parameters: Any) -> None:  # noqa: ANN401 - JSON
        status, body = fuzzed.ask(operation, parameters)
        assert status < 500, (status, body, parameters)
        assert "Traceback" not in body
        fuzzed.world.tick()

    ask()


def test_no_bytes_make_the_endpoint_fail(fuzzed: Fuzzed) -> None:
    @settings(max_examples=60)
    @given(st.binary(max_size=200), st.sampled_from(["ecs", "autoscaling", "ec2"]))
    def ask(body: bytes, service: str) -> None:
        scope = f"testing/20261124/us-east-1/{service}/aws4_request"
        answer = fuzzed.client.post(
            "/?Action=DescribeInstances",
            data=body,
            headers={
                "Host": "localhost:4566",
                "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, Signature=0",
                "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListTasks"
                if service == "ecs"
                else "",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        assert answer.status_code < 500

    ask()


def _of(shape: Shape, names: Mapping[str, list[str]], name: str = "", depth: int = 0) -> Strategy:
    """Make values that a shape allows, mostly, and mostly of things that there are."""
    if isinstance(shape, StructureShape):
        inside = {
            member: _of(one, names, member, depth + 1)
            for member, one in shape.members.items()
            if depth < 6
        }
        needed = {*shape.required_members, *NEEDED.intersection(inside)}
        required = {member: inside[member] for member in needed if member in inside}
        optional = {member: one for member, one in inside.items() if member not in required}
        right = _some(required, optional)
        return _mostly(right, _RANDOM) if depth == 0 else right
    if isinstance(shape, ListShape):
        return st.lists(_of(shape.member, names, name, depth + 1), min_size=1, max_size=2)
    if isinstance(shape, MapShape):
        return st.dictionaries(st.text(max_size=5), _of(shape.value, names), max_size=2)
    kind = shape.type_name
    if kind == "string":
        return _mostly(_text(shape, names, name), st.text(max_size=12))
    if kind in {"integer", "long"}:
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 100)
        return _mostly(st.integers(low, high), st.integers(-(1 << 31), (1 << 31) - 1))
    if kind == "boolean":
        return st.booleans()
    if kind == "timestamp":
        return st.integers(0, 1 << 32)
    return st.floats(0, 200)


def _text(shape: Shape, names: Mapping[str, list[str]], name: str) -> Strategy:
    key = name.lower()
    found = names.get(key) or names.get(key.removesuffix("s"))
    allowed = shape.metadata.get("enum")
    if found:
        return st.sampled_from(found)
    return st.sampled_from(allowed) if allowed else st.sampled_from(["a", "fuzzed", "/x", "1"])


def _mostly(right: Strategy, other: Strategy) -> Strategy:
    return st.integers(0, 11).flatmap(lambda chance: other if chance == 11 else right)


def _some(required: dict[str, Strategy], optional: dict[str, Strategy]) -> Strategy:
    """Take the required members and a few of the others."""

    def build(chosen: list[str]) -> Strategy:
        return st.fixed_dictionaries(required | {name: optional[name] for name in chosen})

    if not optional:
        return st.fixed_dictionaries(required)
    return st.lists(st.sampled_from(sorted(optional)), max_size=3, unique=True).flatmap(build)


def _form(operation: OperationModel, parameters: Any) -> str:  # noqa: ANN401
    """Write parameters as a form, by botocore where they fit their shape."""
    protocol = wire.protocol_of(operation)
    try:
        body = create_serializer(protocol, include_validation=False).serialize_to_request(
            parameters, operation
        )["body"]
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError):
        body = {"Action": operation.name, "Version": "1", "Random": json.dumps(parameters)}
    text = {key: str(one) for key, one in body.items()}
    return urlencode(text, errors="replace")
