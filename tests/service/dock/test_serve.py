"""The life of the process, seen from outside: real sockets, real signals."""

import concurrent.futures
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.conftest import until
from tests.service.conftest import Running, Start, environment

HEAD = b" HTTP/1.1\r\nHost: web\r\n"


@pytest.fixture(scope="module")
def service(start: Start) -> Running:
    return start(KEEP_ALIVE_SECONDS="20")


def test_after_a_term_everything_is_answered_for_the_drain_and_then_it_exits_0(
    start: Start,
) -> None:
    service = start(DRAIN_SECONDS="1")
    with contextlib.closing(service.connect()) as kept:
        assert "connection" not in service.get("/identity", connection=kept).headers
        asked = time.monotonic()
        service.signal(signal.SIGTERM)
        until(lambda: service.get("/health/ready").status == 503, seconds=5, pause=0.01)
        answers = [service.get("/identity", connection=kept)]
    answers += [service.get(path) for path in ("/", "/health/live", "/burn?milliseconds=1")]
    assert {answer.status for answer in answers} == {200}
    answers += [service.get("/nope"), service.get("/health/ready"), service.get("/", "POST")]
    assert {answer.headers.get("connection") for answer in answers} == {"close"}
    assert service.process.wait(10) == 0
    assert 1.0 <= time.monotonic() - asked < 4.0
    events = [line["event"] for line in service.log() if line["event"] != "request"]
    assert events == ["serving", "draining", "stopping", "stopped"]


def test_what_is_in_flight_when_the_drain_ends_is_finished_and_nothing_new_accepted(
    start: Start,
) -> None:
    service = start(DRAIN_SECONDS="0")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        burning = pool.submit(service.get, "/burn?milliseconds=1000")
        time.sleep(0.3)
        service.signal(signal.SIGTERM)
        time.sleep(0.2)
        assert not burning.done()
        with pytest.raises(ConnectionRefusedError):
            service.get("/identity")
        assert burning.result().status == 200
    assert service.process.wait(10) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(start: Start, second: signal.Signals) -> None:
    service = start(DRAIN_SECONDS="60")
    service.signal(signal.SIGTERM)
    until(lambda: service.get("/health/ready").status == 503, seconds=5, pause=0.01)
    service.signal(second)
    assert service.process.wait(2) == 128 + second


