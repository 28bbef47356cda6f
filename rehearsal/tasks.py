"""Leads one task's containers from start to end, as the ECS agent does.

What the agent does was read on 2026-11-24 in github.com/aws/amazon-ecs-agent:
agent/engine/dependencygraph/graph.go (the order of containers, and when one gives up),
agent/engine/task_manager.go (what an end means for the others, which errors stop a task),
agent/engine/docker_task_engine.go (names, labels, pulls),
agent/dockerclient/dockerapi/errors.go (its words), and
ecs-agent/api/container/restart/restart_tracker.go (restart policies).
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from rehearsal import containers
from rehearsal.containers import ContainerError
from rehearsal.engines import Change, EngineError, EngineTimeoutError, Network, State
from templates import Value, is_true

if TYPE_CHECKING:
    from rehearsal.agent import Agent

_LOG = logging.getLogger("rehearsal")
# The agent's own, beside those that containers.run gives.
# Source: docker_task_engine.go, createContainer.
TASK_LABEL = "com.amazonaws.ecs.task-arn"
CLUSTER_LABEL = "com.amazonaws.ecs.cluster"
REVISION_LABEL = "com.amazonaws.ecs.task-definition-version"
# What containers.run would report as left out, and this module does, or who hands it its tasks.
PLAYED = frozenset({
    "Essential", "DependsOn", "StartTimeout", "RestartPolicy",
    "PlacementConstraints", "RequiresCompatibilities", "Tags", "ECS_ENABLE_CONTAINER_METADATA",
})  # fmt: skip
# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerRestartPolicy.html
RESTART_ATTEMPT_SECONDS = 300
# The agent reports it for a container whose dependencies can never be met, as if by SIGTERM.
# Source: task_manager.go, handleTerminalDependencyError.
NEVER_STARTED = 143
# An engine that does not know that long after the end of a container never will.
WRITTEN_DOWN_SECONDS = 20

Kind = Literal["pulling", "pulled", "started", "health", "stopped", "failed"]
Health = Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]
_HEALTH: Mapping[str, Health] = {"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}


@dataclass(frozen=True)
class TaskToRun:
    """A task as the scheduler placed it.

    `definition` has the resolved CloudFormation properties of its task definition; `network` is
    its container instance's. `environment` and `secrets` give by the container's name values for
    variables: what the agent adds, and in place of what a secret's source holds. `options` are
    more of the engine's own, for what the agent mounts.
    """

    id: str
    arn: str
    cluster: str
    revision: int
    definition: Mapping[str, Value]
    network: Network
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What really happened to one container of a task, and when it was seen.

    Each container comes to one end: `stopped`, or `failed` where it did not start; `last` marks
    the end of the task's last. `ports` has the port of 127.0.0.1 for each published one, as in
    {"8080/tcp": 32768}. Where a container was started again, by its restart policy or its engine,
    `started` comes again, and its ports may be others. `reason` is in the agent's own words, and
    empty for a plain exit.
    """

    task: str
    container: str
    kind: Kind
    time: float
    runtime_id: str | None = None
    image: str | None = None
    image_id: str | None = None
    image_digest: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    exit_code: int | None = None
    reason: str = ""
    health: Health = "UNKNOWN"
    restarts: int = 0
    last: bool = False


@dataclass(frozen=True)
class LogLine:
    """A line for CloudWatch Logs; `timestamp` in milliseconds since the epoch."""

    task: str
    container: str
    group: str
    stream: str
    timestamp: int
    message: str


@dataclass(frozen=True)
class _Policy:
    """A container's restart policy."""

    ignored: tuple[int, ...]
    period: float


@dataclass
class _Container:
    """A container of a task, and how it fares."""

    name: str
    definition: Mapping[str, Value]
    essential: bool
    depends_on: tuple[tuple[str, str], ...]
    start_timeout: float | None
    policy: _Policy | None
    log: Mapping[str, str] | None
    state: Literal["pending", "running", "over"] = "pending"
    id: str | None = None
    image: str | None = None
    image_id: str | None = None
    image_digest: str | None = None
    began: float = 0
    # When the engine last started it, and when it was last asked for that; by the clock's time.
    started: float | None = None
    looked: float = 0
    exit_code: int | None = None
    health: Health = "UNKNOWN"
    restarts: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class Stop:
    """The task is to stop."""


