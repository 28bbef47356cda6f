"""Lab 5: a rollout is proved by the answers during it, and a careless setting does not stay."""

from __future__ import annotations

import pytest

from tests.labs.playing import Course

pytestmark = pytest.mark.engine


def test_a_careless_setting_that_stays_and_a_quiet_measurement_are_named(course: Course) -> None:
    course.start(5)
    played = course.played
    notes = course.progress / "sandbox"
    (notes / "good.txt").write_text("200\n" * 30 + "503\n", encoding="utf-8")
    (notes / "broken.txt").write_text("200\n" * 30, encoding="utf-8")
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


def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("05-balancer.md")
    assert any("503" in done.said for done in answers)
