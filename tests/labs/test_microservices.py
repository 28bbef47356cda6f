"""Lab 9: a service is changed alone, and a move is proved by who answered during it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from labs import microservices
from tests.conftest import until
from tests.labs.playing import Course

pytestmark = pytest.mark.engine


def answers(*names: str, status: int = 200) -> str:
    """Lines as the page's loop writes them."""
    return "".join(json.dumps({"service": name}) + f" {status}\n" for name in names)


def test_a_rollout_of_both_and_a_move_at_once_are_named(redeployed: Course) -> None:
    course = redeployed
    course.start(9)
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


def test_its_page_passes_it(redeployed: Course) -> None:
    course = redeployed
    said = [done.said for done in course.follow("09-microservices.md")]
    whole = "\n".join(said)
    assert "Lab 9 is passed." in whole
    assert '"quotes": "degraded"' in whole or '"quotes":"degraded"' in whole
    assert "none failed" in whole
    services = course.played.client("ecs").list_services(cluster=course.played.cluster)
    assert not [one for one in services["serviceArns"] if "Monolith" in one]
