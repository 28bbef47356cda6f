"""One command plays an environment, another removes it; what ends in between leaves nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rehearsal.engines import Processes, Runtime
from rehearsal.world import LABEL
from tests.conftest import PROJECT, hear_ctrl_c
from tests.rehearsal.playing import SPEED, Played, printed, until

pytestmark = pytest.mark.engine

# The numbers are told with: pytest --log-cli-level=INFO
LOG = logging.getLogger(__name__)
# From a warm start: everything is installed, synthesized and built. On a machine that others
# share, any one start may be a slow one.
WARM_SECONDS = 20
WARM_STARTS = 3


@pytest.fixture
def played(runtime: Runtime, assembly: Path, tmp_path: Path) -> Iterator[Played]:
    """The sandbox, not played yet; removed afterwards."""
    found = Played(tmp_path, assembly, runtime.name, speed=4 * SPEED)
    if not isinstance(runtime, Processes):
        built = found.run("image", "sandbox", f"--engine={runtime.name}", f"--assembly={assembly}")
        assert built.returncode == 0, built.stderr
    yield found
    found.run("down", "sandbox")


def left(played: Played, runtime: Runtime) -> list[str]:
    """Name the containers and networks of this rehearsal that there are; removes them."""
    runtimes = [runtime]
    if isinstance(runtime, Processes):
        runtimes = [Processes(played.folder.path / "processes")]
    return [one for each in runtimes for one in each.clean(f"{LABEL}={played.folder.owner}")]


def test_one_command_plays_it_and_another_removes_it(played: Played, runtime: Runtime) -> None:
    played.speed = SPEED
    for _ in range(WARM_STARTS):
        began = time.monotonic()
        done = played.up()
        assert done.returncode == 0, done.stderr + played.log()
        with urllib.request.urlopen(done.stdout.strip(), timeout=5) as answer:
            assert answer.status == 200
        took = time.monotonic() - began
        LOG.info("%s: %.1f s to the first 200", played.engine, took)
        if took < WARM_SECONDS or SPEED < 10:
            break
        played.down()
    else:
        # A machine on which others are as busy says nothing of how long it takes.
        assert os.getloadavg()[0] > 3 * (os.cpu_count() or 1), f"{took:.1f} s to the first 200"
        played.up()
    for line in ("has reached a steady state.", "Not played: ", "make down", played.engine):
        assert line in done.stderr
    again = played.up()
    assert again.returncode == 0
    assert "is being played already" in again.stderr
    assert printed(played.run("status", "sandbox"))["phase"] == "steady"
    haproxy = played.folder.status()["balancer_pid"]
    assert "no longer played" in played.down().stderr
    assert left(played, runtime) == []
    assert not runs(haproxy)
    assert played.run("status", "sandbox").returncode == 1


def test_an_interrupted_beginning_removes_what_it_began(played: Played, runtime: Runtime) -> None:
    process = subprocess.Popen(
        played.command("up", "sandbox", *played.options),
        cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "boots in" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "removing what was begun" in said
    assert not played.folder.is_played()
    assert left(played, runtime) == []


# It is found by its labels, which each engine's own tests see.
@pytest.mark.parametrize("runtime", ["docker", "processes"], indirect=True)
def test_what_a_killed_one_left_is_removed_by_the_next_and_by_down(
    played: Played, runtime: Runtime
) -> None:
    assert played.up().returncode == 0
    first = killed(played)
    done = played.up()
    assert done.returncode == 0, done.stderr
    assert "of an earlier run are removed" in done.stderr
    second = killed(played)
    assert not set(first["instances"]) & set(second["instances"])
    assert len(second["tasks"]) == 4
    assert "leftovers were removed" in played.down().stderr
    assert left(played, runtime) == []
    for status in (first, second):
        assert not runs(status["balancer_pid"])


def runs(pid: int) -> bool:
    """Say whether a process runs; one that only waits for its parent to notice its end does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def killed(played: Played) -> Mapping[str, Any]:
    """Kill the process that plays it, as the kernel would; give its last status."""
    status = played.folder.status()
    os.kill(int((played.folder.path / "pid").read_text(encoding="ascii")), signal.SIGKILL)
    until(lambda: not played.folder.is_played(), seconds=10)
    return status
