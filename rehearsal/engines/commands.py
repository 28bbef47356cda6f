"""Docker and Podman, by their command lines: the same calls for both."""

from __future__ import annotations

import json
import os
import re
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import overload

from rehearsal.containers import Run
from rehearsal.engines.processes import Processes
from rehearsal.engines.runtime import (
    HEALTHY,
    STARTING,
    UNCHECKED,
    UNHEALTHY,
    EngineError,
    EngineTimeoutError,
    Image,
    Line,
    Network,
    State,
    Usage,
)
from rehearsal.engines.watching import Events
from templates import Value

NAMES = ("docker", "podman")
PULL_SECONDS = 900
# So many of a log's lines are compared with what stands there when its container has ended.
LAST_LINES = 100
# What a line's time, of nanoseconds, is from what is kept of it, and more.
ROUNDED_SECONDS = 2e-6
# The agent's own limit of a start. Source: amazon-ecs-agent, agent/config/config_unix.go,
# defaultContainerStartTimeout, read 2026-11-24.
RUN_SECONDS = 180

# How the engines' two lists of what a container uses count bytes.
_UNITS = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ")


class Engine:
    """One container engine; `name` is docker or podman, `command` its executable.

    Containers of two networks do not see each other; both reach servers of this machine, each at
    its network's `host_address`.
    """

    not_enforced: tuple[str, ...] = ()

    def __init__(self, command: str) -> None:
        """Take the name of an executable, or its path."""
        self.command = command
        self.name = "podman" if "podman" in Path(command).name else "docker"
        # Podman leaves the checking to systemd's timers, which are not everywhere.
        self.checks_health = self.name == "docker"
        self._folders: dict[str, str] = {}

    @overload
    @classmethod
    def choose(cls, wanted: str | None = None) -> Engine: ...

    @overload
    @classmethod
    def choose(
        cls, wanted: str | None = None, *, processes: Processes, say: Callable[[str], None]
    ) -> Engine | Processes: ...

    @classmethod
    def choose(
        cls,
        wanted: str | None = None,
        *,
        processes: Processes | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Engine | Processes:
        """Give the engine asked for, else the one that CDK_DOCKER names, else one that answers.

        `processes` is given where it is asked for by its name, and where nobody asked for an
        engine and none answers, which is said. Raises EngineError where none is usable.
        """
        asked = wanted or os.environ.get("CDK_DOCKER")
        if processes is not None and asked == processes.name:
            return processes
        troubles = []
        for name in (asked,) if asked else NAMES:
            engine = cls(name)
            trouble = engine.trouble()
            if trouble is None:
                return engine
            troubles.append(trouble)
        if processes is not None and not asked:
            if say is not None:
                say(
                    f"No container engine: {'; '.join(troubles)}. Plain processes take the place "
                    f"of containers; not enforced: {'; '.join(processes.not_enforced)}."
                )
            return processes
        raise EngineError(f"expected a container engine, got none: {'; '.join(troubles)}")

    def trouble(self) -> str | None:
        """Say why this engine cannot be used; None where it can."""
        if shutil.which(self.command) is None:
            return f"{self.command} is not installed"
        try:
            # As telling as `info`, which in Podman asks for the version of every package, too.
            done = self._call("ps", "--quiet", check=False, timeout=30)
        except EngineError as error:
            return str(error)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["its server does not answer"]
            return f"{self.command} is not usable: {said[-1]}"
        return None

    def create_network(self, name: str, labels: Mapping[str, str]) -> Network:
        """Make a network that is apart from every other; its name begins with the one given."""
        # Two runs may play the same instance at once, and Docker would give both the same name.
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        # Docker keeps bridges apart by itself; Podman's old netavark, with the option, not at all
        # times (docs/rehearsal.md, Safety).
        apart = ["--opt=isolate=true"] if self.name == "podman" else []
        named = [f"--label={key}={value}" for key, value in labels.items()]
        try:
            self._call("network", "create", *apart, *named, unique)
        except EngineError as error:
            if not re.search(r"address pool|subnet", error.said):
                raise
            raise EngineError(
                f"{name}: expected a range of addresses for one more network, got none; make room "
                f"with: {self.command} network prune ({error.said})",
                said=error.said,
            ) from error
        (found,) = json.loads(self._call("network", "inspect", unique).stdout)
        ranges = found["subnets"] if self.name == "podman" else found["IPAM"]["Config"]
        lowered = [{key.lower(): value for key, value in one.items()} for one in ranges or ()]
        # An engine may be set up to give each network a range of IPv6 too.
        of_four = [one for one in lowered if ":" not in one["subnet"] and one.get("gateway")]
        if not of_four:
            self.remove_network(unique)
            raise EngineError(f"{name}: expected a range of IPv4 with a gateway, got {lowered!r}")
        subnet, gateway = of_four[0]["subnet"], of_four[0]["gateway"]
        if self._is_here(gateway):
            return Network(unique, gateway, gateway, subnet)
        # An engine in a virtual machine has a name for what holds it.
        host = {"docker": "host.docker.internal", "podman": "host.containers.internal"}[self.name]
        return Network(unique, host, "127.0.0.1", subnet)

    def _is_here(self, gateway: str) -> bool:
        """Say whether a network's gateway is an address of this machine."""
        if self.name == "podman":
            return self._shares_this_kernel  # the address comes with the first container
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((gateway, 0))
            except OSError:
                return False
        return True

    @cached_property
    def _shares_this_kernel(self) -> bool:
        """Say whether Podman's containers are processes of this machine, on its own networks."""
        if sys.platform != "linux":
            return False
        form = "{{.Host.ServiceIsRemote}} {{.Host.Security.Rootless}}"
        return self._call("info", "--format", form).stdout.split() == ["false", "false"]

    def remove_network(self, name: str) -> None:
        """Remove a network on which nothing runs any more; one that is not there is no error."""
        # Podman counts what has ended too, and removes it with the network when forced.
        force = ["--force"] if self.name == "podman" else []
        done = self._call("network", "rm", *force, name, check=False)
        if done.returncode and "not found" not in done.stderr.lower():
            raise EngineError(f"{self.command} network rm: {_said(done)}", said=_said(done))

    def run(
        self, run: Run, *, labels: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> str:
        """Start a container in the background, with more options if need be; give its id.

        One that cannot start stays behind as created: who gives it a name can remove it.
        """
        # The last one counts where a label comes twice: by these its containers are found again.
        named = [f"--label={key}={value}" for key, value in (labels or {}).items()]
        told = [*options, *run.options, *named]
        folder = None
        if self.name == "podman":
            told = _as_docker_does(told)
            folder = tempfile.mkdtemp(prefix="drydock-")
        try:
            done = self._call(
                "run", "--detach", *told, "--", run.image, *run.command,
                environment=run.environment, timeout=RUN_SECONDS, cwd=folder,
            )  # fmt: skip
        except EngineError:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        container = done.stdout.strip().rpartition("\n")[2]
        if folder:
            self._folders[container] = folder
        return container

    def start(self, container: str) -> None:
        """Start a container again that has ended."""
        self._call("start", container, timeout=RUN_SECONDS, cwd=self._folders.get(container))

    def inspect(self, container: str) -> Mapping[str, Value]:
        """Give what the engine knows of a container; both engines name these things alike."""
        (found,) = json.loads(self._call("container", "inspect", container).stdout)
        described: Mapping[str, Value] = found
        return described

    def state(self, container: str) -> State:
        """Give a container as it is; raise EngineError where there is none."""
        return self._state(self.inspect(container))

    def states(self, label: str) -> Mapping[str, State]:
        """Give every container with that label (`name` or `name=value`) by its id."""
        listed = self._call(
            "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}"
        ).stdout.split()
        if not listed:
            return {}
        # Those that are gone by now are merely missing in the answer.
        found = self._call("container", "inspect", *listed, check=False).stdout
        return {one["Id"]: self._state(one) for one in json.loads(found or "[]")}

    def _state(self, described: Mapping[str, Value]) -> State:
        state = described["State"]
        started, finished = (_seconds(state[key]) for key in ("StartedAt", "FinishedAt"))
        running = state["Status"] in ("running", "paused", "stopping")
        published = (described["NetworkSettings"].get("Ports") or {}).items()
        return State(
            running=running,
            exit_code=None if running or finished is None else int(state["ExitCode"]),
            out_of_memory=bool(state.get("OOMKilled")) or self._met_its_limit(described["Id"]),
            started=started,
            finished=None if running else finished,
            ports={port: int(bound[0]["HostPort"]) for port, bound in published if bound},
            pid=int(state["Pid"]),
        )

    def _met_its_limit(self, container: str) -> bool:
        """Say whether the kernel killed something of it, by the file that Podman's monitor leaves.

        The monitor writes it where it was started; Podman before 5 looks for it elsewhere.
        """
        folder = self._folders.get(container)
        return folder is not None and Path(folder, "oom").exists()

    def port(self, container: str, port: int) -> int:
        """Give the port of 127.0.0.1 on which a container's TCP port is published."""
        published = self.state(container).ports.get(f"{port}/tcp")
        if not published:
            raise EngineError(f"{container}: expected port {port} to be published, got none")
        return published

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as the container's own user; never raise for its exit."""
        return self._call("exec", container, *command, check=False)

    def health(self, container: str) -> str:
        """Give the state of its health check: starting, healthy or unhealthy; none without one.

        With Podman each question is a check: it runs none by itself here.
        """
        if self.name == "podman":
            self._call("healthcheck", "run", container, check=False)
        state = self.inspect(container)["State"]
        status = (state.get("Health") or state.get("Healthcheck") or {}).get("Status")
        return status if status in (STARTING, HEALTHY, UNHEALTHY) else UNCHECKED

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

    def follow_logs(self, container: str, since: float = 0) -> Iterator[Line]:
        """Give its lines from a time on, as they come, until it ends."""
        latest: deque[Line] = deque(maxlen=LAST_LINES)
        process = subprocess.Popen(  # noqa: S603 - an engine chosen by the user, and no shell
            [self.command, "logs", "--follow", *_logs_since(since), container],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            for line in _lines(process):
                latest.append(line)
                yield line
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        # Docker stops following where a container ends, be its last words written or not.
        # From a little before the oldest, whose time was rounded: else Podman may leave it out, and
        # give what it has of the same line by itself as another.
        oldest = latest[0].time - ROUNDED_SECONDS if latest else since
        rest = self._call("logs", *_logs_since(oldest), container, check=False)
        for stream, text in (("stdout", rest.stdout), ("stderr", rest.stderr)):
            for one in text.splitlines():
                found = _line(stream, one)
                if found is not None and found not in latest:
                    yield found

    def usage(self, *containers: str) -> Mapping[str, Usage]:
        """Give what running containers use just now; Docker takes two seconds for it."""
        if not containers:
            return {}
        form = "{{json .}}" if self.name == "docker" else "json"
        listed = self._call("stats", "--no-stream", "--no-trunc", "--format", form, *containers)
        if self.name == "docker":
            entries = [json.loads(line) for line in listed.stdout.splitlines()]
            keys = ("ID", "MemUsage", "CPUPerc", "PIDs")
        else:
            entries = json.loads(listed.stdout)
            keys = ("id", "mem_usage", "cpu_percent", "pids")
        found = {}
        for entry in entries:
            container, memory, cpu, pids = (entry[key] for key in keys)
            found[container] = Usage(_bytes(memory), float(cpu.rstrip("%")), int(pids))
        return found

    def remove(self, *containers: str) -> None:
        """Remove containers, running or not, with their nameless volumes; absent ones are fine."""
        # Podman would wait for each to stop of itself; Docker kills.
        at_once = ["--time=0"] if self.name == "podman" else []
        left = list(containers)
        # Podman 4 stumbles over a container that ends while it is removed; so does Docker over
        # one that somebody else is removing.
        for pause in (0.2, 0.5, 1.0):
            if not left:
                break
            done = self._call("rm", "--force", "--volumes", *at_once, *left, check=False)
            if done.returncode == 0:
                break
            left = [one for one in left if self._exists(one)]
            time.sleep(pause)
        else:
            if left:
                raise EngineError(f"{self.command} rm: {_said(done)}", said=_said(done))
        for container in containers:
            if folder := self._folders.pop(container, None):
                shutil.rmtree(folder, ignore_errors=True)

    def _exists(self, container: str) -> bool:
        return self._call("container", "inspect", container, check=False).returncode == 0

    def clean(self, label: str) -> list[str]:
        """Remove every container and network with that label (`name` or `name=value`).

        Gives the ids of the containers.
        """
        of_label = ("--filter", f"label={label}")
        found = self._call("ps", "--all", "--quiet", "--no-trunc", *of_label).stdout.split()
        self.remove(*found)
        for network in self._call("network", "ls", "--quiet", *of_label).stdout.split():
            self.remove_network(network)
        return found

    def watch(self, label: str) -> Events:
        """Watch every container with that label (`name=value`)."""
        # Podman polls its own events, four times a second; the kernel knows at once.
        pids = self.name == "podman" and self._shares_this_kernel
        return Events(self, label, watches_processes=pids)

    def pull(self, image: str) -> None:
        """Pull an image; raise EngineError with the engine's words where that fails."""
        self._call("pull", "--quiet", "--", image, timeout=PULL_SECONDS)

    def image(self, tag: str) -> Image:
        """Describe an image; raise EngineError where it is not there."""
        (found,) = json.loads(self._call("image", "inspect", "--", tag).stdout)
        known = [one.rpartition("@")[2] for one in found.get("RepoDigests") or []]
        return Image(f"sha256:{found['Id'].removeprefix('sha256:')}", known[0] if known else None)

    def has_image(self, tag: str) -> bool:
        """Say whether the image is there."""
        return self._call("image", "inspect", "--", tag, check=False).returncode == 0

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
        cwd: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(  # noqa: S603 - an engine chosen by the user, and no shell
                [self.command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                # Podman's monitor writes a file named oom where it was started.
                cwd=cwd or tempfile.gettempdir(),
                env=os.environ | (environment or {}),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineTimeoutError(f"{self.command} {arguments[0]}", timeout) from error
        except (OSError, ValueError) as error:
            # Of words that no process can be given, or of a machine that has no room for one.
            said = str(error)
            raise EngineError(f"{self.command} {arguments[0]}: {said}", said=said) from error
        if check and done.returncode:
            said = _said(done)
            raise EngineError(f"{self.command} {arguments[0]}: {said}", said=said)
        return done


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """Give the engine's own words for what went wrong."""
    lines = [
        line.removeprefix("docker: ").removeprefix("Error: ")
        for line in done.stderr.splitlines()
        # Podman logs beside what it answers, and Docker names its manual.
        if line.strip() and not line.startswith(("time=", "Run 'docker", "See 'docker"))
    ]
    return "; ".join(lines) or done.stderr.strip() or f"exit code {done.returncode}"


def _seconds(text: str) -> float | None:
    """Read a time as the engines write it; their year 1 stands for never."""
    return None if text.startswith("0001-") else datetime.fromisoformat(text).timestamp()


def _bytes(text: str) -> int:
    """Read the first number of what an engine shows of memory, like 12.3MiB / 128MiB."""
    match = re.match(r"([\d.]+)\s*([A-Za-z]+)", text)
    if match is None or match[2] not in _UNITS:
        raise EngineError(f"expected memory in {', '.join(_UNITS)}, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def _logs_since(when: float) -> tuple[str, ...]:
    return "--timestamps", f"--since={when:.9f}"


def _lines(process: subprocess.Popen[bytes]) -> Iterator[Line]:
    """Give what both pipes bring, line by line, until they are closed."""
    begun = {"stdout": b"", "stderr": b""}
    with selectors.DefaultSelector() as selector:
        for pipe, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, data=name)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 1 << 16)
                *whole, begun[key.data] = (begun[key.data] + chunk).split(b"\n")
                if not chunk:
                    selector.unregister(key.fileobj)
                    whole = [begun[key.data]]
                for one in whole:
                    line = _line(key.data, one.decode(errors="replace"))
                    if line is not None:
                        yield line


def _line(stream: str, text: str) -> Line | None:
    """Read a line with its time; None for what the engine's own client says."""
    match = _TIME.match(text)
    if match is None:
        return None
    when = datetime.fromisoformat(match[1]).timestamp()

    def left(later: re.Match[str]) -> str:
        return "" if datetime.fromisoformat(later[1]).timestamp() >= when else later[0]

    # A line that was written in parts has the time of each part inside. One that the program
    # wrote itself is earlier than the line's.
    words = _TIME.sub(left, text[match.end() :])
    return Line(when, "stdout" if stream == "stdout" else "stderr", words)


def _as_docker_does(options: Sequence[str]) -> list[str]:
    """Give options with which Podman does what Docker does with these."""
    more = []
    if "--read-only" in options:
        # Podman would leave /run, /tmp and /var/tmp writable.
        more.append("--read-only-tmpfs=false")
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        # One that is not named Podman raises to the kernel's maximum, which not every root may.
        # Elsewhere than on Linux it runs in a machine of its own, whose limits are not ours.
        named = any(option.startswith(f"--ulimit={name}=") for option in options)
        if sys.platform == "linux" and not named:
            hard = _hard_limit(number)
            more.append(f"--ulimit={name}={hard}:{hard}")
    # Whoever plays the agent asks for the checks: systemd's timers are not everywhere, and where
    # they are, each check would run twice.
    return more + [
        "--health-interval=disable" if option.startswith("--health-interval=") else option
        for option in options
    ]


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
