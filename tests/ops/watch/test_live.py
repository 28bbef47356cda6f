"""What the page shows equals what the API says: in Chromium, while a rehearsal is played.

The API is asked before and after the page is read: where both answers are the same the page must
be too, at the latest when the cluster has stood still for as long as an update may take.
"""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import chromium
from tests.conftest import PROJECT, hear_ctrl_c
from tests.rehearsal.conftest import usable
from tests.rehearsal.playing import PATIENCE, SPEED, Played, until

pytestmark = [pytest.mark.engine, pytest.mark.browser]

LOG = logging.getLogger(__name__)
# An update takes a second at most; the rest is for two cores that play, test and draw at once.
LATE_SECONDS = 2.0 * PATIENCE
READ = """() => {
    const all = (what) => [...document.querySelectorAll(what + ":not(.leaving)")];
    const by = (many, key, value) => Object.fromEntries(many.map((one) => [key(one), value(one)]));
    const tasks = all("#cluster .task"), instances = all(".instance");
    return {
        tasks: by(tasks, (one) => one.dataset.task, ({dataset: one, parentElement: list}) => ({
            instance: list.closest(".instance")?.dataset.instance ?? "",
            status: one.status, desired: one.desired, health: one.health, service: one.service,
            revision: one.revision, deployment: one.deployment,
        })),
        instances: by(
            instances.filter((one) => one.dataset.status),
            (one) => one.dataset.instance,
            (one) => ({
                zone: one.closest(".zone").dataset.zone, status: one.dataset.status,
                amounts: [...one.querySelectorAll(".amount")].map((each) => each.textContent),
            }),
        ),
        deployments: by(
            all(".deployment"), (one) => one.dataset.deployment, (one) => one.dataset.rollout,
        ),
        counts: [...document.querySelectorAll("#services .counts")].map(
            (one) => one.querySelector("span").textContent,
        ),
        targets: by(
            all("#targets tbody tr"), (one) => one.dataset.target,
            (one) => one.querySelector(".state").dataset.state,
        ),
        letters: tasks.map((one) => one.dataset.letter),
        phases: [...window.phases],
        states: [...window.states],
    };
}"""
# Page and API are compared so often, since how late the page is, is measured so.
LOOK_SECONDS = 0.1
# A task may start between two looks, and an instance boot; each phase and state that the page shows
# is kept.
KEEP = """() => {
    window.phases = new Set();
    window.states = new Set();
    const keep = () => {
        document.querySelectorAll(".task .chip").forEach(
            (one) => window.phases.add(one.dataset.phase),
        );
        document.querySelectorAll(".instance").forEach(
            (one) => window.states.add(one.dataset.state),
        );
    };
    new MutationObserver(keep).observe(
        document.body, {subtree: true, childList: true, attributes: true},
    );
    keep();
}"""


@dataclass
class Picture:
    """A page of a watch of what is played, compared with the API whenever it is looked at."""

    page: Page
    played: Played
    letters: set[str] = field(default_factory=set)
    phases: set[str] = field(default_factory=set)
    states: set[str] = field(default_factory=set)
    same: int = 0
    latest: float = 0.0
    _other: tuple[float, Any] = (0.0, None)

    def look(self) -> None:
        """Compare once; fails where the page has been another than the API for too long."""
        before = self.told()
        shown = self.page.evaluate(READ)
        self.letters |= set(shown.pop("letters"))
        self.phases |= set(shown.pop("phases"))
        self.states |= set(shown.pop("states"))
        if shown == before:
            self.same += 1
            self._other = (0.0, None)
            return
        since, said = self._other
        if said != before:
            self._other = time.monotonic(), before
            return
        late = time.monotonic() - since
        self.latest = max(self.latest, late)
        assert late < LATE_SECONDS, f"for {late:.1f} s the page has shown {shown}, not {before}"

    def agrees(self) -> bool:
        """Whether page and API say the same now."""
        before = self.same
        self.look()
        return self.same > before

    def told(self) -> dict[str, Any]:
        """Say what the API says, in the page's words."""
        played = self.played
        hosts = {one["containerInstanceArn"]: one for one in played.instances()}
        both = [replace(played, of=name) for name in ("web", "quotes")]
        tasks = [
            task for one in both for status in ("RUNNING", "STOPPED") for task in one.tasks(status)
        ]
        # The services stand there by name, and quotes, without targets, comes first.
        quotes, service = (one.described() for one in both[::-1])
        health = played.client("elbv2").describe_target_health(
            TargetGroupArn=service["loadBalancers"][0]["targetGroupArn"]
        )
        return {
            "tasks": {
                last(one["taskArn"]): {
                    "instance": hosts[one["containerInstanceArn"]]["ec2InstanceId"]
                    if one.get("containerInstanceArn") in hosts
                    else "",
                    "status": one["lastStatus"],
                    "desired": one["desiredStatus"],
                    "health": one["healthStatus"],
                    "service": one["group"].removeprefix("service:"),
                    "revision": last(one["taskDefinitionArn"]),
                    "deployment": one["startedBy"],
                }
                for one in tasks
                if one["lastStatus"] != "STOPPED"
            },
            "instances": {one["ec2InstanceId"]: host(one) for one in hosts.values()},
            "deployments": {
                one["id"]: one["rolloutState"]
                for each in (quotes, service)
                for one in each["deployments"]
            },
            "counts": [
                f"{one['runningCount']} running, {one['desiredCount']} desired, "
                f"{one['pendingCount']} pending"
                for one in (quotes, service)
            ],
            "targets": {
                f"{one['Target']['Id']}:{one['Target']['Port']}": one["TargetHealth"]["State"]
                for one in health["TargetHealthDescriptions"]
            },
        }

    def rollouts(self) -> list[str]:
        """Give the words beside the deployments."""
        return self.page.locator(".deployment .rollout").all_inner_texts()


