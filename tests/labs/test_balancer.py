"""Lab 5: a rollout is proved by the answers during it, and a careless setting does not stay."""

from __future__ import annotations

import time

import pytest

from tests.labs.playing import STEADY, Course

pytestmark = pytest.mark.engine


def test_a_careless_setting_that_stays_and_a_quiet_measurement_are_named(course: Course) -> None:
    course.start(
        5,
        right=("the service deploys as it did at the start", "targets: 2 healthy", STEADY),
    )
    played = course.played
    notes = course.progress / "sandbox"
    now = int(time.time())
    (notes / "good.txt").write_text(f"{now} 200\n" * 30 + f"{now} 503\n", encoding="utf-8")
    (notes / "broken.txt").write_text(f"{now} 200\n" * 30, encoding="utf-8")
    played.client("ecs").update_service(
        cluster=played.cluster,
        service=played.service,
        deploymentConfiguration={
            **played.described()["deploymentConfiguration"],
            "minimumHealthyPercent": 50,
        },
    )
    done = course.run("check", 5)
    assert done.code == 1
    assert "no rollout that keeps 100% of the tasks has ended well" in done.said
    assert "good.txt: 1 of 31 requests failed (30 times 200, 1 times 503)" in done.said
    assert "broken.txt: none of 30 requests failed; ask while the rollout" in done.said
    assert "minimumHealthyPercent is 50, not 100 as at the start" in done.said
    assert course.run("reset", 5).code == 0
    assert played.described()["deploymentConfiguration"]["minimumHealthyPercent"] == 100


def test_a_quiet_hour_passes_neither_rollout(course: Course) -> None:
    played, notes = course.played, course.progress / "sandbox"
    assert course.run("start", 5).code == 0
    played.client("ecs").update_service(
        cluster=played.cluster, service=played.service, forceNewDeployment=True
    )
    played.settle()
    # All of it before the rollout, and long enough by the number of its lines.
    before = int(time.time()) - 3600
    for name in ("good.txt", "broken.txt"):
        lines = [f"{before + second} 200\n" for second in range(60)]
        (notes / name).write_text("".join(lines), encoding="utf-8")
    done = course.run("check", 5)
    assert "a rollout that kept 100% of the tasks has ended well" in done.said
    assert "good.txt: the last request came" in done.said
    assert "missing  broken.txt: none of 60 requests failed" in done.said
    assert course.run("reset", 5).code == 0


def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("05-balancer.md")
    assert any("503" in done.said for done in answers)
    assert any("Lab 5 is passed." in done.said for done in answers)
