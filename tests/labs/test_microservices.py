"""Lab 9: a service is changed alone, and a move is proved by who answered during it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from labs import microservices
from labs.place import Place
from ops.environment import Failed
from tests.conftest import until
from tests.labs.playing import SIZES, Course
from tests.ops.world import World, microservice


def answers(*names: str, status: int = 200) -> str:
    """Lines as the page's loop writes them."""
    return "".join(json.dumps({"service": name}) + f" {status}\n" for name in names)


def asked(path: Path, *spans: tuple[int, str, int]) -> Path:
    """Write so many answers of web's, each with what it says of quotes and its status."""
    lines = [
        json.dumps({"service": "web", "quotes": quotes}) + f" {status}\n"
        for many, quotes, status in spans
        for _ in range(many)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_an_environment_without_quotes_is_named(boats: Place) -> None:
    with pytest.raises(Failed, match=r"sandbox\.services: expected one named quotes .*, got web"):
        microservices.begin(boats)


def test_answers_with_a_quote_do_not_show_that_web_does_without(tmp_path: Path) -> None:
    path = tmp_path / microservices.ALONE
    for spans, right, words in (
        ([(40, "0a1b2c", 200)], False, "0 of 40 answers are from when quotes was gone"),
        ([(20, "0a1b2c", 200), (4, "degraded", 200)], False, "4 of 24 answers are from when"),
        ([(9, "0a1b2c", 200), (9, "degraded", 200)], False, "for 20 answers at least"),
        ([(20, "0a1b2c", 200), (9, "degraded", 200)], True, "none of 29 requests failed, and 9"),
        ([(20, "degraded", 200), (1, "degraded", 503)], False, "of 21 requests failed 1 times 503"),
    ):
        found = microservices._alone(asked(path, *spans))
        assert (found.right, words in found.words) == (right, True), found.words
    path.unlink()
    assert microservices._alone(path).words.startswith("nothing was measured: expected answers")


def test_a_monolith_that_is_left_is_told_at_the_end(
    world: World, boats: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microservices, "_rules_of_several", lambda _: [])
    assert list(microservices.reset(boats, {"sizes": {}})) == []
    world.make_stack("Sandbox-Monolith", microservice("monolith"))
    boats.__dict__.pop("_stacks")
    (line,) = microservices.reset(boats, {"sizes": {}})
    assert line.startswith("The monolith is still there.")


@pytest.mark.engine
def test_a_rollout_of_both_and_a_move_at_once_are_named(redeployed: Course) -> None:
    course = redeployed
    course.start(9, right=("each rule forwards to one target group", *SIZES))
    played, notes = course.played, course.progress / "sandbox"
    web, quotes = played.service, dataclasses.replace(played, of="quotes")
    move = notes / microservices.MOVE
    for text, expected in (
        (answers(*["monolith"] * 20, *[web] * 20), "move.txt: all moved at once; give web a part"),
        (answers(*[web] * 40), "40 of 40 answers are web's; ask from before the first weight"),
        (answers("monolith", web) * 20 + answers(web, status=502), "failed 1 times 502"),
        (answers("monolith", web, *["monolith"] * 30), "the last one web's; they are of monolith"),
    ):
        move.write_text(text, encoding="utf-8")
        assert expected in course.run("check", 9).said
    ecs = played.client("ecs")
    for name in (web, quotes.service):
        ecs.update_service(cluster=played.cluster, service=name, forceNewDeployment=True)
    played.settle()
    quotes.settle()
    words = "quotes was rolled out, and so were tasks of web"
    until(lambda: words in course.run("check", 9).said, seconds=20)
    done = course.run("check", 9)
    assert done.code == 1
    assert "no check has seen quotes at zero tasks; it has 4 now" in done.said
    quotes.scale(3)
    assert f"{quotes.service} wants 2 tasks again" in course.run("reset", 9).said


@pytest.mark.engine
def test_its_page_passes_it(redeployed: Course) -> None:
    course = redeployed
    said = [done.said for done in course.follow("09-microservices.md")]
    whole = "\n".join(said)
    assert "Lab 9 is passed." in whole
    assert '"quotes": "degraded"' in whole or '"quotes":"degraded"' in whole
    assert "none failed" in whole
    services = course.played.client("ecs").list_services(cluster=course.played.cluster)
    assert not [one for one in services["serviceArns"] if "Monolith" in one]
