"""Targets for tests of the balancer: small servers in this process that do as they are told."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field

import pytest

from rehearsal.balancer import BalancerError, Target
from rehearsal.haproxy import executable

# Of the loop, from accepting a connection to answering on it: its transport, its protocol, its
# coroutine.
ACCEPTING_ROUNDS = 3


def _trouble() -> str:
    try:
        executable()
    except BalancerError as error:
        return str(error)
    return ""


needs_haproxy = pytest.mark.skipif(
    bool(_trouble()) and "CI" not in os.environ, reason=_trouble() or "HAProxy is there"
)


@dataclass
class Asked:
    """One request as it reached a target."""

    line: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Server:
    """One target. `health` is what its health check gets: a code, or words of `_check`."""

    name: str
    port: int = 0
    health: int | str = 200
    connections: int = 0
    asked: list[Asked] = field(default_factory=list)
    checks: list[Asked] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    # What /stream and /held wait for.
    go_on: threading.Event = field(default_factory=threading.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _listening: asyncio.Server | None = None

    def target(self) -> Target:
        return Target(self.name, "127.0.0.1", self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self._writers.add(writer)
        counted = False
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                line, *rest = head.strip().split("\r\n")
                headers = [
                    (key, value.strip()) for key, _, value in (x.partition(":") for x in rest)
                ]
                asked = Asked(line, headers)
                checking = asked.header("user-agent") == ["ELB-HealthChecker/2.0"]
                (self.checks if checking else self.asked).append(asked)
                if not (counted or checking):
                    self.connections, counted = self.connections + 1, True
                if not await self._answer(asked, reader, writer):
                    return
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request by its path; say whether the connection goes on."""
        path = asked.line.split()[1]
        _, kind, *rest = path.partition("?")[0].split("/")
        if kind == "health":
            return await self._check(writer)
        if kind == "slow":
            await asyncio.sleep(float(rest[0]))
        if kind == "held":
            await self._told_to_go_on()
        if kind == "die":
            return False
        if kind == "upgrade":
            await self._echo(reader, writer)
            return False
        if kind == "stream":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await self._told_to_go_on()
            writer.write(b"4\r\nlast\r\n0\r\n\r\n")
            return True
        length = int((asked.header("content-length") or ["0"])[0])
        while length and len(self.received) < length:
            self.received += await reader.read(65536)
        code = int(rest[0]) if kind == "status" else 200
        body = json.dumps({"hostname": self.name}).encode()
        writer.write(f"HTTP/1.1 {code} OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return True

    async def _check(self, writer: asyncio.StreamWriter) -> bool:
        if self.health == "hangs":
            await asyncio.sleep(30)
        elif self.health == "nonsense":
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        elif self.health != "closes":
            writer.write(f"HTTP/1.1 {self.health} OK\r\nContent-Length: 0\r\n\r\n".encode())
        return False

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The answer to the key of RFC 6455, 1.2.
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        while received := await reader.read(65536):
            writer.write(received)

    async def _told_to_go_on(self) -> None:
        while not self.go_on.is_set():
            await asyncio.sleep(0.01)

    async def listen(self) -> None:
        """Open a port: the one it had, if it had one."""
        self._listening = await asyncio.start_server(
            self.serve, "127.0.0.1", self.port, backlog=512
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def end(self) -> None:
        """Close the port and every connection, as a killed process does."""
        if self._listening is not None:
            # asyncio leaves a connection open that it has accepted just before (Python 3.11), and
            # one whose answering has not begun is not known here: they come first.
            for one in self._listening.sockets:
                asyncio.get_running_loop().remove_reader(one)
            for _ in range(ACCEPTING_ROUNDS):
                await asyncio.sleep(0)
            self._listening.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)


class Servers:
    """Targets on one event loop in a thread of their own, until the end of a `with`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._servers: list[Server] = []

    def __enter__(self) -> Servers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.go_on.set()
            self.kill(server)
        self._call(self._cancelled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, name: str, *, health: int | str = 200) -> Server:
        """Start one."""
        server = Server(name, health=health)
        self._servers.append(server)
        self._call(server.listen())
        return server

    def kill(self, server: Server) -> None:
        """End one with all that it is doing."""
        self._call(server.end())

    def restart(self, server: Server) -> None:
        """Start one again, where it was."""
        self._call(server.listen())

    async def _cancelled(self) -> None:
        others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _call(self, what: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)
