"""A rehearsal is found by its folder, and one that was killed is known to be gone."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rehearsal.folder import Folder

PROJECT = Path(__file__).parent.parent.parent
CLAIMING = (
    "import pathlib, sys, time\n"
    "from rehearsal.folder import Folder\n"
    "folder = Folder('sandbox', pathlib.Path(sys.argv[1]))\n"
    "with folder.claimed(): print('claimed', flush=True); time.sleep(60)"
)


def claiming(parent: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMING, str(parent)],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    return process


def test_who_plays_an_environment_keeps_others_from_it(tmp_path: Path) -> None:
    process = claiming(tmp_path)
    folder = Folder("sandbox", tmp_path)
    try:
        assert folder.is_played()
        with pytest.raises(BlockingIOError), folder.claimed():
            pass
        assert not Folder("production", tmp_path).is_played()
    finally:
        process.kill()
        process.communicate()


def test_one_that_was_killed_is_no_longer_played(tmp_path: Path) -> None:
    process = claiming(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = Folder("sandbox", tmp_path)
    assert not folder.is_played()
    with folder.claimed():
        assert folder.is_played()


def test_ending_asks_the_process_and_waits_for_it(tmp_path: Path) -> None:
    process = claiming(tmp_path)
    assert Folder("sandbox", tmp_path).end(seconds=10)
    process.communicate()
    assert process.returncode == -signal.SIGTERM


def test_the_token_is_for_its_owner_only_and_new_each_time(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "two"):
        folder = Folder("sandbox", tmp_path / name)
        with folder.claimed():
            mode = (folder.path / "token").stat().st_mode
            assert stat.S_IMODE(mode) == 0o600
            found.add(folder.token())
    assert len(found) == 2
    assert all(len(token) >= 32 for token in found)


def test_two_folders_never_share_an_owner(tmp_path: Path) -> None:
    owners = {
        Folder(environment, tmp_path / parent).owner
        for environment in ("sandbox", "production")
        for parent in ("one", "two")
    }
    assert len(owners) == 4


def test_the_progress_is_told_from_where_one_left_off(tmp_path: Path) -> None:
    folder = Folder("sandbox", tmp_path)
    with folder.claimed():
        before = time.time()
        for text in ("first", "second", "third"):
            folder.say(text)
    assert [line.text for line in folder.progress(skip=1)] == ["second", "third"]
    assert all(line.at >= before - 1 for line in folder.progress())


def test_a_new_claim_forgets_what_was_said_before(tmp_path: Path) -> None:
    process = claiming(tmp_path)
    folder = Folder("sandbox", tmp_path)
    folder.say("old")
    folder.write_status(phase="steady")
    process.kill()
    process.communicate()
    with folder.claimed():
        assert list(folder.progress()) == []
        assert folder.status() == {}
