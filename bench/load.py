"""Asks one address as fast as it answers, from a process of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.report import BenchError

CONNECTIONS = 32
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """What was answered: 200s, how many were not, and the 99th percentile of the times."""

    requests: int
    failed: int
    p99_ms: float


def generator() -> str:
    """Name what asks: wrk, or where that is not installed our own client."""
    return "wrk" if shutil.which("wrk") else "the client of bench/load.py (wrk is not installed)"


def load(address: str, path: str, *, seconds: int, core: int | None) -> Load:
    """Ask for so long over CONNECTIONS connections; `core` is where the asking process runs."""
    pinned = ["taskset", "--cpu-list", str(core)] if core is not None else []
    url = f"http://{address}{path}"
    if shutil.which("wrk"):
        asking = ["wrk", "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
        return parse_wrk(_output([*pinned, *asking]))
    asking = [sys.executable, "-m", "bench.load", address, path, str(seconds)]
    return Load(**json.loads(_output([*pinned, *asking])))


def two_cores() -> tuple[int | None, int | None]:
    """Give a core for who is asked and another for who asks; None of either where there is one."""
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    return (cores[-1], cores[0]) if len(cores) > 1 else (None, None)


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def first_answer(addresses: Sequence[str], path: str, seconds: float = 30) -> tuple[str, str]:
    """Ask in turn until one answers 200; give the address and the body, or raise BenchError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for address in addresses:
            connection = http.client.HTTPConnection(address, timeout=0.5)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read().decode()
                if response.status == 200:
                    return address, body
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
        time.sleep(0.005)
    raise BenchError(f"{addresses[0]}: expected a 200 within {seconds:g} s")


def parse_wrk(text: str) -> Load:
    """Read wrk's report."""
    total = re.search(r"(\d+) requests in ", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", text)
    if not total or not p99:
        raise BenchError(f"wrk: expected its report with latencies, got:\n{text}")
    failed = sum(
        int(number)
        for line in re.findall(r"(?:Socket errors|Non-2xx or 3xx responses):(.*)", text)
        for number in re.findall(r"\d+", line)
    )
    return Load(int(total[1]), failed, float(p99[1]) * _UNITS[p99[2]])


def percentile(times: Sequence[float], part: float) -> float:
    """Give the smallest of the times that `part` of them do not exceed."""
    ordered = sorted(times)
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise BenchError(f"{command[0]} ended {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


async def _ask(host: str, port: int, path: str, until: float, times: list[float]) -> int:
    """Ask over one connection, one request after the other; give how many failed."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection(host, port)
    failed = 0
    while (started := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        times.append((time.perf_counter() - started) * 1000)
        failed += not head.startswith(b"HTTP/1.1 200")
    writer.close()
    return failed


async def _main(address: str, path: str, seconds: str) -> Load:
    host, _, port = address.rpartition(":")
    until = time.perf_counter() + int(seconds)
    times: list[float] = []
    asking = (_ask(host, int(port), path, until, times) for _ in range(CONNECTIONS))
    failed = sum(await asyncio.gather(*asking))
    return Load(len(times), failed, percentile(times, 0.99))


if __name__ == "__main__":
    os.write(1, json.dumps(asdict(asyncio.run(_main(*sys.argv[1:])))).encode())
