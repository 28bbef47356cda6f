"""The arithmetic of the comparison with the monolith, and the load that is paced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench import microservices
from bench.microservices import MONOLITH, SERVICES, Lived
from bench.pace import Paced, pace
from bench.report import BenchError


def paced(**fields: float) -> Paced:
    whole = {"requests": 600, "failed": 0, "degraded": 0, "p50_ms": 1.0, "p99_ms": 5.0}
    return Paced(**{"outage_s": 0.0, **whole, **fields})  # type: ignore[arg-type]


def lived(crashes: dict[str, Paced], rollout: Paced | None = None, **fields: float) -> Lived:
    figures = {"start_seconds": 0.5, "rest_mib": 30.0, "peak_mib": 32.0, "cpu_ms_per_request": 0.4}
    return Lived(steady=paced(), crashes=crashes, rollout=rollout, **{**figures, **fields})


RESERVED = {"web": (512, 192), "quotes": (384, 160), MONOLITH: (256, 128)}


def test_the_ratio_is_the_cpu_of_a_request_and_every_event_has_its_row() -> None:
    services = lived(
        {"web": paced(failed=90, outage_s=0.5), "quotes": paced(degraded=200)},
        rollout=paced(requests=2800, degraded=7),
        cpu_ms_per_request=0.9,
        rest_mib=66.0,
    )
    found = {MONOLITH: [lived({MONOLITH: paced(failed=80, outage_s=0.4)})], SERVICES: [services]}
    outcome = microservices.report(found, RESERVED)
    assert outcome.ratio == pytest.approx(2.25)
    rows = {line.split("  ")[0]: line.split()[-4:] for line in outcome.table.splitlines() if line}
    assert rows["the monolith is killed"] == ["600", "80", "0", "0.40"]
    assert rows["web is killed"] == ["600", "90", "0", "0.50"]
    assert rows["quotes is killed"] == ["600", "0", "200", "0.00"]
    assert rows["quotes alone is replaced"] == ["2800", "0", "7", "0.00"]
    assert "failed requests when quotes is killed: 0.00, at most 0: met" in outcome.table
    assert "3.5 times the monolith's CPU and 2.8 times its memory" in outcome.table
    assert "quiet machine" not in outcome.table
    assert "quiet machine" in microservices.report(found, RESERVED, busy=True).table


def test_a_request_that_fails_when_quotes_is_killed_misses_the_target() -> None:
    services = lived({"web": paced(), "quotes": paced(failed=1)})
    found = {MONOLITH: [lived({MONOLITH: paced()})], SERVICES: [services]}
    table = microservices.report(found, RESERVED).table
    assert "failed requests when quotes is killed: 1.00, at most 0: MISSED" in table


@pytest.mark.parametrize("cpu", ["usage_usec 1500000", "usage_nsec 1500000000"])
def test_the_memory_of_python_alone_is_counted(cpu: str) -> None:
    init = "Name:\tdocker-init\nVmHWM:\t  900 kB\nVmRSS:\t  800 kB\n"
    python = "Name:\tpython3.13\nVmHWM:\t 40960 kB\nVmRSS:\t 30720 kB\n"
    found = microservices.parse_counters(f"{cpu}\n{init}{python}")
    assert (found.cpu_seconds, found.resident_mib, found.peak_mib) == (1.5, 30.0, 40.0)


def test_counters_that_are_none_are_refused() -> None:
    with pytest.raises(BenchError, match="expected counters"):
        microservices.parse_counters("usage_usec 1\n")


class Answers(BaseHTTPRequestHandler):
    """Answers every third request with 500, and says degraded in every other."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = b'{"quotes": "degraded"}' if self.asked % 2 else b'{"quotes": "arn"}'
        self.send_response(500 if self.asked % 3 == 0 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_paced_load_counts_what_failed_and_what_was_degraded(address: str) -> None:
    happened: list[bool] = []
    found = pace(address, "/", rate=60, seconds=1, meanwhile=lambda: happened.append(True))
    assert (found.requests, found.failed, found.degraded) == (60, 20, 20)
    assert 0 < found.p50_ms <= found.p99_ms
    assert 0.5 < found.outage_s < 1.2
    assert happened == [True]


def test_a_load_on_nobody_fails_and_is_no_error() -> None:
    found = pace("127.0.0.1:1", "/", rate=50, seconds=0.2)
    assert (found.requests, found.failed, found.p50_ms) == (10, 10, 0.0)
