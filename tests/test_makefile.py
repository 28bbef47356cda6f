"""make local plays the templates of the settings as they are, also when a file of them is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import PROJECT

MANIFEST = "cdk.out/manifest.json"


def made(folder: Path) -> bool:
    """Make the manifest; give whether it was written anew."""
    done = subprocess.run(
        ["make", MANIFEST], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return "npx cdk synth" in done.stdout


def test_settings_that_come_and_go_are_synthesized_anew(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    for name in ("app.py", "settings.py", "cdk.json", "package-lock.json", "requirements.txt"):
        (tmp_path / name).touch()
    for name in ("stacks", "service", "cdk.out", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    npx = tmp_path / ".venv" / "bin" / "npx"
    npx.write_text(f"#!/bin/sh\ntouch {MANIFEST}\n", encoding="utf-8")
    npx.chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    local = tmp_path / "cdk.local.json"

    assert made(tmp_path)
    assert not made(tmp_path)
    local.touch()
    assert made(tmp_path)
    assert not made(tmp_path)
    local.unlink()
    assert made(tmp_path)
    assert not made(tmp_path)
    later = (tmp_path / MANIFEST).stat().st_mtime + 1
    os.utime(tmp_path / "cdk.json", (later, later))
    assert made(tmp_path)
