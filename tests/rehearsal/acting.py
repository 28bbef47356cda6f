"""A World whose engine, agent and balancer act at once, and a thread that lets it tick.

Containers run in name only; whatever the World decides happens in the next tick.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

import rehearsal.world
from rehearsal.agent import LogLine, Observation, TaskToRun
from rehearsal.balancer import Listener, Target, TargetGroup, weighted, with_actions
from rehearsal.containers import Run
from rehearsal.engines import Change, Image, Line, Network, Usage
from rehearsal.engines.runtime import State
from rehearsal.records import Host
from rehearsal.target_groups import DRAINING, HEALTHY, NOT_REGISTERED, TargetHealth
from rehearsal.world import World
from scheduler.agent_settings import AgentSettings
from scheduler.model import Instance
from templates import Graph, Value

TICK_SECONDS = 0.01


class ActingEngine:
    """Runs nothing, and says that all is well."""

    name = "acting"
    not_enforced: tuple[str, ...] = ()
    checks_health = True

    def __init__(self, gateway: str = "127.0.0.1") -> None:
        self.gateway = gateway
        self.networks: list[str] = []
        self.killed: list[str] = []

    def has_image(self, tag: str) -> bool:
        return bool(tag)

    def build(self, directory: Path, *, tags: Sequence[str], options: Sequence[str] = ()) -> None:
        raise AssertionError((directory, tags, options))

    def pull(self, image: str) -> None: ...

    def image(self, tag: str) -> Image:
        return Image(f"sha256:{uuid.uuid5(uuid.NAMESPACE_URL, tag).hex * 2}")

    def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        assert labels
        self.networks.append(name)
        return Network(name, self.gateway, self.gateway, "10.99.0.0/24")

    def remove_network(self, name: str) -> None:
        self.networks.remove(name)

    def run(
        self, run: Run, *, labels: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> str:
        raise AssertionError((run, labels, options))

    def start(self, container: str) -> None: ...

    def state(self, container: str) -> State:
        raise AssertionError(container)

    def health(self, container: str) -> str:
        return "healthy" if container else ""

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        raise AssertionError((container, command))

    def stop(self, container: str) -> None: ...

    def kill(self, container: str, signal: str = "KILL") -> None:
        self.killed.append(f"{container} {signal}")

    def wait(self, container: str, timeout: float = 120) -> int:
        raise AssertionError((container, timeout))

    def remove(self, *containers: str) -> None: ...

    def clean(self, label: str) -> list[str]:
        return [label][:0]

    def logs(self, container: str) -> str:
        return container

    def follow_logs(self, container: str, since: float = 0) -> Iterator[Line]:
        raise AssertionError((container, since))

    def usage(self, *containers: str) -> Mapping[str, Usage]:
        return {one: Usage(48 << 20, 12.5, 3) for one in containers}

    def watch(self, label: str) -> Any:  # noqa: ANN401 - a Watch
        assert label
        changes: SimpleQueue[Change] = SimpleQueue()
        return SimpleNamespace(changes=changes, close=lambda: None)


class ActingAgent:
    """Observes at once that whatever it is told has happened.

    A task whose image begins with one of `broken` does not start.
    """

    broken: tuple[str, ...] = ("broken",)

    def __init__(
        self,
        engine: ActingEngine,
        settings: AgentSettings,
        *,
        speed: float,
        labels: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        assert speed
        assert labels
        self.engine, self.settings, self.say = engine, settings, say
        self.observations: SimpleQueue[Observation] = SimpleQueue()
        self.log_lines: SimpleQueue[LogLine] = SimpleQueue()
        self.departures: tuple[str, ...] = ()
        self.running: dict[str, TaskToRun] = {}
        self.stopped: list[tuple[str, str]] = []

    def start(self, task: TaskToRun) -> None:
        """Have every container pulled, started and healthy."""
        self.running[task.id] = task
        definitions = task.definition["ContainerDefinitions"]
        for number, one in enumerate(definitions):
            last = number == len(definitions) - 1
            self._observe(task, one, "pulling")
            if str(one["Image"]).startswith(self.broken):
                reason = "CannotPullContainerError: it is broken"
                self._observe(task, one, "failed", reason=reason, last=last)
                self.running.pop(task.id, None)
                continue
            self._observe(task, one, "pulled", image_id="sha256:" + "ab" * 32)
            ports = {
                f"{mapping['ContainerPort']}/tcp": 50_000 + number
                for mapping in one.get("PortMappings") or []
            }
            self._observe(
                task,
                one,
                "started",
                runtime_id=f"{task.id}{number:032x}",
                image_id="sha256:" + "ab" * 32,
                ports=ports,
            )
            if one.get("HealthCheck"):
                self._observe(task, one, "health", health="HEALTHY")
            self.write(task.id, str(one["Name"]), f"{one['Name']} serves")

    def write(self, task_id: str, container: str, message: str) -> None:
        """Have a container write a line, if its log goes to CloudWatch."""
        task = self.running[task_id]
        (definition,) = (
            one for one in task.definition["ContainerDefinitions"] if one["Name"] == container
        )
        options = (definition.get("LogConfiguration") or {}).get("Options") or {}
        if "awslogs-group" in options:
            self.log_lines.put(
                LogLine(
                    task=task_id,
                    container=container,
                    group=str(options["awslogs-group"]),
                    stream=f"{options['awslogs-stream-prefix']}/{container}/{task_id}",
                    timestamp=round(time.time() * 1000),
                    message=message,
                )
            )

    def stop(self, task_id: str, reason: str) -> None:
        """Have every container end."""
        task = self.running.pop(task_id, None)
        if task is None:
            return
        self.stopped.append((task_id, reason))
        definitions = task.definition["ContainerDefinitions"]
        for number, one in enumerate(definitions):
            last = number == len(definitions) - 1
            self._observe(task, one, "stopped", exit_code=143, last=last)

    def close(self, *, remove: bool) -> None:
        assert remove

    def _observe(
        self,
        task: TaskToRun,
        definition: Mapping[str, Value],
        kind: Any,  # noqa: ANN401 - one of Kind's words
        **told: Any,  # noqa: ANN401 - of Observation
    ) -> None:
        name, image = str(definition["Name"]), str(definition["Image"])
        self.observations.put(Observation(task.id, name, kind, time.time(), image=image, **told))


class ActingBalancer:
    """Knows its targets; each is healthy at once, and gone at the poll after it was drained."""

    pid = 0

    def __init__(
        self,
        listeners: Sequence[Listener],
        target_groups: Sequence[TargetGroup] = (),
        **_: object,
    ) -> None:
        self.listeners = list(listeners)
        self.groups = {one.arn: one for one in target_groups}
        self.states: dict[tuple[str, str], TargetHealth] = {}
        self.departures: list[str] = []
        self.targets: dict[tuple[str, str], Target] = {}

    @property
    def target_groups(self) -> set[str]:
        return set(self.groups)

    def register(self, group: str, target: Target) -> None:
        self.states[group, target.id] = HEALTHY
        self.targets[group, target.id] = target

    def deregister(self, group: str, target: str) -> None:
        self.states[group, target] = DRAINING
        self.targets.pop((group, target), None)

    def where(self, group: str, target: str) -> Target | None:
        return self.targets.get((group, target))

    def remove_target_group(self, arn: str) -> None:
        del self.groups[arn]

    def poll(self, now: float) -> None:
        assert now >= 0
        for key, one in list(self.states.items()):
            if one == NOT_REGISTERED:
                del self.states[key]
            elif one == DRAINING:
                self.states[key] = NOT_REGISTERED

    def health(self) -> Mapping[tuple[str, str], TargetHealth]:
        return {key: one for key, one in self.states.items() if one != NOT_REGISTERED}

    def counters(self) -> Any:  # noqa: ANN401 - Counters
        return SimpleNamespace(groups={}, targets={})

    def set_actions(self, rule: str, actions: Sequence[Mapping[str, Value]]) -> None:
        self.listeners = [with_actions(one, rule, actions) for one in self.listeners]

    def set_weights(self, rule: str, weights: Mapping[str, int]) -> None:
        self.set_actions(rule, weighted(weights))

    def add_target_group(self, group: TargetGroup) -> None:
        self.groups[group.arn] = group

    def configure(self, listeners: Sequence[Listener], attributes: Mapping[str, str]) -> None:
        assert attributes is not None
        self.listeners = list(listeners)

    def close(self) -> None: ...


class Ticking:
    """Lets a World tick in a thread, until the end of a `with`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticking", daemon=True)
        self.failed: list[Exception] = []

    def __enter__(self) -> Ticking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        assert not self.failed, self.failed

    def _run(self) -> None:
        while not self._ending.wait(TICK_SECONDS):
            try:
                self._world.tick()
            except Exception as error:  # told at the end
                self.failed.append(error)
                return