def host(one: Any) -> dict[str, Any]:  # noqa: ANN401 - as described
    """Say what the page says of a container instance."""
    amounts = []
    for name, unit in (("CPU", ""), ("MEMORY", " MiB")):
        whole, left = (
            next(each["integerValue"] for each in one[key] if each["name"] == name)
            for key in ("registeredResources", "remainingResources")
        )
        amounts.append(f"{whole - left:,} of {whole:,}{unit} reserved, {left:,} free")
    (zone,) = (
        each["value"] for each in one["attributes"] if each["name"] == "ecs.availability-zone"
    )
    return {"zone": zone, "status": one["status"], "amounts": amounts}


def last(arn: str) -> str:
    return arn.rpartition("/")[2]


@pytest.fixture(scope="module")
def played(assembly: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The sandbox, played with Docker and faster than elsewhere, as nothing here depends on it."""
    chromium()
    found = Played(
        tmp_path_factory.mktemp("state"), assembly, usable("docker").name, speed=2 * SPEED
    )
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    assert "make watch" in done.stderr
    found.suspend_scaling()
    yield found
    found.down()


@pytest.fixture(scope="module")
def address(played: Played) -> Iterator[str]:
    """Where the command says that its page is; it ends as Ctrl-C ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "watch", "sandbox", "--port=0", f"--state={played.state}"],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    endpoint = played.folder.status()["endpoint"]
    yield process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert f"Showing sandbox on the rehearsal at {endpoint}." in said


@pytest.fixture
def picture(page: Page, played: Played, address: str) -> Picture:
    """The page, opened."""
    page.goto(address)
    page.evaluate(KEEP)
    found = Picture(page, played)
    until(lambda: page.locator("#services .counts").count() > 0, seconds=10)
    until(found.agrees, seconds=10, pause=LOOK_SECONDS)
    return found


def test_a_rollout_is_shown_as_the_api_tells_it(picture: Picture) -> None:
    played = picture.played
    with played.load(per_second=20):
        played.client("ecs").update_service(
            cluster=played.cluster, service=played.service, forceNewDeployment=True
        )
        seen: set[str] = set()

        def is_over() -> bool:
            picture.look()
            seen.update(picture.rollouts())
            over = picture.rollouts() == ["completed"] * 2
            return over and {"in progress", "completed"} <= seen

        until(is_over, seconds=90, pause=LOOK_SECONDS)
        expect(picture.page.locator("#figure-requests")).to_have_text(re.compile(r"^(1\d|2\d)$"))
        expect(picture.page.locator("#figure-failures")).to_have_text("0")
    until(picture.agrees, seconds=10, pause=LOOK_SECONDS)
    LOG.info("the same %d times; at most %.1f s late", picture.same, picture.latest)
    assert len(picture.letters) == 2
    assert "is replaced" in seen
    assert {"starting", "running"} <= picture.phases
    assert {"draining", "stopping"} & picture.phases


def test_a_lost_instance_is_shown_as_the_api_tells_it(picture: Picture) -> None:
    page, played = picture.page, picture.played
    victim = played.instances()[0]["ec2InstanceId"]
    form = page.locator("form[data-kind=instance]")
    form.locator("select").select_option(victim)
    expect(form.locator("code")).to_have_text(f"python -m rehearsal fail instance {victim}")
    form.locator("button.do").click()
    expect(page.locator("#fault-words")).to_contain_text(f"{victim} is gone without warning")
    expect(page.locator(f"[data-instance='{victim}']")).to_have_count(0)

    def is_over() -> bool:
        picture.look()
        names = [one["ec2InstanceId"] for one in played.instances()]
        statuses = [one["lastStatus"] for one in played.tasks()]
        return victim not in names and len(names) == 2 and statuses == ["RUNNING"] * 2

    until(is_over, seconds=60, pause=LOOK_SECONDS)
    until(picture.agrees, seconds=10, pause=LOOK_SECONDS)
    LOG.info("the same %d times; at most %.1f s late", picture.same, picture.latest)
    assert "booting" in picture.states
    assert victim not in page.locator("#zones").inner_text()


def test_a_task_is_stopped_and_an_instance_drained_and_taken_back(picture: Picture) -> None:
    page, played = picture.page, picture.played
    # Else a rollout or a rebalancing may stop it first.
    played.settle()
    victim = last(played.tasks()[0]["taskArn"])
    page.locator(f"[data-task='{victim}'] .chip").click()
    page.locator("form[data-kind=stop-task] button.do").click()
    expect(page.locator("#fault-words")).to_contain_text(victim)
    expect(page.locator(f"[data-stopped='{victim}']")).to_contain_text(
        "Task stopped by user", timeout=20_000 * PATIENCE
    )
    name = played.instances()[0]["ec2InstanceId"]
    page.locator(f"[data-instance='{name}'] .name").click()
    button = page.locator("form[data-kind=drain] button.do")
    button.click()
    expect(page.locator(f"[data-instance='{name}']")).to_have_attribute("data-state", "draining")
    until(picture.agrees, seconds=10, pause=LOOK_SECONDS)
    expect(button).to_have_text("Take tasks again")
    button.click()
    expect(page.locator(f"[data-instance='{name}']")).to_have_attribute("data-state", "active")
    until(picture.agrees, seconds=10, pause=LOOK_SECONDS)


def test_a_rehearsal_that_ends_is_said_to_have_ended(picture: Picture) -> None:
    picture.played.down()
    expect(picture.page.locator("#problem")).to_contain_text("it plays again with: make local")
    expect(picture.page.locator("#age")).to_contain_text("Stale")
    expect(picture.page.locator("#breaking")).to_be_hidden()
