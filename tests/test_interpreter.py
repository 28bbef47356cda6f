"""A command run by another Python says so before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import interpreter
from tests.conftest import PROJECT


def test_only_the_projects_own_python_is_right(tmp_path: Path) -> None:
    own, link = tmp_path / ".venv", tmp_path / "link"
    own.mkdir()
    link.symlink_to(own)
    assert interpreter.trouble(str(own), own) == ""
    assert interpreter.trouble(str(link), own) == ""
    assert f"source {own}/bin/activate" in interpreter.trouble("/usr", own)
    # Whoever keeps an environment of their own elsewhere has said so.
    assert interpreter.trouble("/usr", tmp_path / "none") == ""


@pytest.mark.parametrize("package", ["labs", "ops", "rehearsal"])
def test_a_command_is_refused_before_it_loads_a_library(package: str, tmp_path: Path) -> None:
    for name in ("interpreter.py", "templates.py", package):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / ".venv").mkdir()
    # Without libraries, as of another Python.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c",
         f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); "
         f"runpy.run_module({package!r}, run_name='__main__')"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "not the project's own; source" in done.stderr
    assert "Traceback" not in done.stderr
