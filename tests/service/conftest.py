"""A service as an app in this process, and as a process of its own."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from dock.identity import Identity, Who
from starlette.types import ASGIApp

SOURCE = Path(__file__).parents[2] / "service"


@dataclass(frozen=True)
class Answer:
    """What came back over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Running:
    """A service that answers on a port of 127.0.0.1."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    def get(
        self, path: str, method: str = "GET", connection: http.client.HTTPConnection | None = None
    ) -> Answer:
        ours = connection or self.connect()
        try:
            ours.request(method, path)
            response = ours.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            if connection is None:
                ours.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def say(self, content: bytes) -> bytes:
        """Send bytes as they are and give all that comes until the server closes."""
        with self.socket() as ours:
            answer = b""
            try:
                ours.sendall(content)
                while received := ours.recv(65536):
                    answer += received
            except (ConnectionResetError, BrokenPipeError):
                # The server answered and left before it had read all of an oversize request.
                pass
            return answer

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


class Known(Identity):
    """An identity that needs no agent."""

    def __init__(self, **fields: str) -> None:
        super().__init__({})
        self.who = Who(hostname="h", **fields)

    async def read(self) -> Who:
        return self.who


Start = Callable[..., Running]
Ask = Callable[..., httpx.Response]


def environment(**settings: str) -> dict[str, str]:
    ours = ("PORT", "DRAIN_SECONDS", "KEEP_ALIVE_SECONDS", "QUOTES_URL")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("ECS_")
    }
    return {**inherited, "PYTHONPATH": str(SOURCE), **settings}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start services that end with the test module; their stderr must stay empty."""
    running: list[Running] = []

    def begin(module: str = "web", **settings: str) -> Running:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        output = tmp_path_factory.mktemp(module) / "log"
        with output.open("wb") as log, output.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environment(PORT=str(port), **settings),
                stdout=log,
                stderr=errors,
            )
        service = Running(process, port, output)
        running.append(service)
        deadline = time.monotonic() + 20
        while True:
            try:
                service.get("/health/live")
            except OSError:
                assert process.poll() is None, output.with_suffix(".err").read_text()
                assert time.monotonic() < deadline, "the service did not start"
                time.sleep(0.02)
            else:
                return service

    yield begin
    for service in running:
        service.process.kill()
        service.process.wait()
    for service in running:
        assert service.output.with_suffix(".err").read_text() == ""


def ask(app: ASGIApp, path: str, method: str = "GET") -> httpx.Response:
    """Ask an app in this process one question."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
            return await client.request(method, path)

    return asyncio.run(once())


@pytest.fixture
def asked() -> Ask:
    return ask