@dataclass(frozen=True)
class _Checked:
    """What a health check came to, of an engine that is asked for each."""

    container: str
    health: str


class _Closed(Exception):  # noqa: N818 - no error: it ends a task's thread
    """The agent closes; nothing more is to be done or said."""


class Task:
    """One task, in a thread that takes what happens to it in order."""

    def __init__(self, agent: Agent, task: TaskToRun) -> None:
        self.inbox: SimpleQueue[Change | _Checked | Stop] = SimpleQueue()
        self.keeps = False
        self.thread = threading.Thread(target=self._live, name=f"task {task.id}", daemon=True)
        self._agent = agent
        self._engine = agent.engine
        self._task = task
        definitions = task.definition.get("ContainerDefinitions") or []
        self._containers = {one["Name"]: _container(one, agent.speed) for one in definitions}
        self._awsvpc = task.definition.get("NetworkMode") == "awsvpc"
        # The container whose network the others share, in the mode awsvpc.
        self._holder: str | None = None
        self._stopping = False

    def _live(self) -> None:
        try:
            try:
                while not self._over():
                    self._step()
            except _Closed:
                raise
            except Exception as error:
                _LOG.exception("%s", self._task.id)
                self._give_up(f"{type(error).__name__}: {error}")
        except _Closed:
            return
        finally:
            for container in self._containers.values():
                container.over.set()
        found = [one.id for one in self._containers.values() if one.id]
        self._agent.ended(self._task, found)

    def _give_up(self, reason: str) -> None:
        """Kill what runs of a task that cannot be led any further, and say so."""
        for container in self._containers.values():
            if container.state != "over":
                if container.id is not None:
                    with suppress(EngineError):  # it may be gone by now
                        self._engine.kill(container.id)
                self._end(container, "failed" if container.id is None else "stopped", reason)

    def _step(self) -> None:
        """Do what can be done now; if nothing can, wait for something to happen."""
        while not self.inbox.empty():
            self._take(self.inbox.get())
        if self._stopping:
            self._stop_all()
            return
        for container in self._in("pending"):
            if reason := self._hopeless(container):
                self._end(container, "failed", reason, NEVER_STARTED)
                return
            if self._ready(container):
                self._start(container)
                return
        with suppress(Empty):
            self._take(self.inbox.get(timeout=self._next_timeout()))

    def _in(self, state: Literal["pending", "running", "over"]) -> list[_Container]:
        return [one for one in self._containers.values() if one.state == state]

    def _over(self) -> bool:
        return len(self._in("over")) == len(self._containers)

    def _ready(self, container: _Container) -> bool:
        return all(self._met(name, condition) for name, condition in container.depends_on)

    def _met(self, name: str, condition: str) -> bool:
        other = self._containers.get(name)
        if other is None:
            return False
        if condition == "START":
            return other.id is not None
        if condition == "HEALTHY":
            return other.state == "running" and other.health == "HEALTHY"
        return other.state == "over" and (condition == "COMPLETE" or other.exit_code == 0)

    def _hopeless(self, container: _Container) -> str | None:
        """Say why a container can never start, in the agent's words; None while it may."""
        for name, condition in container.depends_on:
            what = f"container ordering dependency [{name}] for target [{container.name}]"
            other = self._containers.get(name)
            if other is None:
                return f"dependency graph: {what} does not exist."
            failed = f"dependency graph: failed to resolve {what}"
            if other.state == "over" and other.id is None:
                return f"{failed} because dependency will never start"
            if other.state == "over" and condition == "SUCCESS" and other.exit_code != 0:
                return f"{failed} as dependency did not exit successfully."
            if condition != "START" and self._wait_ends(other) <= time.monotonic():
                return f"dependency graph: {what} has timed out."
        if not self._in("running") and not any(map(self._ready, self._in("pending"))):
            # The agent would let such a task wait for ever.
            return "dependency graph: dependency on containers not resolved"
        return None

    def _wait_ends(self, other: _Container) -> float:
        """Give when the containers that depend on one give up, by its start timeout."""
        if other.start_timeout is None or other.state != "running":
            return float("inf")
        return other.began + other.start_timeout

    def _next_timeout(self) -> float | None:
        ends = [
            self._wait_ends(self._containers[name])
            for container in self._in("pending")
            for name, condition in container.depends_on
            if condition != "START"
        ]
        soonest = min(ends, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - time.monotonic())

    def _take(self, what: Change | _Checked | Stop) -> None:
        if self._agent.closing.is_set():
            raise _Closed
        if isinstance(what, Stop):
            self._stopping = True
        elif isinstance(what, _Checked):
            self._hear_health(self._containers[what.container], what.health)
        else:
            container = next(one for one in self._containers.values() if one.id == what.container)
            if what.kind == "health":
                self._hear_health(container, what.health)
            elif what.kind == "died":
                self._hear_death(container, what.time)
            elif what.kind == "started" and what.time > container.looked:
                self._hear_start(container)

    def _hear_health(self, container: _Container, said: str) -> None:
        health = _HEALTH.get(said, "UNKNOWN")
        if container.state == "running" and health != container.health:
            container.health = health
            self._observe(container, "health")

    def _hear_start(self, container: _Container) -> None:
        """Attend anew to a container that its engine has started again by itself."""
        if container.state != "running":
            return
        try:
            state = self._engine.state(container.id or "")
        except EngineError:
            return  # it is gone, which its death tells
        if state.running and state.started != container.started:
            self._begin(container)

    def _hear_death(self, container: _Container, when: float) -> None:
        if container.state != "running":
            return
        state = self._state_after_death(container, when)
        if state is not None and state.running:
            # That death was before its last start, which may be the engine's own.
            if state.started != container.started:
                self._begin(container)
            return
        if state is None or not self._restart(container, state):
            self._end_as(container, state)

    def _state_after_death(self, container: _Container, when: float) -> State | None:
        """Give the state of a container that died at a time; None where it is gone."""
        end = time.monotonic() + WRITTEN_DOWN_SECONDS
        while True:
            try:
                state = self._engine.state(container.id or "")
            except EngineError:
                return None
            again = state.running and (state.started or 0) > when
            if again or (not state.running and state.exit_code is not None):
                return state
            if time.monotonic() > end:
                return replace(state, running=False)
            # The process is gone before the engine has written it down.
            time.sleep(0.02)

    def _restart(self, container: _Container, state: State) -> bool:
        """Start a container again where its policy says so; say whether it did."""
        policy = container.policy
        if policy is None or self._stopping or state.exit_code in (None, *policy.ignored):
            return False
        # By the engine's clock: on a busy machine its answer to a start may come after the end.
        if (state.finished or time.time()) - (state.started or 0) < policy.period:
            return False
        asked = time.time()
        try:
            self._engine.start(container.id or "")
        except EngineError as error:
            self._agent.say(f"{self._task.id}: {container.name}: {error}")
            return False
        container.restarts += 1
        self._begin(container, asked)
        return True

    def _end_as(self, container: _Container, state: State | None) -> None:
        oom = "OutOfMemoryError: Container killed due to memory usage"
        reason = oom if state is not None and state.out_of_memory else ""
        self._end(container, "stopped", reason, state.exit_code if state is not None else None)

    def _end(
        self, container: _Container, kind: Kind, reason: str = "", code: int | None = None
    ) -> None:
        container.state, container.exit_code = "over", code
        container.over.set()
        # Without one that is essential there is no task.
        self._stopping = self._stopping or container.essential
        self._observe(container, kind, reason)

    def _observe(
        self,
        container: _Container,
        kind: Kind,
        reason: str = "",
        ports: Mapping[str, int] | None = None,
    ) -> None:
        if self._agent.closing.is_set():
            raise _Closed
        self._agent.observations.put(
            Observation(
                task=self._task.id,
                container=container.name,
                kind=kind,
                time=time.time(),
                runtime_id=container.id,
                image=container.image,
                image_id=container.image_id,
                image_digest=container.image_digest,
                ports=ports or {},
                exit_code=container.exit_code,
                reason=reason,
                health=container.health,
                restarts=container.restarts,
                last=self._over(),
            )
        )

    def _start(self, container: _Container) -> None:
        """Bring a container to run, or to its end where that fails."""
        try:
            run = self._translate(container)
        except ContainerError as error:
            self._end(container, "failed", f"CannotCreateContainerError: {error}")
            return
        container.image = run.image
        self._observe(container, "pulling")
        try:
            self._fetch(container, run.image)
        except EngineError as error:
            self._end(container, "failed", _named("CannotPullContainerError", "pulled", error))
            return
        self._observe(container, "pulled")
        added = self._task.environment.get(container.name, {})
        run = replace(run, environment={**run.environment, **added})
        name = self._name(container)
        try:
            with self._agent.starts:
                container.id = self._engine.run(
                    run,
                    labels=self._labels(),
                    options=[
                        f"--name={name}",
                        *(f"--env={variable}" for variable in added),
                        *self._task.options.get(container.name, ()),
                    ],
                )
        except EngineError as error:
            self._end(container, "failed", self._why_not(name, error))
            return
        self._agent.own(container.id, self)
        if self._agent.closing.is_set() and not self.keeps:
            self._engine.remove(container.id)
        if self._holder is None and container.essential:
            self._holder = container.id
        self._begin(container)
        if run.health_interval_seconds and not self._engine.checks_health:
            self._spawn(self._check, container, container.id, run.health_interval_seconds)

    def _translate(self, container: _Container) -> containers.Run:
        network = self._task.network.name
        sharing: tuple[str, ...] = ()
        if self._awsvpc and self._holder is not None:
            network = f"container:{self._holder}"
        elif self._awsvpc and container.essential:
            sharing = tuple(one.name for one in self._in("pending") if one is not container)
        elif self._awsvpc:
            self._agent.depart(
                [f"{container.name}: starts before the first essential container, so it does not "
                 "share the task's network"]
            )  # fmt: skip
        run = containers.run(
            self._task.definition,
            container.name,
            agent=self._agent.settings,
            secrets=self._task.secrets.get(container.name),
            # Several hosts share this machine's ports; which host's a port is, others keep.
            ports={
                int(mapping["ContainerPort"]): 0
                for one in self._containers.values()
                for mapping in one.definition.get("PortMappings") or []
                if "ContainerPort" in mapping
            },
            network=network,
            sharing=sharing,
            speed=self._agent.speed,
            played=PLAYED if container.log is None else PLAYED | {"LogConfiguration"},
        )
        self._agent.depart(run.departures)
        return run

    def _fetch(self, container: _Container, image: str) -> None:
        """Have the image here; raise EngineError where it cannot be had."""
        built = image != container.definition["Image"]
        behavior = self._agent.settings.settings.get("ECS_IMAGE_PULL_BEHAVIOR", "default")
        there = self._engine.has_image(image)
        if built and not there:
            raise EngineError(
                f"{image}: expected an image that is built here, got none; build it with: "
                "python -m rehearsal image"
            )
        # Once means: for one task of the host. An image that is here was pulled for one.
        if not built and not (there and behavior in ("once", "prefer-cached")):
            try:
                self._engine.pull(image)
            except EngineError:
                # With these the task stops, whether this container is essential or not.
                strict = behavior in ("once", "always")
                self._stopping = self._stopping or strict
                if strict or not there:
                    raise
        found = self._engine.image(image)
        container.image_id, container.image_digest = found.id, found.digest

    def _name(self, container: _Container) -> str:
        # Only letters, digits and hyphens, as by the agent.
        family = self._task.definition.get("Family") or container.name
        parts = (str(family), str(self._task.revision), container.name)
        plain = (re.sub(r"[^A-Za-z0-9-]+", "", part) for part in parts)
        return "-".join(("ecs", *plain, uuid.uuid4().hex[:16]))

    def _labels(self) -> Mapping[str, str]:
        return {
            **self._agent.labels,
            **self._task.labels,
            TASK_LABEL: self._task.arn,
            CLUSTER_LABEL: self._task.cluster,
            REVISION_LABEL: str(self._task.revision),
        }

    def _why_not(self, name: str, error: EngineError) -> str:
        """Say in the agent's words why a container did not start, and remove what is there."""
        kind = "CannotCreateContainerError"
        with suppress(EngineError):
            self._engine.state(name)
            kind = "CannotStartContainerError"
            self._engine.remove(name)
        return _named(kind, "started", error)

    def _begin(self, container: _Container, asked: float = math.inf) -> None:
        """Say that a container runs, and where, and attend to it; again after each start.

        `asked` is when its start was asked for, where that was not its engine's own. What Podman
        writes down is later, on a busy machine later than the container's first words.
        """
        container.state, container.began = "running", time.monotonic()
        container.health, container.looked = "UNKNOWN", time.time()
        again = container.started is not None
        try:
            state = self._engine.state(container.id or "")
            shared = self._engine.state(self._holder) if self._awsvpc and self._holder else state
        except EngineError:
            self._end_as(container, None)
            return
        own = {
            f"{mapping.get('ContainerPort')}/{mapping.get('Protocol') or 'tcp'}"
            for mapping in container.definition.get("PortMappings") or []
        }
        ports = {port: here for port, here in shared.ports.items() if port in own}
        container.started = state.started
        self._observe(container, "started", ports=ports)
        if container.log is not None:
            since = min(asked, state.started or 0) if again else 0
            self._spawn(self._follow, container, container.id, container.log, since)
        if not state.running:
            self._hear_death(container, time.time())

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _follow(
        self, container: _Container, runtime_id: str, log: Mapping[str, str], since: float
    ) -> None:
        """Hand on what a container writes, until it ends."""
        prefix = log.get("awslogs-stream-prefix")
        stream = f"{prefix}/{container.name}/{self._task.id}" if prefix else runtime_id
        group = log.get("awslogs-group", "")
        try:
            for line in self._engine.follow_logs(runtime_id, since):
                self._agent.log_lines.put(
                    LogLine(
                        task=self._task.id,
                        container=container.name,
                        group=group,
                        stream=stream,
                        timestamp=round(line.time * 1000),
                        message=line.text,
                    )
                )
        except EngineError:
            pass  # it may be gone by now
        except Exception as error:
            _LOG.exception("%s: %s", self._task.id, container.name)
            self._agent.say(f"{self._task.id}: {container.name}: its log is lost: {error!r}")

    def _check(self, container: _Container, runtime_id: str, interval: float) -> None:
        """Have a container's health checked, where its engine does not by itself."""
        while not container.over.wait(interval):
            try:
                self.inbox.put(_Checked(container.name, self._engine.health(runtime_id)))
            except EngineError:
                pass  # it may be gone by now
            except Exception:
                _LOG.exception("%s: %s: its health", self._task.id, container.name)

    def _stop_all(self) -> None:
        """Stop what runs, each container after those that depend on it."""
        for container in self._in("pending"):
            self._end(container, "stopped")
        while running := self._in("running"):
            needed = {name for one in running for name, _ in one.depends_on}
            # In a circle there is none that nobody needs; but in a circle none has started.
            free = [one for one in running if one.name not in needed]
            with ThreadPoolExecutor(len(free)) as pool:
                stops = {pool.submit(self._stop, one): one for one in free}
                for stop in as_completed(stops):
                    self._end_as(stops[stop], stop.result())

    def _stop(self, container: _Container) -> State | None:
        try:
            self._engine.stop(container.id or "")
        except EngineError as error:
            # It may be gone already, which its state tells.
            self._agent.say(f"{self._task.id}: {container.name}: {error}")
        return self._state_after_death(container, time.time())


