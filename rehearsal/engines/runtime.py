"""What the rehearsal asks of whatever runs its containers, and the words in which it is told."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, Protocol

from rehearsal.containers import Run

HEALTHY, UNHEALTHY, STARTING, UNCHECKED = "healthy", "unhealthy", "starting", "none"
# From the kernel's include/uapi/linux/in.h; Python's socket module does not name it.
_IP_FREEBIND = 15


class EngineError(RuntimeError):
    """Says which call failed, what was answered, and what to do; `said` is the answer alone."""

    def __init__(self, message: str, *, said: str = "") -> None:
        super().__init__(message)
        self.said = said or message


class EngineTimeoutError(EngineError):
    """Says which call was not answered within how many seconds."""

    def __init__(self, call: str, seconds: float) -> None:
        super().__init__(f"{call}: expected an answer within {seconds:g} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Network:
    """A network of containers that sees no other one, but reaches servers of this process.

    `host_address` is where its containers find such a server, `listen_address` where that server
    must listen: for Linux's engines the network's gateway, which is an address of this machine;
    for engines in a virtual machine a name of theirs, and the loopback.
    """

    name: str
    host_address: str
    listen_address: str
    subnet: str

    def listen(self, port: int = 0) -> socket.socket:
        """Give a TCP socket that its containers reach, listening; port 0 is any that is free."""
        server = socket.socket()
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "linux":
                # Podman makes the gateway's interface with the network's first container.
                server.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            server.bind((self.listen_address, port))
            server.listen()
        except OSError as error:
            server.close()
            raise EngineError(
                f"{self.name}: expected to listen on {self.listen_address}:{port}: {error.strerror}"
            ) from error
        return server


@dataclass(frozen=True)
class Image:
    """An image's id, and the digest by which a registry knows it, where one does."""

    id: str
    digest: str | None = None


@dataclass(frozen=True)
class State:
    """A container as it is; times in seconds since the epoch, by the engine's clock.

    `ports` has the port of 127.0.0.1 for each published one, as in {"8080/tcp": 32768}; it may be
    empty once the container has ended. `exit_code` is None while it runs, and where nobody knows.
    """

    running: bool
    exit_code: int | None
    out_of_memory: bool = False
    started: float | None = None
    finished: float | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    # Of the process's first, on the engine's machine; 0 when it has ended.
    pid: int = 0


@dataclass(frozen=True)
class Change:
    """What happened to a container, and when; a death comes with its exit code where known."""

    container: str
    kind: Literal["started", "died", "oom", "health"]
    time: float
    exit_code: int | None = None
    health: str = UNCHECKED


@dataclass(frozen=True)
class Line:
    """A line that a container wrote."""

    time: float
    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class Usage:
    """What a container uses: bytes of memory, percent of one CPU, processes."""

    memory_bytes: int
    cpu_percent: float
    processes: int


class Watch(Protocol):
    """Puts what happens to containers into `changes`, until it is closed."""

    @property
    def changes(self) -> SimpleQueue[Change]: ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """What runs containers: Docker and Podman (Engine), or this machine itself (Processes)."""

    @property
    def name(self) -> str: ...

    @property
    def not_enforced(self) -> tuple[str, ...]:
        """What of a container's arguments is without effect, in plain words."""

    @property
    def checks_health(self) -> bool:
        """Say whether health checks run by themselves; if not, each call of `health` is one."""

    def has_image(self, tag: str) -> bool: ...

    def build(
        self, directory: Path, *, tags: Sequence[str], options: Sequence[str] = ()
    ) -> None: ...

    def pull(self, image: str) -> None: ...

    def image(self, tag: str) -> Image: ...

    def create_network(self, name: str, labels: Mapping[str, str]) -> Network: ...

    def remove_network(self, name: str) -> None: ...

    def run(
        self, run: Run, *, labels: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> str: ...

    def start(self, container: str) -> None: ...

    def state(self, container: str) -> State: ...

    def health(self, container: str) -> str: ...

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]: ...

    def stop(self, container: str) -> None: ...

    def kill(self, container: str, signal: str = "KILL") -> None: ...

    def wait(self, container: str, timeout: float = 120) -> int: ...

    def remove(self, *containers: str) -> None: ...

    def clean(self, label: str) -> list[str]: ...

    def logs(self, container: str) -> str: ...

    def follow_logs(self, container: str, since: float = 0) -> Iterator[Line]: ...

    def usage(self, *containers: str) -> Mapping[str, Usage]: ...

    def watch(self, label: str) -> Watch: ...
