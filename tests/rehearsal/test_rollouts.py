"""No request fails while tasks come and go in ECS's order; in the other order some do.

Each request is tried once, on a connection of its own, on a balancer that tries no target twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.engines import Engine
from tests.conftest import Values, cdk, once, sandbox_project
from tests.rehearsal.load import Load
from tests.rehearsal.playing import DOCKER, Played, until

pytestmark = pytest.mark.engine

# The numbers are told with: pytest --log-cli-level=INFO
LOG = logging.getLogger(__name__)
# What the rollout is claimed for, and its reverse is compared with.
REQUESTS = 10_000
PER_SECOND = 200


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two assemblies, whose images differ: the second page says so."""

    def drain_nothing(environments: Values) -> None:
        # Answering on after SIGTERM would hide the order: sped-up health checks take a target away
        # within that time, on a machine that is held up before its container stops.
        environments["sandbox"]["services"]["web"]["task"]["drain_seconds"] = 0

    def synthesize(directory: Path) -> None:
        project = sandbox_project(directory, drain_nothing)
        page = project / "service" / "web" / "page.html"
        for name in ("first", "second"):
            done = cdk("synth", "--quiet", "--output", name, cwd=project)
            assert done.returncode == 0, done.stderr
            page.write_text(page.read_text(encoding="utf-8").replace("<h1>", "<h1>New: "), "utf-8")

    folder = once(tmp_path_factory, "versions", synthesize)
    return folder / "first", folder / "second"


@pytest.fixture(scope="module")
def played(
    engine: Engine, versions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """The sandbox, steady."""
    found = Played(tmp_path_factory.mktemp("state"), versions[0], engine.name)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    found.suspend_scaling()
    yield found
    found.down()


@pytest.fixture
def steady(played: Played) -> Played:
    """The same, with two tasks on two instances again."""
    if played.described()["desiredCount"] != 2:
        played.scale(2)
    played.settle()
    return played


def under_load(load: Load, change: Callable[[], None], *, requests: int = 0) -> Load:
    """Let something happen under a load, of as many requests as a claim needs, or more."""
    with load:
        time.sleep(1)
        change()
        time.sleep(1)
        until(lambda: load.asked >= requests, seconds=2 * requests / PER_SECOND)
    LOG.info("%s failed of %s", len(load.failures), load.asked)
    return load


def test_a_rollout_fails_no_request(steady: Played, versions: tuple[Path, Path]) -> None:
    before = {task["taskArn"] for task in steady.tasks()}

    def change() -> None:
        roll_out(steady, versions[1])

    if steady.engine == "docker":
        load = under_load(steady.load(PER_SECOND), change, requests=REQUESTS)
    else:
        load = under_load(steady.load(), change)
    assert load.failures == []
    assert len(load.answering(since=0)) == 4
    assert not before & {task["taskArn"] for task in steady.tasks()}


@DOCKER
def test_the_same_rollout_in_the_other_order_does(
    steady: Played, versions: tuple[Path, Path]
) -> None:
    steady.fail("draining")
    try:
        load = under_load(steady.load(PER_SECOND), lambda: roll_out(steady, versions[0]))
    finally:
        steady.restore()
    assert len(load.failures) > 0


@DOCKER
def test_scaling_out_and_in_fails_no_request(steady: Played) -> None:
    def scale() -> None:
        for count in (6, 2):
            steady.scale(count)
            steady.settle()
            assert len(steady.tasks()) == count

    load = under_load(steady.load(), scale)
    assert load.failures == []
    assert len(load.answering(since=0)) == 6


@DOCKER
def test_draining_an_instance_fails_no_request(steady: Played) -> None:
    instance = steady.instances()[0]["containerInstanceArn"]
    ecs = steady.client("ecs")

    def drain() -> None:
        ecs.update_container_instances_state(
            cluster=steady.cluster, containerInstances=[instance], status="DRAINING"
        )
        until(lambda: not on(steady, instance), seconds=120)
        steady.settle()

    try:
        load = under_load(steady.load(), drain)
    finally:
        ecs.update_container_instances_state(
            cluster=steady.cluster, containerInstances=[instance], status="ACTIVE"
        )
    assert load.failures == []


@DOCKER
def test_an_instance_refresh_of_every_host_fails_no_request(steady: Played) -> None:
    before = {one["ec2InstanceId"] for one in steady.instances()}
    autoscaling = steady.client("autoscaling")
    (group,) = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]

    def refresh() -> None:
        name = group["AutoScalingGroupName"]
        started = autoscaling.start_instance_refresh(AutoScalingGroupName=name)

        def is_over() -> bool:
            (found,) = autoscaling.describe_instance_refreshes(
                AutoScalingGroupName=name, InstanceRefreshIds=[started["InstanceRefreshId"]]
            )["InstanceRefreshes"]
            return bool(found["Status"] == "Successful")

        until(is_over, seconds=240)

    load = under_load(steady.load(), refresh)
    assert load.failures == []
    after = {one["ec2InstanceId"] for one in steady.instances()}
    assert len(after) == len(before)
    assert not before & after


def roll_out(played: Played, assembly: Path) -> None:
    done = played.run("deploy", "sandbox", f"--assembly={assembly}")
    assert done.returncode == 0, done.stderr


def on(played: Played, instance: str) -> list[str]:
    """Name the running tasks on an instance."""
    return [task["taskArn"] for task in played.tasks() if task["containerInstanceArn"] == instance]
