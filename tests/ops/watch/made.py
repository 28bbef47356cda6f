"""Clusters made up for tests of the page, of any size, and a watch that shows them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ops.watch.faults import Faults
from ops.watch.rates import Sample
from ops.watch.server import Server
from ops.watch.snapshot import (
    Deployment,
    Event,
    Instance,
    Service,
    Snapshot,
    Stopped,
    Target,
    Task,
    Zone,
)
from ops.watch.watcher import Source, Watcher

BEGAN = 1_795_600_000.0
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
CPU, MEMORY = 2048, 7600


def instance(number: int, *, tasks: int = 0, status: str = "ACTIVE") -> Instance:
    """Make an instance with so many tasks' worth of it reserved."""
    name = f"i-{number:017x}"
    return Instance(
        id=name,
        arn=f"arn:aws:ecs:us-east-1:123456789012:container-instance/boats/{number:032x}",
        zone=ZONES[number % len(ZONES)],
        kind="m7g.large",
        status=status,
        lifecycle="InService",
        agent_connected=True,
        cpu=CPU,
        cpu_left=CPU - 256 * tasks,
        memory=MEMORY,
        memory_left=MEMORY - 512 * tasks,
    )


def task(number: int, on: Instance | None, **changes: object) -> Task:
    """Make a task of web that runs, gets requests, and is of the first version."""
    made = Task(
        id=f"{number:08x}{number:024x}",
        instance=on.id if on else "",
        zone=on.zone if on else "",
        service="Web",
        revision="web:1",
        deployment="ecs-svc/1",
        letter="A",
        colour=0,
        status="RUNNING",
        desired="RUNNING",
        health="HEALTHY",
        target="healthy",
        target_reason="",
        phase="running",
        cpu="256",
        memory="512",
        image="web:5a420c2619d3",
        created_at=BEGAN + number,
        started_at=BEGAN + number + 1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def deployment(number: int, **changes: object) -> Deployment:
    """Make a deployment of web, the first of which is A."""
    made = Deployment(
        id=f"ecs-svc/{number}",
        service="Web",
        letter="ABCDEFGH"[number - 1],
        colour=number - 1,
        status="PRIMARY",
        rollout="COMPLETED",
        reason="",
        revision=f"web:{number}",
        desired=2,
        running=2,
        pending=0,
        failed=0,
        created_at=BEGAN + number,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def cluster(instances: int, tasks: int) -> Snapshot:
    """Make a cluster of that size in the middle of a rollout, with one of each that can be seen."""
    each = [tasks // instances + (one < tasks % instances) for one in range(instances)]
    hosts = [
        instance(one, tasks=each[one], status="DRAINING" if one % 41 == 5 else "ACTIVE")
        for one in range(instances)
    ]
    made: list[Task] = []
    for host, count in zip(hosts, each, strict=True):
        made += [_varied(len(made) + one, host) for one in range(count)]
    new = sum(one.letter == "B" for one in made)
    return Snapshot(
        cluster="boats",
        zones=tuple(Zone(name) for name in ZONES),
        instances=tuple(hosts),
        tasks=tuple(made),
        stopped=(
            Stopped(
                id=f"{1:032x}", service="Web", letter="A", colour=0,
                code="EssentialContainerExited", reason="Essential container in task exited",
                exit="137", at=BEGAN,
            ),
        ),
        services=(Service("Web", "web", "ACTIVE", desired=tasks, running=tasks, pending=0),),
        deployments=(
            deployment(1, status="ACTIVE", desired=tasks - new, running=tasks - new),
            deployment(2, rollout="IN_PROGRESS", desired=tasks, running=new),
        ),
        targets=tuple(
            Target("Web", one.instance, 20000 + number, one.target, "", "", one.id)
            for number, one in enumerate(made)
            if one.target
        ),
        events=(Event("1", BEGAN, "Web", "(service Web) has started 2 tasks."),),
    )  # fmt: skip


def _varied(number: int, host: Instance) -> Task:
    new: dict[str, object] = {}
    if number % 3 == 1:
        new = {"letter": "B", "colour": 1, "revision": "web:2", "deployment": "ecs-svc/2"}
    match number % 17:
        case 3:
            new |= {"status": "PENDING", "phase": "starting", "target": "", "health": "UNKNOWN"}
        case 6:
            new |= {"status": "DEACTIVATING", "phase": "draining", "target": "draining"}
            new |= {"desired": "STOPPED"}
        case 9:
            new |= {"status": "STOPPING", "phase": "stopping", "target": "", "desired": "STOPPED"}
        case 12:
            new |= {"health": "UNHEALTHY", "target": "unhealthy"}
    return task(number, host, **new)


@dataclass
class Scene:
    """What a made-up watch shows: a snapshot, or an error; whoever changes it says `show`."""

    snapshot: Snapshot
    error: Exception | None = None
    samples: list[Sample] = field(default_factory=list)
    server: Server | None = None
    watcher: Watcher | None = None

    def show(self, snapshot: Snapshot | None = None, *, error: Exception | None = None) -> None:
        """Have this read next, and at once."""
        self.snapshot = snapshot or self.snapshot
        self.error = error
        assert self.watcher is not None
        self.watcher.hurry()

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url


@dataclass(frozen=True)
class Reads:
    """Reads the scene's snapshot."""

    scene: Scene

    def read(self) -> Snapshot:
        if self.scene.error:
            raise self.scene.error
        return self.scene.snapshot


@dataclass(frozen=True)
class Rates:
    """Reads the scene's samples, each once."""

    scene: Scene
    source: str = "a test"

    def read(self) -> list[Sample]:
        samples, self.scene.samples = self.scene.samples, []
        return samples


@contextmanager
def watched(
    snapshot: Snapshot,
    *,
    is_rehearsal: bool = False,
    faults: Faults | None = None,
    error: Exception | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Scene]:
    """Serve a made-up cluster, or an error, on any port."""
    scene = Scene(snapshot, error)
    source = Source("a test", is_rehearsal, Reads(scene), Rates(scene), faults)
    scene.watcher = Watcher("sandbox", lambda: source, now=time.monotonic, wall=time.time, say=say)
    scene.server = Server(scene.watcher, port=0, wall=time.time)
    reading = threading.Thread(target=scene.watcher.run)
    reading.start()
    try:
        yield scene
    finally:
        scene.server.close()
        reading.join()
