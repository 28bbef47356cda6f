"""Lab 5: a rollout is proved by the answers during it, and a careless setting does not stay."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from labs import balancer
from labs.lab import Item
from labs.place import Place
from tests.labs.playing import STEADY, Course
from tests.ops.world import World


def test_a_careless_rollout_stays_one_when_the_setting_is_back(
    world: World, boats: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_configured", "_healthy"):
        monkeypatch.setattr(balancer, name, lambda *_: Item(True, "not asked"))
    rollout: dict[str, Any] = {
        "serviceDeploymentArn": "careless",
        "status": "SUCCESSFUL",
        "createdAt": datetime.fromtimestamp(1000.2, UTC),
        "startedAt": datetime.fromtimestamp(1000.5, UTC),
        "finishedAt": datetime.fromtimestamp(1020.5, UTC),
        "deploymentConfiguration": {"minimumHealthyPercent": 0},
    }
    world.answer("ListServiceDeployments", lambda _: {"serviceDeployments": [rollout]})
    world.answer("DescribeServiceDeployments", lambda _: {"serviceDeployments": [rollout]})
    remembered: dict[str, Any] = {
        "service_deployments": [], "desired": 2, "configuration": {"minimumHealthyPercent": 100},
    }  # fmt: skip
    good, broken = (boats.notes / name for name in (balancer.GOOD, balancer.BROKEN))
    good.write_text("".join(f"{at} 200\n" for at in range(1000, 1030)), encoding="utf-8")
    broken.write_text("".join(f"{at} 503\n" for at in range(1000, 1030)), encoding="utf-8")
    for minimum in (0, 100):
        rollout["deploymentConfiguration"] = {"minimumHealthyPercent": minimum}
        items = list(balancer.check(boats, remembered))
        remembered = json.loads(json.dumps(remembered))
        said = [(item.right, item.words) for item in items]
        assert (True, "a rollout that kept 0% of the tasks has ended") in said
        right = [words for is_right, words in said if is_right]
        assert [words for words in right if words.startswith("broken.txt: 30 of 30")]
        assert not [words for words in right if words.startswith("good.txt")]
    # One that was always careful is what the answers are held against.
    world.answer(
        "DescribeServiceDeployments",
        lambda _: {"serviceDeployments": [{**rollout, "serviceDeploymentArn": "careful"}]},
    )
    items = list(balancer.check(boats, remembered))
    assert [item for item in items if item.right and item.words.startswith("good.txt: 0 of 30")]


@pytest.mark.engine
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


@pytest.mark.engine
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


@pytest.mark.engine
def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("05-balancer.md")
    assert any("503" in done.said for done in answers)
    assert any("Lab 5 is passed." in done.said for done in answers)