def _container(definition: Mapping[str, Value], speed: float) -> _Container:
    policy = definition.get("RestartPolicy") or {}
    log = definition.get("LogConfiguration") or {}
    timeout = definition.get("StartTimeout")
    period = float(policy.get("RestartAttemptPeriod", RESTART_ATTEMPT_SECONDS))
    return _Container(
        name=definition["Name"],
        definition=definition,
        essential=is_true(definition.get("Essential", True)),
        depends_on=tuple(
            (one["ContainerName"], one["Condition"]) for one in definition.get("DependsOn") or []
        ),
        start_timeout=None if timeout is None else float(timeout),
        policy=_Policy(
            ignored=tuple(int(code) for code in policy.get("IgnoredExitCodes") or []),
            period=period / speed,
        )
        if is_true(policy.get("Enabled", False))
        else None,
        log=log.get("Options") or {} if log.get("LogDriver") == "awslogs" else None,
    )


def _named(kind: str, wanted: str, error: EngineError) -> str:
    """Give an error as the agent reports it: its name, and the engine's words."""
    if isinstance(error, EngineTimeoutError):
        waited = f"{error.seconds // 60:.0f}m{error.seconds % 60:.0f}s"
        return (
            f"DockerTimeoutError: Could not transition to {wanted}; "
            f"timed out after waiting {waited}"
        )
    return f"{kind}: {error.said}"
