"""Blue/green, canary and linear: the traffic moves by the template's steps; no request fails."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Values, cdk, once, sandbox_project
from tests.rehearsal.conftest import usable
from tests.rehearsal.playing import PER_SECOND, Played, until

pytestmark = pytest.mark.engine

# Per cents of the requests that the new tasks get before they get all; every step and the bake
# take a minute of AWS's. The last one's step lasts longer than an alarm takes to ring.
STEPS: dict[str, list[int]] = {"bluegreen": [], "canary": [20], "linear": [40, 80], "watched": [20]}


@pytest.fixture(scope="session")
def shifting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An assembly with the sandbox once for each strategy, by its name."""

    def multiply(environments: Values) -> None:
        sandbox = environments.pop("sandbox")
        for strategy, steps in STEPS.items():
            environments[strategy] = with_strategy(copy.deepcopy(sandbox), strategy, steps)

    def synthesize(directory: Path) -> None:
        done = cdk("synth", "--quiet", cwd=sandbox_project(directory, multiply))
        assert done.returncode == 0, done.stderr

    return once(tmp_path_factory, "shifting", synthesize) / "cdk.out"


def with_strategy(values: Values, strategy: str, steps: list[int]) -> Values:
    web = values["services"]["web"]
    name = {"bluegreen": "blue-green", "watched": "canary"}.get(strategy, strategy)
    minutes = 5 if strategy == "watched" else 1
    web["deployment"] |= {"strategy": name, "step_minutes": minutes, "bake_minutes": 1}
    if steps:
        web["deployment"]["step_percent"] = steps[0]
    return values


@pytest.fixture
def played(
    request: pytest.FixtureRequest, shifting: Path, tmp_path: Path
) -> Iterator[tuple[Played, list[int]]]:
    """The sandbox with a strategy, played by Docker."""
    strategy: str = request.param
    engine = usable("docker")
    found = Played(tmp_path, shifting, engine.name, environment=strategy)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    found.suspend_scaling()
    yield found, STEPS[strategy]
    found.down()


@pytest.mark.parametrize("played", ["bluegreen", "canary", "linear"], indirect=True)
def test_the_traffic_moves_by_its_steps_and_fails_no_request(
    played: tuple[Played, list[int]],
) -> None:
    environment, steps = played
    before = {task["taskArn"].rpartition("/")[2] for task in environment.tasks()}
    old = {hostname(environment, task) for task in environment.tasks()}
    with environment.load(2 * PER_SECOND) as load:
        time.sleep(1)
        environment.client("ecs").update_service(
            cluster=environment.cluster, service=environment.service, forceNewDeployment=True
        )
        environment.settle()
    assert load.failures == []
    assert not before & {task["taskArn"].rpartition("/")[2] for task in environment.tasks()}
    shares = shares_of_new(load.answered, old)
    for step in steps:
        assert any(abs(share - step) < 8 for share in shares), shares
    assert shares[0] == 0
    assert shares[-1] == 100
    allowed = {0, 100, *steps}
    settled = [share for share in shares if min(abs(share - one) for one in allowed) < 8]
    assert len(settled) >= 0.7 * len(shares), shares
    assert environment.described()["deployments"][0]["rolloutState"] == "COMPLETED"


@pytest.mark.parametrize("played", ["watched"], indirect=True)
def test_an_alarm_takes_the_traffic_back_before_all_of_it_has_moved(
    played: tuple[Played, list[int]],
) -> None:
    environment, (step,) = played
    before = environment.described()["taskDefinition"]
    with environment.load() as load:
        environment.fail(
            f"--environment={environment.environment}", "image", environment.service, "failing"
        )
        until(lambda: len(load.failures) > 0, seconds=60)
        began = load.asked
        until(lambda: environment.described()["taskDefinition"] == before, seconds=120)
        failed, asked = len(load.failures), load.asked - began
        environment.settle()
        after = len(load.failures)
        time.sleep(1)
        assert len(load.failures) == after
    assert failed < asked * (step + 8) / 100
    events = "\n".join(environment.events())
    assert "deployment failed: alarm detected." in events
    assert "rolling back to deployment ecs-svc/" in events


def hostname(played: Played, task: Any) -> str:  # noqa: ANN401
    """Give the name by which a task's container answers."""
    assert played.engine == "docker"
    return str(task["containers"][0]["runtimeId"][:12])


def shares_of_new(answered: list[tuple[float, str]], old: set[str]) -> list[int]:
    """Give for each second how many per cent of the answers new tasks gave."""
    bins: dict[int, Counter[bool]] = {}
    for moment, name in answered:
        bins.setdefault(int(moment), Counter())[name not in old] += 1
    return [
        round(100 * found[True] / (found[True] + found[False])) for _, found in sorted(bins.items())
    ][1:-1]
