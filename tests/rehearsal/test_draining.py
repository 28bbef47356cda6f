"""Behind a balancer no request fails while a container stops in ECS's order; in another some do.

ECS deregisters a task's targets, waits for the deregistration delay, and only then stops its
containers with SIGTERM, and SIGKILL after their stop timeout. Source, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/load-balancer-connection-draining.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rehearsal.balancer import Balancer, Listener, Target, TargetGroup
from rehearsal.engines import Engine
from tests.conftest import until
from tests.rehearsal.conftest import Containers, Task
from tests.rehearsal.load import Load
from tests.rehearsal.targets import needs_haproxy
from tests.rehearsal.test_running import answer, answered

pytestmark = [pytest.mark.engine, needs_haproxy]

PER_SECOND = 200
# Shorter than any that the settings allow, so that the tests are too: what must hold is the order.
DEREGISTRATION_SECONDS = 1
DRAIN_SECONDS = 2
GROUP = TargetGroup(
    "targetgroup/web",
    "web",
    path="/health/ready",
    attributes={"deregistration_delay.timeout_seconds": str(DEREGISTRATION_SECONDS)},
)
LISTENER = Listener("listener/app", 80, "HTTP", [{"Type": "forward", "TargetGroupArn": GROUP.arn}])


class Scene:
    """Some containers of the service by their names, a balancer before them, a load on it."""

    def __init__(
        self, engine: Engine, started: dict[str, str], balancer: Balancer, load: Load
    ) -> None:
        self.engine = engine
        self.started = started
        self.balancer = balancer
        self.load = load

    def state(self, name: str) -> str | None:
        """Give the state of a container in the balancer."""
        health = self.balancer.health().get((GROUP.arn, name))
        return health.state if health else None

    def until(self, holds: Callable[[], bool], *, seconds: float) -> None:
        """Poll the balancer until something holds; fail after `seconds`."""

        def look() -> bool:
            self.balancer.poll(time.monotonic())
            return holds()

        until(look, seconds=seconds, pause=0.05)

    def deregister(self, name: str) -> None:
        """Take a container from the balancer, and wait out the delay."""
        self.balancer.deregister(GROUP.arn, name)
        self.until(lambda: self.state(name) is None, seconds=DEREGISTRATION_SECONDS + 2)

    def stop(self, name: str) -> threading.Thread:
        """Begin to stop a container as ECS does."""
        stopping = threading.Thread(target=self.engine.stop, args=(self.started[name],))
        stopping.start()
        return stopping

    def goes_on(self, seconds: float) -> None:
        """Let the load go on, and see that it does."""
        asked, ends = self.load.asked, time.monotonic() + seconds
        wanted = 0.8 * PER_SECOND * seconds
        self.until(
            lambda: time.monotonic() >= ends and self.load.asked - asked > wanted,
            seconds=seconds + 10,
        )


Stage = Callable[..., Scene]


@pytest.fixture
def stage(engine: Engine, running: Containers, task: Task) -> Iterator[Stage]:
    """Sets a scene with a task of one's own; ends its load and balancer after the test."""
    port = task.container["PortMappings"][0]["ContainerPort"]
    with ExitStack() as opened:

        def set_scene(task: Task, *names: str) -> Scene:
            started = {name: running.start(task) for name in names or ("first", "second")}
            balancer = opened.enter_context(Balancer([LISTENER], [GROUP]))
            load = Load(balancer.ports[LISTENER.arn], "/identity", PER_SECOND)
            scene = Scene(engine, started, balancer, load)
            for name, container in started.items():
                published = engine.port(container, port)
                scene.until(lambda: answered(published), seconds=20)  # noqa: B023 - called at once
                balancer.register(GROUP.arn, Target(name, "127.0.0.1", published))
            scene.until(lambda: all(scene.state(name) == "healthy" for name in started), seconds=5)
            opened.enter_context(load)
            scene.goes_on(1)
            assert load.answering(since=0) == {container[:12] for container in started.values()}
            assert not load.failures
            return scene

        yield set_scene


def test_no_request_fails_in_the_order_of_ecs(stage: Stage, task: Task) -> None:
    environment = {one["Name"]: one["Value"] for one in task.container["Environment"]}
    drain, timeout = int(environment["DRAIN_SECONDS"]), task.container["StopTimeout"]
    scene = stage(task)
    scene.deregister("first")
    counted = scene.balancer.counters()
    assert (GROUP.arn, "first") not in counted.targets
    assert counted.groups[GROUP.arn].requests > 0
    deregistered = time.monotonic()
    stopping = scene.stop("first")
    # It says no to new traffic, and still answers what comes.
    port = scene.engine.port(
        scene.started["first"], task.container["PortMappings"][0]["ContainerPort"]
    )
    scene.until(lambda: answer(port, "/health/ready")[0] == 503, seconds=5)
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
