"""The watch goes on whatever happens, asks no more than it may, and nobody where nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from ops.environment import Failed
from ops.watch.connection import Connection
from ops.watch.finding import NotDeployedError
from ops.watch.rates import Sample
from ops.watch.read import Versions
from ops.watch.rehearsal import NotPlayedError
from ops.watch.snapshot import Snapshot
from ops.watch.watcher import LONGEST_SECONDS, SAMPLES, Source, Watcher, open_source
from tests.conftest import Values
from tests.ops.watch.made import cluster
from tests.ops.world import World


class Place:
    """A source whose answers are a test's: snapshots, or errors that are raised."""

    source = "a test"

    def __init__(self, *answers: Snapshot | Exception, is_rehearsal: bool = False) -> None:
        self.answers = list(answers)
        self.samples: list[Sample] = []
        self.opened = 0
        self.reads = 0
        self.said: list[str] = []
        self.seconds = 0.0
        self.failing: Exception | None = None
        self._is_rehearsal = is_rehearsal

    def find(self) -> Source:
        self.opened += 1
        if self.failing:
            raise self.failing
        return Source(f"place {self.opened}", self._is_rehearsal, self, Rates(self))

    def read(self) -> Snapshot:
        self.reads += 1
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watcher(self) -> Watcher:
        return Watcher(
            "sandbox", self.find, now=lambda: self.seconds, wall=lambda: 1000 + self.seconds,
            say=self.said.append,
        )  # fmt: skip


class Rates:
    """Gives the place's samples."""

    source = "a test"

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self) -> list[Sample]:
        samples, self._place.samples = self._place.samples, []
        return samples


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "It said so"}}, "ListTasks")


def raised(code: str) -> None:
    raise refused(code)


def deployment(name: str) -> Values:
    counts = {f"{one}Count": 2 for one in ("desired", "running", "pending")}
    return {"id": name, "status": "PRIMARY", "taskDefinition": "web:1", "createdAt": name, **counts}


def meta(watcher: Watcher) -> Any:  # noqa: ANN401
    return watcher.state.records["meta"]


def test_a_rehearsal_is_read_twice_a_second_and_aws_once() -> None:
    assert Place(cluster(3, 6), is_rehearsal=True).watcher().look() == 0.5
    assert Place(cluster(3, 6)).watcher().look() == 1.0


def test_a_big_cluster_is_read_no_faster_than_half_of_ecs_limit() -> None:
    place = Place(Snapshot("boats", calls=71))
    assert place.watcher().look() == pytest.approx(7.1)


def test_who_is_throttled_asks_less_often_and_then_faster_again() -> None:
    place = Place(cluster(3, 6))
    watcher = place.watcher()
    watcher.look()
    place.answers = [refused("ThrottlingException")]
    waits = [watcher.look() for _ in range(7)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert "asked less often" in meta(watcher)["error"]
    # The same clients go on: nothing is wrong with them.
    assert place.opened == 1
    place.answers = [cluster(3, 6)]
    waits = [watcher.look() for _ in range(6)]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == 1.0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused("ExpiredTokenException"), "credentials: expired"),
        (NoCredentialsError(), "credentials: none found"),
        (EndpointConnectionError(endpoint_url="https://ecs.test"), "AWS did not answer"),
        (refused("AccessDeniedException"), "AWS refused"),
        (NotPlayedError("no rehearsal answers"), "no rehearsal answers"),
    ],
)
def test_an_error_leaves_the_last_picture_with_its_age(error: Exception, words: str) -> None:
    place = Place(cluster(3, 6), error, cluster(3, 6))
    watcher = place.watcher()
    watcher.look()
    before = dict(watcher.state.records)
    place.seconds = 5
    watcher.look()
    assert words in meta(watcher)["error"]
    assert meta(watcher)["read_at"] == 1000
    assert {**watcher.state.records, "meta": 0} == {**before, "meta": 0}
    assert any(words in one for one in place.said)
    watcher.look()
    assert meta(watcher)["error"] == ""
    assert meta(watcher)["read_at"] == 1005
    # With other credentials, or at another place.
    assert place.opened == 2
    assert place.said[-1] == "Reading sandbox again."


