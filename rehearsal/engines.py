"""Docker and Podman, by their command lines: the same calls for both."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rehearsal.containers import Run
from templates import Value

NAMES = ("docker", "podman")


class EngineError(RuntimeError):
    """Says which call of the engine failed, what it answered, and what to do."""


class Engine:
    """One container engine; `name` is docker or podman, `command` its executable."""

    def __init__(self, command: str) -> None:
        """Take the name of an executable, or its path."""
        self.command = command
        self.name = "podman" if "podman" in Path(command).name else "docker"

    @classmethod
    def choose(cls, wanted: str | None = None) -> Engine:
        """Give the engine asked for, else the one that CDK_DOCKER names, else one that answers.

        Raises EngineError where none is usable.
        """
        asked = wanted or os.environ.get("CDK_DOCKER")
        troubles = []
        for name in (asked,) if asked else NAMES:
            engine = cls(name)
            trouble = engine.trouble()
            if trouble is None:
                return engine
            troubles.append(trouble)
        raise EngineError(f"expected a container engine, got none: {'; '.join(troubles)}")

    def trouble(self) -> str | None:
        """Say why this engine cannot be used; None where it can."""
        if shutil.which(self.command) is None:
            return f"{self.command} is not installed"
        try:
            done = self._call("info", "--format", "{{json .}}", check=False, timeout=30)
        except EngineError as error:
            return str(error)
        # Docker's client answers for itself and says on the side that no server does.
        if done.returncode or "ServerErrors" in done.stdout:
            said = done.stderr.strip().splitlines() or ["its server does not answer"]
            return f"{self.command} is not usable: {said[-1]}"
        return None

    def run(
        self, run: Run, *, labels: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> str:
        """Start a container in the background, with more options if need be; give its id."""
        arguments = [f"--label={key}={value}" for key, value in (labels or {}).items()]
        if self.name == "podman":
            arguments += _as_docker_does(run.arguments)
        done = self._call(
            "run", "--detach", *arguments, *options, *run.arguments, environment=run.environment
        )
        return done.stdout.strip().splitlines()[-1]

    def inspect(self, container: str) -> Mapping[str, Value]:
        """Give what the engine knows of a container; both engines name these things alike."""
        (found,) = json.loads(self._call("container", "inspect", container).stdout)
        described: Mapping[str, Value] = found
        return described

    def port(self, container: str, port: int) -> int:
        """Give the port of 127.0.0.1 on which a container's TCP port is published."""
        published = self.inspect(container)["NetworkSettings"]["Ports"].get(f"{port}/tcp")
        if not published:
            raise EngineError(f"{container}: expected port {port} to be published, got none")
        return int(published[0]["HostPort"])

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as the container's own user; never raise for its exit."""
        return self._call("exec", container, *command, check=False)

    def health(self, container: str) -> str:
        """Give the state of its health check: starting, healthy or unhealthy.

        Podman leaves the checking to systemd's timers, which are not everywhere: there each
        question is a check.
        """
        if self.name == "podman":
            self._call("healthcheck", "run", container, check=False)
        state = self.inspect(container)["State"]
        return str((state.get("Health") or state.get("Healthcheck") or {}).get("Status", "none"))

    def stop(self, container: str) -> None:
        """Send SIGTERM, and SIGKILL once the container's own stop timeout is over."""
        self._call("stop", container, timeout=300)

    def kill(self, container: str, signal: str = "KILL") -> None:
        """Send a signal."""
        self._call("kill", "--signal", signal, container)

    def wait(self, container: str, timeout: float = 120) -> int:
        """Wait until it has ended; give its exit code."""
        return int(self._call("wait", container, timeout=timeout).stdout.strip())

    def logs(self, container: str) -> str:
        """Give what it wrote, both streams."""
        done = self._call("logs", container)
        return done.stdout + done.stderr

    def remove(self, *containers: str) -> None:
        """Remove containers, running or not, with their nameless volumes."""
        # Podman would wait for each to stop of itself; Docker kills.
        at_once = ["--time=0"] if self.name == "podman" else []
        if containers:
            self._call("rm", "--force", "--volumes", *at_once, *containers)

    def clean(self, label: str) -> list[str]:
        """Remove every container with that label (`name` or `name=value`); give their ids."""
        listed = self._call("ps", "--all", "--quiet", "--filter", f"label={label}")
        found = listed.stdout.split()
        self.remove(*found)
        return found

    def has_image(self, tag: str) -> bool:
        """Say whether the image is there."""
        return self._call("image", "inspect", tag, check=False).returncode == 0

    def build(self, directory: Path, *, tags: Sequence[str], options: Sequence[str] = ()) -> None:
        """Build an image; its output goes to this process's standard error."""
        command = self.command if self.name == "podman" else self._with_buildkit()
        names = [f"--tag={tag}" for tag in tags]
        done = subprocess.run(  # noqa: S603 - an engine chosen by the user, and no shell
            [command, "build", *names, *options, str(directory)],
            stdout=2,
            env=os.environ | {"DOCKER_BUILDKIT": "1"},
            check=False,
        )
        if done.returncode:
            raise EngineError(f"{command} build {directory}: expected an image of {tags[0]}")

    def _with_buildkit(self) -> str:
        """Find a Docker client that can build with secrets.

        From version 23 on BuildKit is a plugin, which some packages leave out; an older client
        beside such a one has it inside.
        """
        folders = os.environ.get("PATH", "").split(os.pathsep)
        here = [self.command] if os.sep in self.command else []
        for candidate in here or [str(Path(folder) / self.command) for folder in folders]:
            if shutil.which(candidate) is None:
                continue
            if _answers(candidate, "buildx", "version"):
                return candidate
            version = re.search(r"version (\d+)", _answers(candidate, "--version"))
            if version and int(version[1]) < 23:
                return candidate
        raise EngineError(
            f"{self.command}: expected BuildKit, to build with; install Docker's buildx plugin, "
            "or build with --engine podman"
        )

    def _call(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(  # noqa: S603 - an engine chosen by the user, and no shell
                [self.command, *arguments],
                capture_output=True,
                text=True,
                timeout=timeout,
                # Podman's monitor writes a file named oom where it was started.
                cwd=tempfile.gettempdir(),
                env=os.environ | (environment or {}),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{self.command} {arguments[0]}: expected an answer within {timeout} s"
            ) from error
        if check and done.returncode:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise EngineError(f"{self.command} {arguments[0]}: {said}")
        return done


def _as_docker_does(arguments: Sequence[str]) -> list[str]:
    """Give the options that make Podman do with these arguments what Docker does."""
    more = []
    if "--read-only" in arguments:
        # Podman would leave /run, /tmp and /var/tmp writable.
        more.append("--read-only-tmpfs=false")
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        # One that is not named Podman raises to the kernel's maximum, which not every root may.
        # Elsewhere than on Linux it runs in a machine of its own, whose limits are not ours.
        named = any(argument.startswith(f"--ulimit={name}=") for argument in arguments)
        if sys.platform == "linux" and not named:
            hard = _hard_limit(number)
            more.append(f"--ulimit={name}={hard}:{hard}")
    return more


def _hard_limit(number: int) -> int:
    _, hard = resource.getrlimit(number)
    if number == resource.RLIMIT_NPROC:
        # Podman lowers its own to that, and can then give no more.
        # Source: github.com/containers/common, pkg/config, getDefaultProcessLimits, 2026-11-24.
        highest = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
        return highest if hard == resource.RLIM_INFINITY else min(hard, highest)
    return hard


def _answers(*command: str) -> str:
    """Give what a command prints, or nothing where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout if done.returncode == 0 else ""
