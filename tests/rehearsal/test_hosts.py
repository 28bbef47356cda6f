"""Every network that is made for an instance is told of, and goes with its instance."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import pytest

from rehearsal.engines import EngineError, Network
from rehearsal.hosts import Hosts, free_port
from rehearsal.records import Host
from scheduler.model import Instance
from tests.rehearsal.acting import ActingEngine, until
from tests.scheduler.clusters import KIND


class SlowEngine(ActingEngine):
    """Makes a network only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = threading.Event(), threading.Event()
        self.trouble: Exception | None = None

    def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        self.begun.set()
        assert self.let.wait(10)
        if self.trouble is not None:
            raise self.trouble
        return super().create_network(name, labels)


class Told:
    """Hosts of a slow engine, and what they have told in its order."""

    def __init__(self) -> None:
        self.engine = SlowEngine()
        self.said: list[str] = []
        self.events: list[str] = []
        self.hosts = Hosts(
            self.engine,
            owner="test",
            labels={"a": "b"},
            say=self.said.append,
            on_network=lambda host: self.events.append(f"made {host.id}"),
            on_removed=lambda host: self.events.append(f"removed {host.id}"),
        )

    def launch(self) -> Host:
        instance = Instance("ab" * 16, KIND, "a")
        return self.hosts.launch(instance, subnet="s", zones=["a"], boots_at=0)


@pytest.fixture
def told() -> Iterator[Told]:
    """Hosts whose threads end with the test."""
    found = Told()
    yield found
    found.engine.let.set()
    found.hosts.close()


def test_an_instance_that_is_lost_before_it_has_a_network_leaves_none(told: Told) -> None:
    host = told.launch()
    assert told.engine.begun.wait(10)
    told.hosts.take_away(host, [])
    told.engine.let.set()
    until(lambda: len(told.events) == 2)
    assert told.events == [f"made {host.id}", f"removed {host.id}"]
    assert told.engine.networks == []


def test_a_network_is_told_of_when_it_comes_and_when_it_goes(told: Told) -> None:
    told.engine.let.set()
    host = told.launch()
    until(lambda: host.network is not None)
    told.hosts.take_away(host, ["container"])
    until(lambda: told.events == [f"made {host.id}", f"removed {host.id}"])
    assert told.engine.killed == ["container KILL"]
    assert told.engine.networks == []


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (EngineError("no addresses"), "no addresses"),
        (ValueError("too many values to unpack"), "its network: ValueError('too many values to "
         "unpack')"),
    ],
)  # fmt: skip
def test_an_instance_without_a_network_says_why(told: Told, trouble: Exception, said: str) -> None:
    told.engine.trouble = trouble
    told.engine.let.set()
    host = told.launch()
    until(lambda: host.failed)
    assert host.failed == said
    told.hosts.take_away(host, [])
    told.hosts.close()
    assert told.events == []


def test_what_goes_wrong_in_a_thread_is_logged(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.hosts.do(lambda: [][1])
    told.hosts.close()
    assert "IndexError" in caplog.text


def test_host_ports_are_given_in_turn_and_none_twice() -> None:
    host = Host("i", "i-1", "10.0.0.1", "s")
    assert [free_port(host, (1, 3), set()) for _ in range(4)] == [1, 2, 3, 1]
    assert free_port(host, (1, 3), {2, 3}) == 1
    assert free_port(host, (1, 3), {1, 2, 3}) == 0
