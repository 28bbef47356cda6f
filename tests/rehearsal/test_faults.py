"""What breaks is replaced, rolled back or waited for, and the service's events say why."""

from __future__ import annotations

import copy
import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rehearsal.engines import Engine
from tests.rehearsal.playing import DOCKER, Played, until

pytestmark = pytest.mark.engine

# The numbers are told with: pytest --log-cli-level=INFO
LOG = logging.getLogger(__name__)
# Between a task's end, or the request to stop it, and the making of another; until that one runs
# it takes as long as the machine does.
REPLACED_SECONDS = 3


@pytest.fixture(scope="module")
def played(
    engine: Engine, assembly: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """The sandbox as its own templates have it, steady."""
    found = Played(tmp_path_factory.mktemp("state"), assembly, engine.name)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    found.suspend_scaling()
    yield found
    found.down()


@pytest.fixture
def steady(played: Played) -> Iterator[Played]:
    """The same; whatever a test broke is mended afterwards."""
    played.settle()
    played.settle_hosts()
    yield played
    played.restore()


@DOCKER
def test_no_page_and_no_stranger_drives_it(steady: Played) -> None:
    endpoint = steady.folder.status()["endpoint"]
    for headers in ({}, {"X-Drydock-Token": "guessed"}):
        request = urllib.request.Request(
            f"{endpoint}/_rehearsal/fail", data=b'{"kind": "capacity", "arguments": []}',
            headers=headers,
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=5)


@DOCKER
def test_what_its_balancer_has_counted_is_read_without_the_token(steady: Played) -> None:
    address = f"{steady.folder.status()['endpoint']}/_rehearsal/requests"

    def counted() -> Any:  # noqa: ANN401
        with urllib.request.urlopen(address, timeout=5) as answer:
            told = json.load(answer)
        assert abs(told["at"] - time.time()) < 5
        (counts,) = told["groups"].values()
        return counts

    before = counted()
    for _ in range(3):
        urllib.request.urlopen(f"http://127.0.0.1:{steady.port}/identity", timeout=5).close()
    until(lambda: counted()["requests"] == before["requests"] + 3, seconds=5)
    assert counted()["failures"] == before["failures"]


def test_the_limits_of_its_containers_are_the_templates(steady: Played, engine: Engine) -> None:
    definition = steady.client("ecs").describe_task_definition(
        taskDefinition=steady.described()["taskDefinition"]
    )["taskDefinition"]
    (wanted,) = definition["containerDefinitions"]
    for task in steady.tasks():
        (container,) = task["containers"]
        found = engine.inspect(container["runtimeId"])
        host, config = found["HostConfig"], found["Config"]
        assert host["Memory"] == wanted["memory"] << 20
        assert host["MemoryReservation"] == wanted["memoryReservation"] << 20
        assert host["CpuShares"] == wanted["cpu"]
        assert host["NanoCpus"] == int(definition["cpu"]) * 10**9 // 1024
        assert host["ReadonlyRootfs"] is wanted["readonlyRootFilesystem"]
        assert host["Privileged"] is False
        assert config["User"] == wanted["user"]
        assert config["StopTimeout"] == wanted["stopTimeout"]
        environment = dict(one.split("=", 1) for one in config["Env"])
        for variable in wanted["environment"]:
            assert environment[variable["name"]] == variable["value"]


def test_its_page_names_the_task_the_instance_and_the_zone(steady: Played) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{steady.port}/identity", timeout=5) as answer:
        identity = json.load(answer)
    task = next(one for one in steady.tasks() if one["taskArn"] == identity["task"])
    assert identity["container_instance"] == task["containerInstanceArn"]
    assert identity["availability_zone"] == task["availabilityZone"]
    assert identity["service"] == steady.service


@DOCKER
def test_what_its_containers_write_is_in_cloudwatch_logs(steady: Played) -> None:
    task = steady.tasks()[0]["taskArn"].rpartition("/")[2]
    logs = steady.client("logs")
    (group,) = [
        one["logGroupName"]
        for one in logs.describe_log_groups()["logGroups"]
        if one["logGroupName"].startswith("Sandbox-Web-LogsContainers")
    ]
    events = logs.get_log_events(logGroupName=group, logStreamName=f"web/web/{task}")["events"]
    assert any('"serving"' in one["message"] for one in events)


def test_a_killed_container_is_replaced_at_once(steady: Played, engine: Engine) -> None:
    victim = steady.tasks()[0]
    (container,) = victim["containers"]
    with steady.load() as load:
        engine.kill(container["runtimeId"])
        until(lambda: replaced(steady, victim), seconds=30)
    assert load.asked > 0
    (stopped,) = (one for one in steady.tasks("STOPPED") if one["taskArn"] == victim["taskArn"])
    assert 0 <= replaced_after(steady, stopped["executionStoppedAt"]) < REPLACED_SECONDS
    assert stopped["stoppedReason"] == "Essential container in task exited"
    assert stopped["containers"][0]["exitCode"] == 137


@DOCKER
def test_a_stopped_task_is_replaced_at_once(steady: Played) -> None:
    victim = steady.tasks()[0]
    with steady.load() as load:
        asked = datetime.now(UTC)
        steady.client("ecs").stop_task(cluster=steady.cluster, task=victim["taskArn"], reason="lab")
        until(lambda: replaced(steady, victim), seconds=30)
        assert 0 <= replaced_after(steady, asked) < REPLACED_SECONDS
        steady.settle()
    assert load.failures == []


@DOCKER
def test_an_image_that_crashes_is_rolled_back_and_no_request_fails(steady: Played) -> None:
    is_rolled_back(
        steady, "crash", r"Essential container in task exited",
        r"has stopped: Essential container in task exited\.",
    )  # fmt: skip


@DOCKER
@pytest.mark.parametrize(
    ("how", "reason", "event"),
    [
        (
            "silent",
            r"Task failed (container|ELB) health checks",
            r"failed container health checks\.|\(reason (Health checks failed|Request timed out)",
        ),
        (
            "unhealthy",
            r"Task failed (container|ELB) health checks",
            r"failed container health checks\.|Health checks failed with these codes: \[500\]",
        ),
        ("missing", r"CannotPullContainerError", r"has stopped: CannotPullContainerError: "),
    ],
)
def test_a_bad_image_is_rolled_back_and_no_request_fails(
    steady: Played, how: str, reason: str, event: str
) -> None:
    is_rolled_back(steady, how, reason, event)


def is_rolled_back(steady: Played, how: str, reason: str, event: str) -> None:
    """Roll a bad image out under load; see it rolled back, and why."""
    before = steady.described()["taskDefinition"]
    with steady.load() as load:
        (bad,) = re.findall(r"rolls out (\S+:\d+)", steady.fail("image", "web", how))
        assert not before.endswith(f"/{bad}")
        until(lambda: rolled_back(steady, before), seconds=300)
        steady.settle()
    assert load.failures == []
    events = "\n".join(steady.events())
    assert re.search(event, events), events
    assert "deployment failed: tasks failed to start." in events
    assert "rolling back to deployment ecs-svc/" in events
    reasons = {
        one.get("stoppedReason", "")
        for one in steady.tasks("STOPPED")
        if one["taskDefinitionArn"].endswith(f"/{bad}")
    }
    assert any(re.search(reason, found) for found in reasons), reasons
    deployments = steady.client("ecs").list_service_deployments(
        cluster=steady.cluster, service=steady.service
    )["serviceDeployments"]
    newest = max(deployments, key=lambda one: one["createdAt"])
    assert newest["status"] == "ROLLBACK_SUCCESSFUL"


def test_tasks_of_a_lost_instance_are_placed_elsewhere(steady: Played) -> None:
    before = {one["ec2InstanceId"] for one in steady.instances()}
    with steady.load() as load:
        time.sleep(1)
        said = steady.fail("instance")
        until(lambda: len(steady.tasks()) == 2 and steady.settle() >= 0, seconds=180)
    LOG.info("%s failed of %s: %s", len(load.failures), load.asked, said.strip())
    (in_flight,) = re.findall(r"(\d+) requests? (?:was|were) under way on it", said)
    assert len(load.failures) <= int(in_flight)
    until(lambda: len(steady.instances()) == 2, seconds=60)
    assert {one["ec2InstanceId"] for one in steady.instances()} != before


@DOCKER
def test_where_there_is_no_room_an_instance_boots_and_the_event_says_why(steady: Played) -> None:
    ecs = steady.client("ecs")
    before = {one["containerInstanceArn"].rpartition("/")[2] for one in steady.instances()}
    large = wider(ecs, steady.described()["taskDefinition"])
    ecs.update_service(cluster=steady.cluster, service=steady.service, taskDefinition=large)
    told: list[str] = []

    def is_told() -> bool:
        told[:] = [one for one in steady.events() if "The closest matching" in one]
        return bool(told)

    until(is_told, seconds=30)
    words = r"\(container-instance {}\) has insufficient (memory|CPU units) available"
    assert (
        "was unable to place a task because no container instance met all of its requirements. "
        "The closest matching (container-instance "
    ) in told[0]
    for instance in before:
        assert re.search(words.format(instance), told[0]), told[0]
    until(lambda: len(steady.instances()) > len(before), seconds=120)
    steady.settle(seconds=240)
    assert {one["taskDefinitionArn"] for one in steady.tasks()} == {large}


@DOCKER
def test_a_task_whose_health_checks_fail_is_replaced_before_it_is_stopped(steady: Played) -> None:
    victim = steady.tasks()[0]
    with steady.load() as load:
        steady.fail("health", victim["taskArn"].rpartition("/")[2])
        until(lambda: replaced(steady, victim), seconds=120)
        steady.settle()
    assert load.failures == []
    assert len(steady.tasks()) == 2


@DOCKER
def test_a_load_beyond_the_target_scales_the_service_out(steady: Played) -> None:
    steady.suspend_scaling(suspended=False)
    try:
        with steady.load(60) as load:
            until(lambda: len(steady.tasks()) == 6, seconds=120)
        assert load.failures == []
    finally:
        steady.suspend_scaling()
        steady.scale(2)


@DOCKER
def test_a_lost_zone_leaves_the_service_in_the_other(steady: Played) -> None:
    steady.fail("az", "us-east-1a")
    # A replacement waits while what is just being scaled in has the room, and has no zone yet.
    until(lambda: [one["lastStatus"] for one in steady.tasks()] == ["RUNNING"] * 2, seconds=180)
    zones = {task.get("availabilityZone") for task in steady.tasks()}
    assert zones == {"us-east-1b"}


@DOCKER
def test_without_capacity_tasks_wait_and_come_when_there_is_some(steady: Played) -> None:
    ecs = steady.client("ecs")
    steady.fail("capacity")
    before = len(steady.instances())
    # Those before it may have grown the group to its maximum, where nothing boots.
    steady.allow_instances(before + 2)
    large = wider(ecs, steady.described()["taskDefinition"])
    ecs.update_service(
        cluster=steady.cluster, service=steady.service, taskDefinition=large,
        desiredCount=before + 1,
    )  # fmt: skip
    try:
        until(lambda: steady.described()["pendingCount"] > 0, seconds=30)
        time.sleep(3)
        assert steady.described()["pendingCount"] > 0
        assert len(steady.instances()) == before
        done = steady.run("restore", "sandbox")
        assert "EC2 has instances again" in done.stderr
        until(lambda: len(steady.instances()) > before, seconds=120)
    finally:
        steady.scale(2)


def replaced(played: Played, victim: Any) -> bool:  # noqa: ANN401
    """Say whether the task is on its way out and two others run."""
    running = [task for task in played.tasks() if task["lastStatus"] == "RUNNING"]
    return len(running) == 2 and victim["taskArn"] not in {task["taskArn"] for task in running}


def replaced_after(played: Played, ended: datetime) -> float:
    """Give the seconds from the end of a task until its replacement, the newest, was made."""
    newest: datetime = max(task["createdAt"] for task in played.tasks())
    took = (newest - ended).total_seconds()
    LOG.info("replaced after %.2f s", took)
    return took


def rolled_back(played: Played, to: str) -> bool:
    found = played.described()
    return found["taskDefinition"] == to and len(found["deployments"]) == 1


def wider(ecs: Any, arn: str) -> str:  # noqa: ANN401
    """Register the same task with a reservation for which an instance must be empty."""
    found = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    containers = copy.deepcopy(found["containerDefinitions"])
    containers[0] |= {"memory": 1750, "memoryReservation": 1750}
    kept = ("family", "networkMode", "placementConstraints", "requiresCompatibilities",
            "executionRoleArn", "taskRoleArn")  # fmt: skip
    registered = ecs.register_task_definition(
        containerDefinitions=containers, **{name: found[name] for name in kept if name in found}
    )
    return str(registered["taskDefinition"]["taskDefinitionArn"])
