"""What an environment is, is found again while it is watched, and no look waits for that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from ops.environment import Environment
from ops.watch.finding import (
    EVERY_SECONDS,
    SOON_SECONDS,
    Finder,
    Found,
    NotDeployedError,
    find,
)
from settings import parse
from tests.conftest import Values
from tests.ops.world import World

WHOLE = Found("boats", ("group",), ("balancer",), {"Web": "web"})


class Place:
    """An environment that is what a test says, and how often it was asked."""

    def __init__(self, found: Found) -> None:
        self.found: Found | Exception = found
        self.asked = 0
        self.seconds = 0.0

    def find(self) -> Found:
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def finder(self, begin: Callable[[Callable[[], None]], None] | None = None) -> Finder:
        now = lambda: self.seconds  # noqa: E731
        return Finder(self.find, now=now, begin=begin or (lambda work: work()))

    def asked_until(self, finder: Finder, seconds: float, *services: str) -> int:
        """Look each second until then; give how often it was asked for that."""
        before = self.asked
        while self.seconds < seconds:
            self.seconds += 1
            finder.look(services)
        return self.asked - before


def test_an_environment_is_found_by_its_stacks(world: World) -> None:
    with pytest.raises(NotDeployedError, match="sandbox is not deployed there"):
        find(world.aws, world.environment)
    world.make_environment()
    found = find(world.aws, world.environment)
    assert found.cluster == "boats"
    assert list(found.labels.values()) == ["web"]
    assert found.labels == {world.service.rsplit("/", 1)[1]: "web"}
    assert len(found.groups) == 1


def test_a_service_that_the_settings_have_forgotten_is_called_by_its_stack(
    world: World, values: Values
) -> None:
    world.make_environment()
    values["sandbox"]["services"] = {"other": values["sandbox"]["services"]["quotes"]}
    environment = Environment("sandbox", parse(values)["sandbox"])
    assert list(find(world.aws, environment).labels.values()) == ["Sandbox-Web"]


def test_what_is_whole_is_found_again_about_once_a_minute() -> None:
    place = Place(WHOLE)
    finder = place.finder()
    assert place.asked_until(finder, EVERY_SECONDS - 1, "Web") == 0
    assert place.asked_until(finder, 5 * EVERY_SECONDS, "Web") == 5
    place.found = replace(WHOLE, groups=("group", "second"))
    place.asked_until(finder, 6 * EVERY_SECONDS, "Web")
    assert finder.look(["Web"]).groups == ("group", "second")


@pytest.mark.parametrize(
    ("found", "services"),
    [
        (replace(WHOLE, groups=()), ["Web"]),
        (replace(WHOLE, balancers=()), ["Web"]),
        (WHOLE, ["Web", "Quotes"]),
    ],
)
def test_what_is_missing_is_looked_for_sooner(found: Found, services: list[str]) -> None:
    place = Place(found)
    finder = place.finder()
    assert place.asked_until(finder, SOON_SECONDS - 1, *services) == 0
    assert place.asked_until(finder, 3 * SOON_SECONDS, *services) == 3
    place.found = replace(WHOLE, labels={"Web": "web", "Quotes": "quotes"})
    place.asked_until(finder, 4 * SOON_SECONDS, *services)
    assert place.asked_until(finder, 5 * SOON_SECONDS, *services) == 0


def test_no_look_waits_for_what_is_found_and_it_is_found_once_at_a_time() -> None:
    place = Place(WHOLE)
    begun: list[Callable[[], None]] = []
    finder = place.finder(begun.append)
    place.found = replace(WHOLE, groups=("second",))
    place.asked_until(finder, 5 * EVERY_SECONDS, "Web")
    (work,) = begun
    assert finder.look(["Web"]) == WHOLE
    work()
    assert finder.look(["Web"]).groups == ("second",)
    place.asked_until(finder, 7 * EVERY_SECONDS, "Web")
    assert len(begun) == 2


def test_it_is_found_in_a_thread_of_its_own() -> None:
    threads: list[threading.Thread] = []
    found = threading.Event()

    def find() -> Found:
        threads.append(threading.current_thread())
        if len(threads) == 2:
            found.set()
        return WHOLE

    seconds = iter((0.0, EVERY_SECONDS, EVERY_SECONDS))
    Finder(find, now=lambda: next(seconds)).look(["Web"])
    assert found.wait(10)
    assert threads[0] is threading.current_thread()
    assert threads[1].daemon


@pytest.mark.parametrize(
    "error",
    [
        NotDeployedError("not there"),
        ClientError(
            {"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "DescribeStacks"
        ),
    ],
)
def test_what_goes_wrong_leaves_what_was_found_until_the_next_time(error: Exception) -> None:
    place = Place(WHOLE)
    finder = place.finder()
    place.found = error
    place.asked_until(finder, EVERY_SECONDS, "Web")
    assert finder.look(["Web"]) == WHOLE
    place.found = replace(WHOLE, groups=("second",))
    place.asked_until(finder, 2 * EVERY_SECONDS, "Web")
    assert finder.look(["Web"]).groups == ("second",)


def test_another_cluster_is_for_another_reader() -> None:
    place = Place(WHOLE)
    finder = place.finder()
    place.found = replace(WHOLE, cluster="ships")
    place.seconds = EVERY_SECONDS
    for _ in range(2):
        with pytest.raises(NotDeployedError, match="boats is replaced by ships"):
            finder.look(["Web"])
