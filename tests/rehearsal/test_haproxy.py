"""HAProxy is found, and what it says when it does not start is passed on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rehearsal import haproxy
from rehearsal.haproxy import Process
from rehearsal.properties import BalancerError
from tests.rehearsal.targets import needs_haproxy


def without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(haproxy, "files", absent)


def test_the_one_on_path_does_where_there_is_no_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_the_wheel(monkeypatch)
    found = tmp_path / "haproxy"
    found.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert haproxy.executable() == str(found)


def test_where_there_is_none_it_is_asked_for_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BalancerError, match=r"^haproxy: expected HAProxy 2\.8 or newer, got none; "
    ):
        haproxy.executable()


@needs_haproxy
def test_what_it_says_when_it_does_not_start_is_passed_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(BalancerError, match=r"on one\.cfg, got: \[ALERT\].*'moon'"):
            Process("\nmoon\n", folder=tmp_path, name="one", log=writing)
    finally:
        os.close(reading)
        os.close(writing)
