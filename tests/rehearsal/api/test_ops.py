"""The project's own commands run on the rehearsal as they are."""

from __future__ import annotations

import time

import boto3
import pytest

from ops import destroy, environment
from ops.aws import Aws
from ops.deploy import await_services, find_url
from ops.environment import CLUSTER, GROUP, SERVICE, Environment, Failed, of_kind
from rehearsal.world import World
from settings import parse
from tests.conftest import Values
from tests.rehearsal.acting import tick_until, until
from tests.rehearsal.api.conftest import Served


class ShortClock:
    """Lets a hundredth of the time pass that is asked for."""

    def now(self) -> float:
        return time.monotonic() * 100

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 100)


class TickingClock(ShortClock):
    """Lets a World tick while time passes, so that no more happens than is waited for."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._world.tick()


@pytest.fixture
def aws(idle: Served, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """The commands' clients, pointed at the endpoint by the environment alone."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", idle.endpoint)
    return Aws(boto3.Session(region_name="us-east-1"))


@pytest.fixture
def sandbox(values: Values) -> Environment:
    return Environment("sandbox", parse(values)["sandbox"])


@pytest.mark.usefixtures("served")
def test_a_deploy_sees_its_services_answer(aws: Aws, sandbox: Environment) -> None:
    asked: list[str] = []

    def fetch(url: str) -> int:
        asked.append(url)
        return 200

    url = find_url(aws, sandbox)
    await_services(
        aws, sandbox, url, clock=ShortClock(), fetch=fetch, say=asked.append, wait_seconds=300
    )
    assert url == "http://127.0.0.1:8080"
    assert asked[-1].startswith(url)


def test_a_deploy_sees_that_its_service_was_rolled_back(
    aws: Aws, sandbox: Environment, still: Served
) -> None:
    world = still.world
    now = still.described()["taskDefinition"]
    definition = still.ecs.describe_task_definition(taskDefinition=now)["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    broken = still.ecs.register_task_definition(
        family="broken", containerDefinitions=[container | {"image": "broken:1"}]
    )["taskDefinition"]["taskDefinitionArn"]

    def roll_out() -> None:
        still.ecs.update_service(
            cluster=still.cluster, service=still.service, taskDefinition=broken
        )

    def await_it() -> None:
        await_services(
            aws, sandbox, "http://x", clock=TickingClock(world), fetch=lambda _: 200, say=print,
            wait_seconds=30,
        )  # fmt: skip

    roll_out()
    tick_until(world, lambda: world.outcome(0) == "rolled-back")
    name = environment.resources(aws.cloudformation, [sandbox.service_stack("web")])
    assert of_kind(name, SERVICE)
    # What runs is what the template wants: a rollback that is over is history.
    await_it()
    roll_out()
    with pytest.raises(Failed, match="rolled back"):
        await_it()


def test_a_teardown_finds_the_stacks_and_waits_until_all_is_gone(
    aws: Aws, sandbox: Environment, served: Served
) -> None:
    served.register("by-hand")
    served.ecs.run_task(cluster=served.cluster, taskDefinition="by-hand")
    found = environment.stacks(aws.cloudformation, sandbox)
    assert {one["StackName"] for one in found} == set(sandbox.stacks)
    resources = environment.resources(aws.cloudformation, [one["StackId"] for one in found])
    assert not environment.is_half_destroyed(resources, aws.autoscaling, aws.scalable_targets)
    said: list[str] = []
    clock = ShortClock()
    services = of_kind(resources, SERVICE)
    destroy.stop_services(
        aws.ecs, aws.scalable_targets, services=services, clock=clock, say=said.append
    )
    assert served.described()["runningCount"] == 0
    destroy.stop_other_tasks(
        aws.ecs, clusters=of_kind(resources, CLUSTER), clock=clock, say=said.append
    )
    assert served.tasks() == []
    (group,) = of_kind(resources, GROUP)
    destroy.empty_group(aws.autoscaling, group=group, clock=clock, say=said.append)
    until(lambda: not served.world.state.instances)
    assert environment.is_half_destroyed(resources, aws.autoscaling, aws.scalable_targets)


def test_the_ami_of_a_template_is_found_by_its_name(aws: Aws, served: Served) -> None:
    (cluster,) = (
        one for one in served.world.stacks.records.values() if one.stack.name.endswith("Cluster")
    )
    (name,) = (
        str(one["Default"])
        for one in cluster.stack.template["Parameters"].values()
        if "image_id" in str(one.get("Default"))
    )
    value = aws.parameters.get_parameter(Name=name)["Parameter"]["Value"]
    (described,) = {
        one["Instances"][0]["ImageId"]
        for one in served.client("ec2").describe_instances()["Reservations"]
    }
    assert value == described
    # Other parameters are moto's.
    served.client("ssm").put_parameter(Name="/mine", Value="1", Type="String")
    assert aws.parameters.get_parameter(Name="/mine")["Parameter"]["Value"] == "1"