def acting_world(
    graph: Graph,
    monkeypatch: pytest.MonkeyPatch,
    *,
    speed: float = 100.0,
    name: str = "sandbox",
    engine: ActingEngine | None = None,
    endpoint_port: int = 0,
    boot_seconds: float = 0.0,
) -> World:
    """Make a World that acts at once, and begin it."""
    monkeypatch.setattr(rehearsal.world, "Agent", ActingAgent)
    monkeypatch.setattr(rehearsal.world, "Balancer", ActingBalancer)
    world = World(
        name,
        graph,
        engine=engine or ActingEngine(),
        speed=speed,
        owner=name,
        port=8080,
        endpoint_port=endpoint_port,
        say=logging.getLogger("acting").info,
        boot_seconds=boot_seconds,
    )
    world.begin()
    return world


def until(holds: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait until something holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"did not come to hold within {seconds} s"
        time.sleep(0.01)


def tick_until(world: World, holds: Callable[[], object], *, seconds: float = 10) -> None:
    """Let a World tick that no thread lets tick, until something holds."""

    def look() -> object:
        world.tick()
        return holds()

    until(look, seconds=seconds)


def steady(world: World) -> bool:
    """Whether every service is as it is wanted."""
    return world.outcome(0) == "steady"


def add_instances(world: World, count: int) -> list[Instance]:
    """Register so many more instances of the first group, by hand; nothing scales them in."""
    added = []
    with world.lock:
        group = next(iter(world.state.groups.values()))
        group.maximum += count
        group.minimum += count
        group.desired += count
        for number in range(count):
            zone = group.zones[number % len(group.zones)]
            instance = Instance(uuid.uuid4().hex, group.kinds[0], zone, group=group.name,
                                template=group.template)  # fmt: skip
            world.state.add_instance(instance)
            world.hosts[instance.id] = Host(
                id=instance.id,
                ec2_id=f"i-{instance.id[:17]}",
                address=f"10.1.{number // 250}.{number % 250 + 4}",
                subnet="subnet-0",
                group=group.name,
                registered_at=time.time(),
                network=world.engine.create_network(instance.id, {"a": "b"}),
            )
            world.state.registered(instance.id, world.clock.now())
            added.append(instance)
    return added
