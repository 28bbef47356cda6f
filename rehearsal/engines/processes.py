"""Plain processes of this machine in place of containers, for a machine without an engine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shlex
import shutil
import signal as signals
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from rehearsal.containers import Run
from rehearsal.engines import dockerfile
from rehearsal.engines.dockerfile import Stage
from rehearsal.engines.runtime import (
    HEALTHY,
    STARTING,
    UNCHECKED,
    UNHEALTHY,
    Change,
    EngineError,
    Image,
    Line,
    Network,
    State,
    Usage,
)
from scheduler.agent_settings import STOP_TIMEOUT_SECONDS

LOOPBACK = "127.0.0.1"
# How often a log is looked at that somebody follows.
FOLLOW_SECONDS = 0.1
# Writes down who it is before it becomes the command, so that there is no moment in which a
# killed rehearsal leaves a process that nobody knows; where it cannot, as its folder was removed
# meanwhile, it ends. Limits are set here and not between fork and exec by Python, which may lock
# up in a program with threads.
_LAUNCH = """
{ cut -d ' ' -f 22 "/proc/$$/stat" 2>/dev/null || ps -o lstart= -p $$; } >"$1.new"
echo "$$" >>"$1.new" && mv "$1.new" "$1" || exit 125
[ -z "$2" ] || ulimit -S -n "$2"
[ -z "$3" ] || ulimit -H -n "$3"
shift 3
exec "$@"
"""


@dataclass(frozen=True)
class _Check:
    """A health check as the engine's options have it."""

    command: str
    timeout: float
    retries: int
    start_period: float


@dataclass(frozen=True)
class _Plan:
    """What of a container's arguments a process can be given."""

    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    stop_signal: str
    stop_timeout: float
    open_files: tuple[str, str]
    check: _Check


@dataclass
class _Process:
    """A process that this program started, and how it fares."""

    plan: _Plan
    labels: Mapping[str, str]
    popen: subprocess.Popen[bytes] | None = None
    started: float = 0
    finished: float | None = None
    exit_code: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    health: str = UNCHECKED
    failures: int = 0
    # How long its logs were when it was last started.
    written: Mapping[str, int] = field(default_factory=dict)


class Watched:
    """What happens to the processes of a label, until it is closed."""

    def __init__(self, label: str, watches: list[Watched]) -> None:
        self.changes: SimpleQueue[Change] = SimpleQueue()
        self.label = label
        self._watches = watches
        watches.append(self)

    def close(self) -> None:
        """Stop watching."""
        with contextlib.suppress(ValueError):
            self._watches.remove(self)


