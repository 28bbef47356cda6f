"""web answers whatever becomes of quotes, which it finds by its name; and so on the way to both."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, Values, cdk, once, sandbox_project
from tests.rehearsal.conftest import usable
from tests.rehearsal.load import Load
from tests.rehearsal.playing import Played, until

pytestmark = pytest.mark.engine

# The numbers are told with: pytest --log-cli-level=INFO
LOG = logging.getLogger(__name__)
DEGRADED = "degraded"
# How long traffic is looked at between two changes of the weights.
STEP_SECONDS = 2.0


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The sandbox with the monolith beside its services, as the documents add it; steady."""

    def add(environments: Values) -> None:
        more = (PROJECT / "docs" / "labs" / "monolith.json").read_text(encoding="utf-8")
        environments["sandbox"]["services"] |= json.loads(more)["sandbox"]["services"]

    def synthesize(directory: Path) -> None:
        done = cdk("synth", "--quiet", cwd=sandbox_project(directory, add))
        assert done.returncode == 0, done.stderr

    engine = usable("docker")
    assembly = once(tmp_path_factory, "beside", synthesize) / "cdk.out"
    found = Played(tmp_path_factory.mktemp("state"), assembly, engine.name)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    for one in services(found).values():
        one.suspend_scaling()
    yield found
    found.down()


@pytest.fixture
def web(played: Played) -> Played:
    """The service behind the balancer, steady as the others are."""
    for one in services(played).values():
        one.settle()
    return played


@pytest.fixture
def quotes(web: Played) -> Played:
    """The service that has no route."""
    return replace(web, of="quotes")


def services(played: Played) -> dict[str, Played]:
    return {name: replace(played, of=name) for name in ("web", "quotes", "monolith")}


def arns(played: Played) -> set[str]:
    """Name the running tasks."""
    return {one["taskArn"] for one in played.tasks() if one["lastStatus"] == "RUNNING"}


def ask(played: Played, path: str) -> str:
    """Ask the balancer once."""
    with urllib.request.urlopen(f"http://127.0.0.1:{played.port}{path}", timeout=5) as answer:
        body: str = answer.read().decode()
        return body


def quoting(load: Load, tasks: set[str], *, since: float) -> bool:
    """Whether all of these tasks have given a quote since a moment."""
    return tasks <= load.answering(since=since)


def test_a_quote_comes_from_each_task_of_quotes_by_its_name(web: Played, quotes: Played) -> None:
    tasks = arns(quotes)
    assert len(tasks) == 2
    with web.load(key="quotes") as load:
        until(lambda: quoting(load, tasks, since=0), seconds=20)
    assert load.failures == []
    assert load.answering(since=0) <= {*tasks, DEGRADED}
    until(lambda: any(task in ask(web, "/") for task in tasks), seconds=10)


def test_without_quotes_the_page_is_degraded_and_with_them_it_is_whole_again(
    web: Played, quotes: Played
) -> None:
    before = quotes.tasks()
    told = len(web.events())
    engine = usable(web.engine)
    with web.load(key="quotes") as load:
        until(lambda: load.answering(since=0) - {DEGRADED} != set(), seconds=20)
        for task in before:
            (container,) = task["containers"]
            engine.kill(container["runtimeId"])
        killed = time.monotonic()
        until(lambda: DEGRADED in ask(web, "/"), seconds=5)
        until(lambda: DEGRADED in load.answering(since=killed), seconds=5)
        quotes.settle()
        after = arns(quotes)
        steady = time.monotonic()
        until(lambda: quoting(load, after, since=steady), seconds=20)
    answers = [quote for _, quote in load.answered]
    LOG.info("%s of %s without a quote", answers.count(DEGRADED), len(answers))
    assert load.failures == []
    assert len(after) == 2
    assert not after & {one["taskArn"] for one in before}
    stopped = {one["taskArn"]: one for one in quotes.tasks("STOPPED")}
    for task in before:
        reason = stopped[task["taskArn"]]["stoppedReason"]
        assert reason == "Essential container in task exited"
    # Nobody took web's tasks from the balancer for that.
    events = web.events()
    assert "unhealthy" not in "\n".join(events[: len(events) - told])


def test_a_rollout_of_quotes_fails_no_request_of_web(web: Played, quotes: Played) -> None:
    before, others = arns(quotes), arns(web)
    with web.load(key="quotes") as load:
        until(lambda: quoting(load, before, since=0), seconds=20)
        web.client("ecs").update_service(
            cluster=web.cluster, service=quotes.service, forceNewDeployment=True
        )
        until(lambda: len(quotes.described()["deployments"]) == 2, seconds=10)
        quotes.settle()
        after = arns(quotes)
        steady = time.monotonic()
        until(lambda: quoting(load, after, since=steady), seconds=20)
    answers = [quote for _, quote in load.answered]
    LOG.info("%s of %s without a quote", answers.count(DEGRADED), len(answers))
    assert load.failures == []
    assert not after & before
    # quotes alone is replaced.
    assert arns(web) == others


def test_weights_move_the_traffic_from_the_monolith_to_the_services_and_back(web: Played) -> None:
    elbv2: Any = web.client("elbv2")
    (listener,) = elbv2.describe_listeners()["Listeners"]
    rules = {
        one["Priority"]: one
        for one in elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    }
    group = {name: rules[name]["Actions"][0]["TargetGroupArn"] for name in ("100", "200")}
    named = {name: one.service for name, one in services(web).items()}

    def weigh(monolith: int, services: int) -> None:
        groups = [
            {"TargetGroupArn": group["200"], "Weight": monolith},
            {"TargetGroupArn": group["100"], "Weight": services},
        ]
        forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        elbv2.modify_rule(RuleArn=rules["100"]["RuleArn"], Actions=[forward])

    def answering(*expected: str) -> list[str]:
        """Wait until those answer and nobody else does; what was asked before may be on its way."""
        found: list[str] = []

        def are_expected() -> bool:
            since = time.monotonic()
            time.sleep(STEP_SECONDS)
            found[:] = [name for moment, name in load.answered if moment >= since]
            return set(found) == {named[one] for one in expected}

        until(are_expected, seconds=5 * STEP_SECONDS)
        return found

    with web.load(key="service") as load:
        answering("web")
        for weights, expected in (
            ((100, 0), ["monolith"]),
            ((90, 10), ["monolith", "web"]),
            ((50, 50), ["monolith", "web"]),
            ((0, 100), ["web"]),
            ((100, 0), ["monolith"]),
        ):
            weigh(*weights)
            found = answering(*expected)
            if weights == (90, 10):
                assert found.count(named["monolith"]) > found.count(named["web"])
        action = {"Type": "forward", "TargetGroupArn": group["100"]}
        elbv2.modify_rule(RuleArn=rules["100"]["RuleArn"], Actions=[action])
        answering("web")
    assert load.failures == []
