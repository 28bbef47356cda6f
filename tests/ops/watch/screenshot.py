"""Makes docs/watch.png: a rehearsal in the middle of a rollout, with an instance that drains."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.chromium import chromium
from tests.conftest import PROJECT
from tests.rehearsal.playing import Played, until

PICTURE = PROJECT / "docs" / "watch.png"
TASKS, INSTANCES = 8, 4
# Both versions run, one of the old drains, and the draining instance has something left.
COUNT = """const count = (letter, phase) => document.querySelectorAll(
    `.task[data-letter=${letter}]:not(.leaving) .chip:not(.sick)[data-phase=${phase}]`).length;"""
BEGUN = f'() => {{ {COUNT} return count("B", "running") > 1; }}'
WANTED = f"""() => {{
    {COUNT}
    return count("A", "running") > 0 && count("B", "running") > 1 && count("A", "draining") > 0
        && document.querySelector(".instance[data-state=draining] .task")
        && !document.querySelector("#cluster .task .sick");
}}"""


def main() -> None:
    """Play, roll out, drain, and look; what was played is removed."""
    with tempfile.TemporaryDirectory() as state:
        played = Played(Path(state), PROJECT / "cdk.out", "docker")
        done = played.up()
        assert done.returncode == 0, done.stderr
        try:
            take(played)
        finally:
            played.down()


def take(played: Played) -> None:
    """Take the picture of what is played, once there is everything to be seen."""
    played.suspend_scaling()
    (group,) = played.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    played.client("autoscaling").set_desired_capacity(
        AutoScalingGroupName=group["AutoScalingGroupName"], DesiredCapacity=INSTANCES
    )
    until(lambda: len(played.instances()) == INSTANCES, seconds=60)
    played.client("ecs").update_service(
        cluster=played.cluster, service=played.service, desiredCount=TASKS,
        deploymentConfiguration={"maximumPercent": 125, "minimumHealthyPercent": 75},
    )  # fmt: skip
    played.settle()
    command = [sys.executable, "-m", "ops", "watch", "sandbox", f"--state={played.state}"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium(), args=["--no-sandbox"]
                )
                # Nothing is caught in the middle of an animation.
                page = browser.new_page(
                    viewport={"width": 1440, "height": 900}, reduced_motion="reduce"
                )
                page.goto(address)
                shoot(page, played)
                browser.close()
        finally:
            process.terminate()


def shoot(page: Page, played: Played) -> None:
    """Begin what is to be seen, under a load, and shoot when it is."""
    page.locator("#services .deployment").first.wait_for()
    with played.load(per_second=60):
        page.wait_for_timeout(20_000)
        played.client("ecs").update_service(
            cluster=played.cluster, service=played.service, forceNewDeployment=True
        )
        page.wait_for_function(BEGUN, timeout=60_000, polling=50)
        victim = max(played.instances(), key=lambda one: one["runningTasksCount"])
        played.client("ecs").update_container_instances_state(
            cluster=played.cluster, status="DRAINING",
            containerInstances=[victim["containerInstanceArn"]],
        )  # fmt: skip
        page.wait_for_function(WANTED, timeout=60_000, polling=50)
        page.screenshot(path=PICTURE)


if __name__ == "__main__":
    main()