def test_connections_without_a_request_do_not_hold_up_the_exit(start: Start) -> None:
    service = start(DRAIN_SECONDS="0")
    with service.socket() as silent, service.socket() as half, service.socket() as idle:
        half.sendall(b"GET / HTT")
        idle.sendall(b"GET /identity" + HEAD + b"\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.1)
        service.signal(signal.SIGTERM)
        assert service.process.wait(5) == 0
        assert silent.fileno() != -1


def test_an_idle_connection_lives_as_long_as_promised_and_no_longer(start: Start) -> None:
    service = start(KEEP_ALIVE_SECONDS="1")
    connection: HTTPConnection
    with contextlib.closing(service.connect()) as connection:
        service.get("/identity", connection=connection)
        ours = connection.sock
        time.sleep(0.7)
        service.get("/identity", connection=connection)
        assert connection.sock is ours
        idle_since = time.monotonic()
        assert ours.recv(1) == b""
        assert 0.9 < time.monotonic() - idle_since < 3


def test_idle_connections_keep_nobody_waiting(service: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(service.socket())
        assert service.get("/health/live").status == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: web\r\n\r\n", 400),
        (b"GET /\xff" + HEAD + b"\r\n", 400),
        (b"G@T /" + HEAD + b"\r\n", 400),
        (b"GET /" + HEAD + b"A B: c\r\n\r\n", 400),
        (b"GET /" + HEAD + b"A: \x00\r\n\r\n", 400),
        (b"GET /" + HEAD + b"A: b\r\n c\r\n\r\n", 400),
        (b"GET /" + HEAD + b"Content-Length: x\r\n\r\n", 400),
        (b"GET /" + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /" + HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET /" + HEAD + b"Host: other\r\nConnection: close\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + HEAD + b"\r\n", 414),
        (b"GET /" + HEAD + b"A: " + b"b" * 500_000 + b"\r\n\r\n", 431),
        (b"GET /" + HEAD + b"A: b\r\n" * 120 + b"\r\n", 431),
        (b"GET /%ff%zz" + HEAD + b"Connection: close\r\n\r\n", 404),
        (b"OPTIONS *" + HEAD + b"Connection: close\r\n\r\n", 404),
        (b"CONNECT web:80" + HEAD + b"Connection: close\r\n\r\n", 404),
        (b"get /" + HEAD + b"Connection: close\r\n\r\n", 405),
        (b"POST /" + HEAD + b"Content-Length: 99999999\r\nConnection: close\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET http://elsewhere/identity" + HEAD + b"Connection: close\r\n\r\n", 200),
        (b"GET /" + HEAD + b"A: \xff\r\nConnection: close\r\n\r\n", 200),
        (b"GET /" + HEAD + b"Upgrade: websocket\r\nConnection: upgrade, close\r\n\r\n", 200),
    ],
)
def test_malformed_and_oversize_requests_get_the_right_answer(
    service: Running, request_bytes: bytes, status: int
) -> None:
    answer = service.say(request_bytes)
    assert re.match(rb"HTTP/1\.[01] (\d{3}) ", answer), answer[:80]
    assert int(answer[9:12]) == status


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_body_on_a_get_is_ignored_and_the_connection_goes_on(
    service: Running, body: bytes
) -> None:
    again = b"GET /health/live" + HEAD + b"Connection: close\r\n\r\n"
    answer = service.say(b"GET /identity" + HEAD + body + again)
    assert re.findall(rb"HTTP/1\.1 (\d{3})", answer) == [b"200", b"200"]


def test_a_head_has_the_headers_of_the_get_and_no_body(service: Running) -> None:
    got = service.say(b"GET /identity" + HEAD + b"Connection: close\r\n\r\n")
    head = service.say(b"HEAD /identity" + HEAD + b"Connection: close\r\n\r\n")
    undated = [re.sub(rb"\r\ndate: [^\r]*", b"", answer) for answer in (got, head)]
    assert undated[1] == undated[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_health_is_answered_while_all_burns_are_taken_and_one_more_is_told_to_wait(
    service: Running,
) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        burns = [pool.submit(service.get, "/burn?milliseconds=800") for _ in range(2)]
        time.sleep(0.2)
        refused = service.get("/burn?milliseconds=1")
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        waits = []
        while not any(burn.done() for burn in burns):
            began = time.monotonic()
            assert service.get("/health/live").status == 200
            waits.append(time.monotonic() - began)
        assert [burn.result().status for burn in burns] == [200, 200]
    # Held by the interpreter's lock they would wait 5 ms a turn, several turns each.
    assert sorted(waits)[len(waits) // 2] < 0.02, waits
    assert service.get("/burn?milliseconds=1").status == 200


def test_the_log_is_one_object_a_line_with_requests_and_without_health_checks(
    start: Start,
) -> None:
    service = start(DRAIN_SECONDS="0")
    service.get("/identity")
    service.get("/health/ready")
    service.signal(signal.SIGTERM)
    service.process.wait(10)
    lines = service.log()
    assert [line["event"] for line in lines][:2] == ["serving", "request"]
    assert [line["path"] for line in lines if line["event"] == "request"] == ["/identity"]
    assert {line["task"] for line in lines} == {"unknown"}


@pytest.mark.parametrize("name", ["PORT", "DRAIN_SECONDS", "KEEP_ALIVE_SECONDS"])
def test_a_bad_setting_is_one_line_and_no_start(name: str) -> None:
    ended = run("web", **{name: "many"})
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"{name}: expected an integer from ")
    assert ended.stderr.endswith("got 'many'\n")


def test_a_taken_port_is_one_line_and_no_start() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run("web", PORT=port)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"PORT: cannot serve on {port}: Address already in use")
    assert ended.stderr.count("\n") == 1


def test_the_probe_agrees_with_the_service(start: Start) -> None:
    service = start(DRAIN_SECONDS="1")
    port = str(service.port)
    assert run("dock.probe", PORT=port).returncode == 0
    service.signal(signal.SIGTERM)
    until(lambda: service.get("/health/ready").status == 503, seconds=5, pause=0.01)
    assert run("dock.probe", PORT=port).returncode == 0
    service.process.wait(10)
    for unanswered in (port, "x", "99999"):
        ended = run("dock.probe", PORT=unanswered)
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


def test_the_probe_fails_where_something_else_or_nothing_answers() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        ended = pool.submit(run, "dock.probe", PORT=str(other.getsockname()[1]))
        connection, _ = other.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
            assert ended.result().returncode == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_well_below_the_limit_of_the_task(service: Running) -> None:
    for _ in range(200):
        service.get("/")
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    assert int(found[1]) < 80 * 1024


def run(module: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