def test_an_error_leaves_each_deployment_its_letter(world: World) -> None:
    world.make_environment()
    deployed = [deployment("1"), deployment("2")]
    service = {"serviceName": "web", "status": "ACTIVE", "deployments": deployed}
    counts = {f"{one}Count": 2 for one in ("desired", "running", "pending")}
    world.answer("DescribeServices", lambda _: {"services": [service | counts]})
    connection = Connection(world.environment, world.aws, "a test")
    find_source = partial(open_source, lambda: connection, Versions(), now=float, wall=float)
    said: list[str] = []
    watcher = Watcher("sandbox", find_source, now=float, wall=float, say=said.append)

    def letters() -> dict[str, object]:
        watcher.look()
        records = watcher.state.records.items()
        return {key: one["letter"] for key, one in records if key.startswith("deployment:")}

    assert letters() == {"deployment:1": "A", "deployment:2": "B"}
    del deployed[0]
    world.answer("ListTasks", lambda _: raised("ExpiredToken"))
    letters()
    assert "expired" in meta(watcher)["error"]
    world.answer("ListTasks", lambda _: None)
    assert letters() == {"deployment:2": "B"}
    assert said.count("Showing sandbox on a test.") == 2


def test_an_error_is_told_once_and_looked_after_ever_more_rarely() -> None:
    place = Place(refused("AccessDeniedException"))
    watcher = place.watcher()
    waits = [watcher.look() for _ in range(8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert len([one for one in place.said if "AWS refused" in one]) == 1
    assert max(waits) == LONGEST_SECONDS


def test_what_is_not_deployed_yet_is_waited_for_and_a_lack_of_credentials_is_not() -> None:
    place = Place(cluster(3, 6))
    place.failing = NotDeployedError("sandbox is not deployed there")
    watcher = place.watcher()
    watcher.begin()
    assert "not deployed" in meta(watcher)["error"]
    place.failing = None
    watcher.look()
    assert meta(watcher)["error"] == ""
    place.failing = Failed("credentials: none found")
    with pytest.raises(Failed, match="none found"):
        place.watcher().begin()


def test_rates_that_fail_do_not_hide_the_rest() -> None:
    place = Place(cluster(3, 6))
    watcher = place.watcher()

    class Failing:
        source = "a test"

        def read(self) -> list[Sample]:
            raise refused("AccessDeniedException")

    source = Source("there", False, place, Failing())
    watcher = Watcher("sandbox", lambda: source, now=float, wall=float, say=place.said.append)
    watcher.look()
    assert meta(watcher)["error"] == ""
    assert "AWS refused" in meta(watcher)["rates_error"]


def test_samples_are_kept_for_who_comes_later_and_not_for_ever() -> None:
    place = Place(cluster(3, 6))
    watcher = place.watcher()
    for number in range(3):
        place.samples = [Sample(1000.0 * number + one, 1, 1, 0) for one in range(200)]
        watcher.look()
    assert len(watcher.state.samples) == SAMPLES
    assert watcher.state.samples[-1].at == 2199


def running(watcher: Watcher) -> threading.Thread:
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    return thread


def soon(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_nobody_is_asked_while_nobody_looks() -> None:
    place = Place(cluster(3, 6), is_rehearsal=True)
    watcher = place.watcher()
    thread = running(watcher)
    soon(lambda: place.reads == 1)
    time.sleep(0.7)
    assert place.reads == 1
    with watcher.looked_at():
        soon(lambda: place.reads >= 2)
    watcher.end()
    thread.join(10)
    assert not thread.is_alive()


def test_what_was_just_changed_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.watch.watcher.AWS_SECONDS", 60.0)
    place = Place(cluster(3, 6))
    watcher = place.watcher()
    thread = running(watcher)
    with watcher.looked_at():
        soon(lambda: place.reads == 1)
        watcher.hurry()
        soon(lambda: place.reads == 2)
    watcher.end()
    thread.join(10)


def test_who_waits_is_woken_by_a_change_and_by_the_end() -> None:
    watcher = Place(cluster(3, 6)).watcher()
    version = watcher.state.version
    threading.Timer(0.05, watcher.look).start()
    assert watcher.wait(version, 10).version == version + 1
    threading.Timer(0.05, watcher.end).start()
    began = time.monotonic()
    watcher.wait(version + 1, 10)
    assert time.monotonic() - began < 5
