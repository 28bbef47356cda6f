"""Runs the CDK CLI: the one place where a command starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PROJECT = Path(__file__).parent.parent

# Takes the words after `npx cdk`, streams what it says, gives its exit code.
Cdk = Callable[[Sequence[str]], int]


def is_installed(project: Path = PROJECT) -> bool:
    """Whether the locked CLI is there; without it npx would fetch some other release."""
    return (project / "node_modules" / ".bin" / "cdk").exists()


def run(arguments: Sequence[str]) -> int:
    """Run the project's own CLI on its own Node; its output is talk, so it goes to stderr."""
    # Node comes with the Python environment, whether or not that is activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(  # noqa: S603 - our own words, no shell
        ["npx", "cdk", *arguments],  # noqa: S607 - npx is found on the path made here
        cwd=PROJECT,
        # The Dockerfiles need BuildKit, which a Docker before 23 has but does not use by itself.
        env=os.environ | {"PATH": path, "DOCKER_BUILDKIT": "1"},
        stdout=sys.stderr,
        check=False,
    )
    # A signal, as a shell reports it.
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
