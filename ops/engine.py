"""Which container engine the CDK CLI will build with, and for which architectures it can."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from settings import Architecture

PATIENCE_SECONDS = 30
BINFMT = Path("/proc/sys/fs/binfmt_misc")
# An architecture as the settings say it, as images do, and as qemu does.
IMAGES: dict[Architecture, str] = {"x86_64": "amd64", "arm64": "arm64"}
QEMU: dict[Architecture, str] = {"x86_64": "x86_64", "arm64": "aarch64"}
NATIVE = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}
# Docker's name for a server's architecture, then Podman's, also behind the command `docker`.
ASKED = ("{{.Architecture}}", "{{.Host.Arch}}")


@dataclass(frozen=True)
class Engine:
    """The command that the CLI runs for images, and where this kernel lists its emulators."""

    command: str
    binfmt: Path = BINFMT

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Engine:
        """Give the engine that the CDK CLI will take: $CDK_DOCKER, or docker."""
        return cls(variables.get("CDK_DOCKER") or "docker")

    def faults(self, environment: str, architecture: Architecture | None) -> list[str]:
        """Say why this engine cannot build images of `architecture`; None asks for any."""
        served = self._architecture()
        if served is None:
            return [
                f"container engine: {self.command} does not answer; start it, or name another "
                "with CDK_DOCKER=podman"
            ]
        if self._lacks_buildkit():
            return [
                f"container engine: {self.command} has no BuildKit, which the Dockerfiles need; "
                "install its buildx plugin (Debian: apt install docker-buildx; Docker's own "
                "packages: docker-buildx-plugin), or use CDK_DOCKER=podman"
            ]
        if architecture is None or NATIVE.get(served) == IMAGES[architecture]:
            return []
        if self._emulates(architecture):
            return []
        other = "arm64" if architecture == "x86_64" else "x86_64"
        return [
            f"{environment}.cluster.architecture: {self.command} here is {served} and cannot build "
            f"for {architecture}; install emulation (Debian and Ubuntu: apt install "
            f"qemu-user-static; Docker: docker run --privileged --rm tonistiigi/binfmt --install "
            f"{IMAGES[architecture]}), or set it to {other}, with ami and instance_types to match"
        ]

    def _architecture(self) -> str | None:
        """Ask for the server's architecture; None where no server answers."""
        for template in ASKED:
            answer = self._ask("info", "--format", template)
            if answer and answer.strip():
                return answer.strip().splitlines()[-1]
        return None

    def _lacks_buildkit(self) -> bool:
        # From version 23 on BuildKit is a plugin of the client; before, it is inside, and Podman's
        # own builder needs none. Seen with 20.10.24 and 28.2.2.
        version = re.match(r"Docker version (\d+)", self._ask("--version") or "")
        plugin = version and int(version[1]) >= 23
        return bool(plugin) and self._ask("buildx", "version") is None

    def _emulates(self, architecture: Architecture) -> bool:
        # BuildKit reports what the emulators in its own kernel let it run, which on macOS is
        # the virtual machine's. Source: https://docs.docker.com/build/building/multi-platform/
        builder = self._ask("buildx", "inspect", "--bootstrap")
        if builder and f"linux/{IMAGES[architecture]}" in _platforms(builder):
            return True
        name = f"qemu-{QEMU[architecture]}"
        if self.binfmt.is_dir():
            return _works_in_containers(self.binfmt / name)
        # No such folder: not Linux, so Podman has a virtual machine, whose kernel counts.
        entry = self._ask("machine", "ssh", "cat", f"{BINFMT}/{name}")
        return entry is not None and _is_fixed(entry)

    def _ask(self, *arguments: str) -> str | None:
        return _output([self.command, *arguments])


def _output(command: Sequence[str]) -> str | None:
    """Run a question to the engine; None where it fails, hangs or does not exist."""
    try:
        done = subprocess.run(  # noqa: S603 - the engine that the CLI will run, no shell
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _platforms(builder: str) -> list[str]:
    lines = [line for line in builder.splitlines() if line.strip().startswith("Platforms:")]
    return [name.strip().rstrip("*") for line in lines for name in line.split(":", 1)[1].split(",")]


def _works_in_containers(entry: Path) -> bool:
    try:
        return _is_fixed(entry.read_text(encoding="utf-8"))
    except OSError:
        return False


def _is_fixed(entry: str) -> bool:
    """Whether an emulator is on and loaded beforehand: a container cannot see it on the host.

    Source: https://docs.kernel.org/admin-guide/binfmt-misc.html, flag F
    """
    lines = entry.splitlines()
    flags = "".join(line.removeprefix("flags:") for line in lines if line.startswith("flags:"))
    return "enabled" in lines and "F" in flags
