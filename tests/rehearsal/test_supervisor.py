"""The process that plays an environment says how far it is, and cleans up whatever fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rehearsal.world
from rehearsal.folder import Folder
from rehearsal.supervisor import Options, Supervisor
from rehearsal.world import World
from tests.rehearsal.acting import ActingAgent, ActingBalancer, ActingEngine, until


class CountingEngine(ActingEngine):
    """Counts how often it was cleaned."""

    cleaned = 0

    def clean(self, label: str) -> list[str]:
        self.cleaned += 1
        return super().clean(label)


@pytest.fixture
def supervisor(
    assembly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervisor]:
    """One that plays the sandbox with parts that act at once, in a folder that is claimed."""
    monkeypatch.setattr(rehearsal.world, "Agent", ActingAgent)
    monkeypatch.setattr(rehearsal.world, "Balancer", ActingBalancer)
    options = Options("sandbox", assembly, speed=200, port=8080, endpoint_port=0, engine="acting")
    folder = Folder("sandbox", tmp_path)
    with folder.claimed():
        yield Supervisor(options, folder, CountingEngine())


def running(supervisor: Supervisor, meanwhile: Callable[[], None]) -> int:
    """Run it until something else, in a thread, has been done; give its exit code."""
    failed: list[BaseException] = []

    def act() -> None:
        try:
            meanwhile()
        except BaseException as error:  # told below
            failed.append(error)
        supervisor.ending.set()

    thread = threading.Thread(target=act)
    thread.start()
    code = supervisor.run()
    thread.join()
    assert not failed, failed
    return code


def phase(supervisor: Supervisor) -> str:
    return str(supervisor.folder.status().get("phase"))


def test_a_change_is_not_judged_by_what_was_there_before(
    supervisor: Supervisor, assembly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command comes in at the worst moment: while the loop finds that all is steady."""
    outcome = World.outcome
    commands: list[threading.Thread] = []

    def found(world: World, since: float) -> str:
        ended = outcome(world, since)
        if ended and not commands:
            asked = {"assembly": str(assembly)}
            commands.append(threading.Thread(target=supervisor._deploy, args=[asked]))
            commands[0].start()
            commands[0].join(1)
        return ended

    monkeypatch.setattr(World, "outcome", found)
    taken: list[tuple[str, bool]] = []
    apply = World.apply

    def applied(world: World, graph: Any) -> None:  # noqa: ANN401
        taken.append((phase(supervisor), commands[0].is_alive()))
        apply(world, graph)

    monkeypatch.setattr(World, "apply", applied)

    def meanwhile() -> None:
        until(lambda: taken and phase(supervisor) == "steady", seconds=20)

    assert running(supervisor, meanwhile) == 0
    assert taken == [("deploying", False)]


def test_a_change_that_cannot_be_read_changes_nothing(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    def meanwhile() -> None:
        until(lambda: phase(supervisor) == "steady", seconds=20)
        with pytest.raises(ValueError, match="nowhere"):
            supervisor._deploy({"assembly": str(tmp_path / "nowhere")})
        assert phase(supervisor) == "steady"

    assert running(supervisor, meanwhile) == 0


def test_what_cannot_be_closed_keeps_nothing_else_from_it(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    def fail(self: object, **_: object) -> None:
        closed.append(type(self).__name__)
        raise RuntimeError(f"{type(self).__name__} does not close")

    monkeypatch.setattr(ActingAgent, "close", fail)
    monkeypatch.setattr(ActingBalancer, "close", fail)

    def meanwhile() -> None:
        until(lambda: phase(supervisor) == "steady", seconds=20)

    with pytest.raises(RuntimeError, match="does not close"):
        running(supervisor, meanwhile)
    assert closed == ["ActingBalancer", "ActingAgent"]
    assert isinstance(supervisor.engine, CountingEngine)
    assert supervisor.engine.cleaned == 2
    assert not any(thread.name.startswith("host") for thread in threading.enumerate())


def test_what_cannot_begin_is_told_and_cleaned_up(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(_: World) -> None:
        raise RuntimeError("no balancer")

    monkeypatch.setattr(World, "begin", begin)
    assert supervisor.run() == 1
    assert phase(supervisor) == "failed"
    assert [one.text for one in supervisor.folder.progress()] == ["It cannot go on: no balancer"]
    assert isinstance(supervisor.engine, CountingEngine)
    assert supervisor.engine.cleaned == 2
