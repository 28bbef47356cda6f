"""A task comes to an end that is told, whatever its engine does."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from rehearsal.agent import Agent, Observation, TaskToRun
from rehearsal.containers import Run
from rehearsal.engines import Change, EngineError, Line, Network
from rehearsal.engines.runtime import State
from scheduler.agent_settings import AgentSettings
from templates import Value
from tests.rehearsal.acting import ActingEngine, until

LOG = {"LogDriver": "awslogs", "Options": {"awslogs-group": "a-group"}}


class ScriptedEngine(ActingEngine):
    """Has each container run from its start on, at port 1; a test changes what it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: SimpleQueue[Change] = SimpleQueue()
        self.states: dict[str, State] = {}
        self.removed: list[str] = []
        self.stays: set[str] = set()
        self.starting: Callable[[str], None] = lambda _: None
        self.stopping: Callable[[str], None] = self._end
        self.lines: Iterator[Line] = iter(())
        self.followed: list[float] = []

    def run(
        self, run: Run, *, labels: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> str:
        assert run
        assert labels
        assert options
        container = f"container-{len(self.states)}"
        self.begin(container, 1.0, port=1)
        return container

    def begin(self, container: str, when: float, *, port: int) -> None:
        self.states[container] = State(
            running=True, exit_code=None, started=when, ports={"80/tcp": port}
        )

    def _end(self, container: str) -> None:
        self.states[container] = replace(self.states[container], running=False, exit_code=0)

    def state(self, container: str) -> State:
        return self.states[container]

    def start(self, container: str) -> None:
        self.starting(container)

    def stop(self, container: str) -> None:
        self.stopping(container)

    def remove(self, *containers: str) -> None:
        self.removed += [one for one in containers if one not in self.stays]
        if self.stays & set(containers):
            raise EngineError(f"rm: {', '.join(sorted(self.stays))}: device or resource busy")

    def follow_logs(self, container: str, since: float = 0) -> Iterator[Line]:
        assert container
        self.followed.append(since)
        return self.lines

    def watch(self, label: str) -> Any:  # noqa: ANN401 - a Watch
        assert label
        return SimpleNamespace(changes=self.changes, close=lambda: None)


class Scripted:
    """An agent of a scripted engine, with what it has said."""

    def __init__(self) -> None:
        self.engine, self.said = ScriptedEngine(), list[str]()
        self.agent = Agent(
            self.engine, AgentSettings(), speed=10, labels={"a": "b"}, say=self.said.append
        )

    def start(self, *names: str, id: str = "task", **properties: Value) -> None:  # noqa: A002
        """Start a task of containers with these names."""
        mappings = [{"ContainerPort": 80}]
        definitions = [
            {"Name": name, "Image": "an/image:1", "PortMappings": mappings} | properties
            for name in names or ("web",)
        ]
        network = Network("n", "127.0.0.1", "127.0.0.1", "127.0.0.0/8")
        definition = {"Family": "f", "ContainerDefinitions": definitions}
        self.agent.start(TaskToRun(id, f"arn/{id}", "c", 1, definition, network))

    def see(self, kind: str) -> Observation:
        """Wait until something of a kind is observed."""
        while True:
            try:
                seen = self.agent.observations.get(timeout=10)
            except queue.Empty:
                pytest.fail(f"expected {kind} within 10 s")
            if seen.kind == kind:
                return seen


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """An agent of a scripted engine, closed after the test."""
    found = Scripted()
    yield found
    found.engine.stays.clear()
    found.agent.close(remove=True)


@pytest.mark.parametrize("told", ["started", "died"])
def test_a_container_that_its_engine_starts_again_is_seen_with_its_new_ports(
    scripted: Scripted,
    told: Any,  # noqa: ANN401 - a Change's kind
) -> None:
    scripted.start(LogConfiguration=LOG)
    first = scripted.see("started")
    assert first.ports == {"80/tcp": 1}
    scripted.engine.begin("container-0", 5e9, port=2)
    scripted.engine.changes.put(Change("container-0", told, 4e9))
    again = scripted.see("started")
    assert (again.ports, again.restarts, again.runtime_id) == ({"80/tcp": 2}, 0, "container-0")
    until(lambda: scripted.engine.followed == [0, 5e9])


def test_what_a_restarted_container_wrote_before_its_start_was_written_down_is_kept(
    scripted: Scripted,
) -> None:
    engine = scripted.engine
    engine.starting = lambda container: engine.begin(container, time.time() + 60, port=1)
    policy: Value = {"Enabled": True, "RestartAttemptPeriod": 60}
    scripted.start(LogConfiguration=LOG, RestartPolicy=policy)
    scripted.see("started")
    asked = time.time()
    engine.states["container-0"] = replace(
        engine.states["container-0"], running=False, exit_code=1, finished=asked
    )
    engine.changes.put(Change("container-0", "died", asked))
    assert scripted.see("started").restarts == 1
    until(lambda: len(engine.followed) == 2)
    assert asked <= engine.followed[1] <= time.time()


def test_one_start_is_seen_once(scripted: Scripted) -> None:
    scripted.start()
    scripted.see("started")
    for when in (0.0, 9e9):
        scripted.engine.changes.put(Change("container-0", "started", when))
    scripted.agent.stop("task", "the test")
    assert scripted.agent.observations.get(timeout=10).kind == "stopped"


def test_a_task_that_cannot_be_led_on_is_killed_and_says_why(scripted: Scripted) -> None:
    scripted.start("web", "side")
    scripted.see("started")
    scripted.see("started")
    scripted.engine.states = {}
    scripted.engine.changes.put(Change("container-1", "died", 2.0))
    web, side = scripted.see("stopped"), scripted.see("stopped")
    assert (web.reason, web.last) == ("KeyError: 'container-1'", False)
    assert (side.reason, side.last) == ("KeyError: 'container-1'", True)
    assert scripted.engine.killed == ["container-0 KILL", "container-1 KILL"]


def test_a_task_whose_start_stumbles_fails_and_says_why(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> bool:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(scripted.engine, "has_image", stumble)
    scripted.start()
    failed = scripted.see("failed")
    assert (failed.reason, failed.last) == ("OSError: [Errno 12] Cannot allocate memory", True)


def test_a_log_that_cannot_be_read_on_is_said_and_the_task_goes_on(scripted: Scripted) -> None:
    scripted.engine.lines = iter([None])  # type: ignore[list-item]
    scripted.start(LogConfiguration=LOG)
    scripted.see("started")
    until(lambda: any("task: web: its log is lost: AttributeError" in o for o in scripted.said))
    scripted.agent.stop("task", "the test")
    assert scripted.see("stopped").last


def test_closing_goes_on_behind_a_container_that_stays_and_names_it(scripted: Scripted) -> None:
    for number in range(3):
        scripted.start(id=f"task-{number}")
        scripted.see("started")
    scripted.engine.stays = {"container-1"}
    with pytest.raises(EngineError) as raised:
        scripted.agent.close(remove=True)
    assert str(raised.value) == (
        "containers that could not be removed: container-1: rm: container-1: device or resource "
        "busy"
    )
    assert {"container-0", "container-2"} <= set(scripted.engine.removed)
