"""Asks one address so many times a second, whether or not it answers, from a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from bench.load import percentile
from bench.report import BenchError

# After so long a request counts as failed.
TIMEOUT_SECONDS = 2.0
# How long after its start a paced load begins, so that who started it can do something then.
SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Paced:
    """What came of it: requests, how many were no 200, how many 200s said degraded, and times.

    `outage_s` is from the first failure to the last.
    """

    requests: int
    failed: int
    degraded: int
    p50_ms: float
    p99_ms: float
    outage_s: float


def pace(
    address: str,
    path: str,
    *,
    rate: int,
    seconds: float,
    core: int | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Paced:
    """Ask `rate` times a second for so long; `meanwhile` runs here once the load is under way."""
    pinned = ["taskset", "--cpu-list", str(core)] if core is not None else []
    command = [*pinned, sys.executable, "-m", "bench.pace", address, path, str(rate), str(seconds)]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if meanwhile:
            time.sleep(2 * SETTLE_SECONDS)
            meanwhile()
        out, error = asking.communicate(timeout=seconds + 60)
    finally:
        asking.kill()
        asking.wait()
    if asking.returncode:
        raise BenchError(f"bench.pace ended {asking.returncode}: {error.strip()[-500:]}")
    return Paced(**json.loads(out))


class _Client:
    """Keeps connections, and opens one where all are in use."""

    def __init__(self, address: str, path: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.times: list[float] = []
        self.failed: list[float] = []
        self.degraded = 0

    async def ask(self) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, body = await self._once()
        except (OSError, EOFError):
            self.failed.append(began)
            return
        if status != b"200":
            self.failed.append(began)
            return
        self.times.append((time.perf_counter() - began) * 1000)
        self.degraded += b'"degraded"' in body

    async def _once(self) -> tuple[bytes, bytes]:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        keep = False
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            keep = b"connection: close" not in head.lower()
        finally:
            if keep:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return head.split(b" ", 2)[1], body


async def _main(address: str, path: str, rate: str, seconds: str) -> Paced:
    client = _Client(address, path)
    begin = time.perf_counter() + SETTLE_SECONDS
    asked: list[asyncio.Task[None]] = []
    for number in range(int(int(rate) * float(seconds))):
        await asyncio.sleep(max(0.0, begin + number / int(rate) - time.perf_counter()))
        asked.append(asyncio.create_task(client.ask()))
    await asyncio.gather(*asked)
    return Paced(
        requests=len(asked),
        failed=len(client.failed),
        degraded=client.degraded,
        p50_ms=percentile(client.times, 0.5) if client.times else 0.0,
        p99_ms=percentile(client.times, 0.99) if client.times else 0.0,
        outage_s=max(client.failed) - min(client.failed) if client.failed else 0.0,
    )


if __name__ == "__main__":
    os.write(1, json.dumps(asdict(asyncio.run(_main(*sys.argv[1:])))).encode())