class Processes:
    """Runs a container's command as a process; its "image" is the folder that it is built from.

    The folder given keeps for each process its labels, who it is and what it wrote, so that a
    later run finds and removes what an earlier one left.
    """

    name = "processes"
    checks_health = False
    not_enforced = (
        "memory",
        "CPU shares and quotas",
        "the number of processes",
        "the user: each runs as yours",
        "the read-only root and its writable mounts: each sees this machine's files",
        "capabilities and security options",
        "network isolation: each listens where it likes, and sees every other",
        "ulimits other than nofile",
        "the init process",
        "the image's files and Python: each runs from its source, with this Python",
        "ports: a variable with the container port's number gets a free one of this machine",
        "the time of a log line: it is when the line was read",
    )

    def __init__(self, folder: Path) -> None:
        """Take the folder for what must be known of the processes later."""
        self._folder = folder
        self._python = folder / "bin"
        self._images: dict[str, tuple[Path, Stage]] = {}
        self._processes: dict[str, _Process] = {}
        self._lock = threading.Lock()
        self._watches: list[Watched] = []

    def has_image(self, tag: str) -> bool:
        """Say whether its source is known."""
        return tag in self._images

    def build(self, directory: Path, *, tags: Sequence[str], options: Sequence[str] = ()) -> None:
        """Read what the image would run from its Dockerfile; nothing is built."""
        told = dict(option.removeprefix("--").partition("=")[::2] for option in options)
        file = Path(told.get("file") or directory / "Dockerfile")
        stage = dockerfile.read(file, told.get("target"))
        self._offer_python()
        self._images |= dict.fromkeys(tags, (directory, stage))

    def pull(self, image: str) -> None:
        """Refuse: there is nothing to pull with."""
        said = f"{image}: expected an image that is built here; without an engine none is pulled"
        raise EngineError(said, said=said)

    def image(self, tag: str) -> Image:
        """Give a stand-in for the image's id, made of its tag."""
        self._source(tag)
        return Image(f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}")

    def _source(self, tag: str) -> tuple[Path, Stage]:
        if tag not in self._images:
            said = f"{tag}: expected an image that is built here, one of {', '.join(self._images)}"
            raise EngineError(said, said=said)
        return self._images[tag]

    def create_network(self, name: str, labels: Mapping[str, str]) -> Network:  # noqa: ARG002 - there is nothing to label
        """Give the loopback, which all share."""
        return Network(name, LOOPBACK, LOOPBACK, "127.0.0.0/8")

    def remove_network(self, name: str) -> None:
        """Do nothing: there is none."""

    def run(
        self, run: Run, *, labels: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> str:
        """Start a process; give an id for it."""
        told = [_split(option) for option in (*options, *run.options)]
        directory, stage = self._source(run.image)
        named = [value for name, value in told if name == "label"]
        known = dict(one.partition("=")[::2] for one in named) | dict(labels or {})
        container = uuid.uuid4().hex + uuid.uuid4().hex
        folder = self._folder / container
        with self._lock:
            taken = {port for one in self._processes.values() for port in one.plan.ports.values()}
            plan = _plan(told, run, stage, directory, self._python, taken)
            if shutil.which(plan.command[0], path=plan.environment["PATH"]) is None:
                # Docker's words.
                said = f'exec: "{plan.command[0]}": executable file not found in $PATH'
                raise EngineError(f"{run.image}: {said}", said=said)
            process = _Process(plan, known)
            try:
                folder.mkdir(parents=True, mode=0o700)
                (folder / "labels.json").write_text(json.dumps(known), encoding="utf-8")
                self._launch(container, process)
            except (EngineError, OSError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise EngineError(str(error), said=str(error)) from error
            self._processes[container] = process
        return container

    def start(self, container: str) -> None:
        """Start a process again that has ended."""
        with self._lock:
            process = self._ours(container)
            if process.finished is not None:
                self._launch(container, process)

    def _launch(self, container: str, process: _Process) -> None:
        """Start a process; where that fails it is as it was. The lock is held."""
        plan, folder = process.plan, self._folder / container
        launch = ["/bin/sh", "-c", _LAUNCH, "sh", str(folder / "process"), *plan.open_files]
        began = time.time()
        try:
            with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err:
                written = {"stdout": out.tell(), "stderr": err.tell()}
                popen = subprocess.Popen(  # noqa: S603 - the task's own command
                    [*launch, *plan.command],
                    cwd=plan.directory,
                    env=plan.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            # A ValueError is of a variable or a word that no process can be given.
            said = f"{plan.command[0]}: expected a process: {error}"
            raise EngineError(said, said=said) from error
        process.popen, process.started, process.written = popen, began, written
        process.ended = threading.Event()
        process.finished = process.exit_code = None
        process.failures = 0
        process.health = STARTING if plan.check.command else UNCHECKED
        self._tell(process, Change(container, "started", began))
        waiter = threading.Thread(
            target=self._await_end, args=(container, process, popen), name="process", daemon=True
        )
        waiter.start()

    def _await_end(self, container: str, process: _Process, popen: subprocess.Popen[bytes]) -> None:
        code = popen.wait()
        # A container's other processes end with its first.
        _kill_group(popen.pid)
        with self._lock:
            # As an engine counts them: 128 and the signal.
            process.exit_code = code if code >= 0 else 128 - code
            process.finished = time.time()
            self._tell(process, Change(container, "died", process.finished, process.exit_code))
            process.ended.set()

    def _tell(self, process: _Process, change: Change) -> None:
        for watch in list(self._watches):
            if _matches(process.labels, watch.label):
                watch.changes.put(change)

    def _ours(self, container: str) -> _Process:
        if container not in self._processes:
            raise EngineError(f"{container}: expected a process of this rehearsal, got none")
        return self._processes[container]

    def state(self, container: str) -> State:
        """Give a process as it is; nobody knows the exit code of one that an earlier run left."""
        process = self._processes.get(container)
        if process is not None:
            alive = process.finished is None
            return State(
                running=alive,
                exit_code=process.exit_code,
                started=process.started,
                finished=process.finished,
                ports=process.plan.ports if alive else {},
                pid=process.popen.pid if process.popen and alive else 0,
            )
        if not (self._folder / container).is_dir():
            raise EngineError(f"{container}: expected a process of this folder, got none")
        pid = _living(self._folder / container / "process")
        return State(running=pid is not None, exit_code=None, pid=pid or 0)

    def health(self, container: str) -> str:
        """Run its health check once; give what follows from it, or none where it has none."""
        process = self._ours(container)
        check = process.plan.check
        if not check.command or process.finished is not None:
            return process.health
        try:
            done = self._shell(process.plan, "sh", "-c", check.command, timeout=check.timeout)
            passed = done.returncode == 0
        except subprocess.TimeoutExpired:
            passed = False
        if passed:
            process.health, process.failures = HEALTHY, 0
        elif (
            process.health != STARTING or time.time() - process.started >= check.start_period
        ):  # failures count once it was healthy, and from the end of the start period on
            process.failures += 1
            if process.failures >= check.retries:
                process.health = UNHEALTHY
        return process.health

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the process runs, with its variables; never raise for its exit."""
        return self._shell(self._ours(container).plan, *command, timeout=120)

    def _shell(
        self, plan: _Plan, *command: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - the task's own command
            command,
            executable=shutil.which(command[0], path=plan.environment["PATH"]),
            cwd=plan.directory,
            env=plan.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def stop(self, container: str) -> None:
        """Send its stop signal, and SIGKILL once its stop timeout is over."""
        process = self._ours(container)
        self.kill(container, process.plan.stop_signal)
        if not process.ended.wait(process.plan.stop_timeout):
            self.kill(container)
            process.ended.wait()

    def kill(self, container: str, signal: str = "KILL") -> None:
        """Send a signal: to the first process alone, as an engine does; KILL to all of them."""
        number = signals.Signals[f"SIG{signal.removeprefix('SIG')}"]
        with self._lock:
            _send(self._ours(container), number)

    def wait(self, container: str, timeout: float = 120) -> int:
        """Wait until it has ended; give its exit code."""
        process = self._ours(container)
        if not process.ended.wait(timeout) or process.exit_code is None:
            raise EngineError(f"{container}: expected its end within {timeout:g} s")
        return process.exit_code

    def remove(self, *containers: str) -> None:
        """Kill and forget processes, of this run or an earlier one; absent ones are fine."""
        for container in containers:
            folder = self._folder / container
            with self._lock:
                # From now on nobody can start it again.
                process = self._processes.pop(container, None)
                if process is not None:
                    _send(process, signals.SIGKILL)
            if process is not None:
                process.ended.wait()
            elif (pid := _living(folder / "process")) is not None:
                _kill_group(pid)
            shutil.rmtree(folder, ignore_errors=True)

    def clean(self, label: str) -> list[str]:
        """Remove every process with that label (`name` or `name=value`); give their ids."""
        found = []
        for file in self._folder.glob("*/labels.json"):
            with contextlib.suppress(OSError, ValueError):
                if _matches(json.loads(file.read_text(encoding="utf-8")), label):
                    found.append(file.parent.name)
        self.remove(*found)
        return found

    def logs(self, container: str) -> str:
        """Give what it wrote, both streams."""
        folder = self._folder / container
        return "".join(
            (folder / stream).read_text(encoding="utf-8", errors="replace")
            for stream in ("stdout", "stderr")
        )

    def follow_logs(self, container: str, since: float = 0) -> Iterator[Line]:
        """Give its lines as they come, until it ends: all, or from its last start on, or from now.

        Which of them depends on `since`, as nobody wrote down when a line was written.
        """
        process = self._ours(container)
        ended = process.ended
        streams: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
        with contextlib.ExitStack() as stack:
            files = {}
            for stream in streams:
                try:
                    file = stack.enter_context((self._folder / container / stream).open("rb"))
                except OSError as error:
                    raise EngineError(f"{container}: expected its log: {error}") from error
                if since > process.started:
                    file.seek(0, os.SEEK_END)
                elif since:
                    file.seek(process.written[stream])
                files[stream] = file
            begun = dict.fromkeys(streams, b"")
            last = False
            while True:
                for stream, file in files.items():
                    *whole, begun[stream] = (begun[stream] + file.read()).split(b"\n")
                    if last and begun[stream]:
                        whole.append(begun[stream])
                    for line in whole:
                        yield Line(time.time(), stream, line.decode(errors="replace"))
                if last:
                    return
                # Once more after its end, for what came in between.
                last = ended.wait(FOLLOW_SECONDS)

    def usage(self, *containers: str) -> Mapping[str, Usage]:
        """Give what running processes use, all of a group together; CPU is since its start."""
        done = subprocess.run(
            ["ps", "-axo", "pgid=,rss=,pcpu="],  # noqa: S607 - wherever the system has it
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = {}
        for container in containers:
            pid = self.state(container).pid
            groups = [line.split() for line in done.stdout.splitlines()]
            own = [(int(rss), float(cpu)) for group, rss, cpu in groups if int(group) == pid]
            if own:
                memory, cpu = sum(rss for rss, _ in own), sum(cpu for _, cpu in own)
                found[container] = Usage(memory * 1024, cpu, len(own))
        return found

    def watch(self, label: str) -> Watched:
        """Watch every process with that label (`name` or `name=value`)."""
        return Watched(label, self._watches)

    def _offer_python(self) -> None:
        """Make a folder in which python is this Python, with what is installed for it."""
        self._python.mkdir(parents=True, exist_ok=True)
        for name in ("python", "python3"):
            # No link: Python finds its environment by the place that it was started from.
            offered = self._python / name
            if not offered.exists():
                python = shlex.quote(sys.executable)
                offered.write_text(f'#!/bin/sh\nexec {python} "$@"\n', encoding="utf-8")
                offered.chmod(0o755)


def _plan(
    options: Sequence[tuple[str, str]],
    run: Run,
    stage: Stage,
    directory: Path,
    python: Path,
    taken: Collection[int],
) -> _Plan:
    """Take from an engine's options what a process can be given; no port of those taken."""
    told = dict(options)  # where one comes twice, the last decides, as in the engines
    if "entrypoint" in told:
        # The image's command belongs to the entry point that this one replaces.
        command = (told["entrypoint"], *run.command)
    else:
        command = stage.entry_point + (run.command or stage.command)
    if not command:
        raise EngineError(f"{run.image}: expected a command, in its Dockerfile or the task")
    ports = _ports(options, taken)
    environment = _environment(options, run, stage, ports)
    environment["PATH"] = f"{python}:{environment['PATH']}"
    environment["PYTHONPATH"] = f"{directory}:{environment.get('PYTHONPATH', '')}".rstrip(":")
    limits = [value for name, value in options if name == "ulimit" and value.startswith("nofile=")]
    return _Plan(
        command=command,
        directory=directory,
        environment=environment,
        ports=ports,
        stop_signal=stage.stop_signal,
        stop_timeout=float(told.get("stop-timeout", STOP_TIMEOUT_SECONDS)),
        open_files=_open_files(limits[-1].removeprefix("nofile=")) if limits else ("", ""),
        check=_Check(
            command=told.get("health-cmd", ""),
            timeout=_number(told.get("health-timeout", "30s")),
            retries=int(told.get("health-retries", 3)),
            start_period=_number(told.get("health-start-period", "0s")),
        ),
    )


def _split(option: str) -> tuple[str, str]:
    """Give an option's name and its value."""
    name, _, value = option.removeprefix("--").partition("=")
    return name, value


def _number(text: str) -> float:
    return float(text.removesuffix("s"))


def _ports(options: Sequence[tuple[str, str]], taken: Collection[int]) -> dict[str, int]:
    """Give for each published port the one of this machine, as in {"8080/tcp": 41234}."""
    found = {}
    for name, value in options:
        if name == "publish":
            _, host, port = value.split(":")
            found[port] = int(host or 0) or _free_port(taken)
    return found


def _environment(
    options: Sequence[tuple[str, str]], run: Run, stage: Stage, ports: Mapping[str, int]
) -> dict[str, str]:
    """Give the variables; those that tell a container's port tell the process its own."""
    found = dict(stage.environment)
    for name, value in options:
        if name == "env":
            variable, equals, text = value.partition("=")
            found[variable] = text if equals else run.environment.get(variable, "")
    for port, here in ports.items():
        inside = port.partition("/")[0]
        named = [variable for variable, text in found.items() if text == inside]
        if not named:
            raise EngineError(
                f"{run.image}: expected a variable with the value {inside}, to give a process "
                "another port by, got none"
            )
        found |= dict.fromkeys(named, str(here))
    return found


def _open_files(limit: str) -> tuple[str, str]:
    """Give the limits of open files, soft and hard, that this user may set."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, _, hard = limit.partition(":")
    told = [int(soft), int(hard or soft)]
    if highest != resource.RLIM_INFINITY:
        told = [min(number, highest) for number in told]
    return str(told[0]), str(told[1])


def _free_port(taken: Collection[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        # One that was given out may not be listened on yet.
        if port not in taken:
            return port


def _matches(labels: Mapping[str, str], label: str) -> bool:
    name, equals, value = label.partition("=")
    return name in labels and (not equals or labels[name] == value)


def _living(file: Path) -> int | None:
    """Give the process that a file names, if it lives and is the one that wrote the file."""
    try:
        born, pid = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return int(pid) if born.strip() and _born(int(pid)) == born.strip() else None


def _born(pid: int) -> str | None:
    """Give when a process began, in the words of this system; None where there is none.

    On Linux in ticks since the boot, the 22nd field of proc(5); its name, the second, may hold
    anything in its parentheses.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        if sys.platform == "linux":
            return None
    done = subprocess.run(  # noqa: S603
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607 - wherever the system has it
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or None


def _kill_group(pid: int) -> None:
    """Kill a process with everything that it started and that did not leave its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signals.SIGKILL)


def _send(process: _Process, number: signals.Signals) -> None:
    """Signal a process that has not ended."""
    popen = process.popen
    if popen is None or popen.poll() is not None:
        return
    if number is signals.SIGKILL:
        _kill_group(popen.pid)
    else:
        popen.send_signal(number)
