"""Whatever becomes of the service quotes, nobody who asks web notices more than a missing quote."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
from dock.identity import Identity
from dock.lifecycle import Lifecycle
from web.app import build
from web.quotes import AT_ONCE, FAILURES, IDLE_SECONDS, REST_SECONDS, TIMEOUT_SECONDS, RemoteQuotes

from tests.service.conftest import Start
from tests.service.dock.test_serve import run

BODY = json.dumps({"text": "Ahoy.", "task": "arn:q"}).encode()


def answer(body: bytes = BODY, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Played:
    """A service quotes that does to each request what `serve` does, and counts."""

    def __init__(self, serve: Serve | bytes) -> None:
        self.serve = serve
        self.connections = 0
        self.requests = 0
        self.url = ""
        self.serving: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if task := asyncio.current_task():
            self.serving.add(task)
        with contextlib.suppress(ConnectionError, EOFError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                if isinstance(self.serve, bytes):
                    writer.write(self.serve)
                else:
                    await self.serve(reader, writer)
        writer.close()


@contextlib.contextmanager
def asking(url: str, clock: Callable[[], float] = time.monotonic) -> Iterator[RemoteQuotes]:
    quotes = RemoteQuotes(url, clock=clock)
    yield quotes
    # The service keeps them until its process ends.
    for connection in quotes._idle:
        connection.writer.close()


@contextlib.asynccontextmanager
async def played(serve: Serve | bytes) -> AsyncIterator[Played]:
    service = Played(serve)
    server = await asyncio.start_server(service.connected, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield service
    server.close()
    for task in service.serving:
        task.cancel()
    await asyncio.gather(*service.serving)
    await asyncio.sleep(0.01)  # in which the transports close


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in answer():
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_a_quote_comes_with_the_task_that_gave_it_over_one_kept_connection() -> None:
    async def ask() -> None:
        async with played(answer()) as service:
            with asking(service.url) as quotes:
                for _ in range(5):
                    quote = await quotes.fetch()
                    assert quote
                    assert (quote.text, quote.task) == ("Ahoy.", "arn:q")
                assert (service.connections, service.requests) == (1, 5)

    asyncio.run(ask())


def test_a_connection_that_the_service_gives_up_or_has_closed_costs_no_quote() -> None:
    async def ask() -> None:
        async with played(answer(more="Connection: close\r\n")) as service:
            with asking(service.url) as quotes:
                assert await quotes.fetch()
                assert await quotes.fetch()
                assert service.connections == 2

        served = 0

        async def once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            if served % 2:
                writer.write(answer())
            else:
                writer.close()

        async with played(once) as service:
            with asking(service.url) as quotes:
                # The second request finds its connection closed under it.
                assert await quotes.fetch()
                assert await quotes.fetch()
                assert (service.connections, service.requests) == (2, 3)

    asyncio.run(ask())


def test_a_connection_is_not_kept_for_longer_than_the_service_keeps_it() -> None:
    async def ask() -> None:
        clock = Clock()
        async with played(answer()) as service:
            with asking(service.url, clock) as quotes:
                assert await quotes.fetch()
                clock.now += IDLE_SECONDS
                assert await quotes.fetch()
                assert service.connections == 2

    asyncio.run(ask())


@pytest.mark.parametrize(
    "lie",
    [
        answer(status="500 Internal Server Error"),
        answer(status="204 No Content"),
        answer(status="302 Found", more="location: /quote\r\n"),
        answer(b"x" * 5000),
        answer(b"[" * 4000),
        answer(b"not JSON"),
        answer(b"[]"),
        answer(b"{}"),
        answer(b'{"text": "", "task": "t"}'),
        answer(b'{"text": 3, "task": "t"}'),
        answer(b'{"text": "\\ud83d", "task": "t"}'),
        answer(b"\xff\xfe"),
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
def test_a_lie_is_no_quote_and_its_connection_is_not_used_again(lie: bytes) -> None:
    async def ask() -> None:
        async with played(lie) as service:
            with asking(service.url) as quotes:
                assert await quotes.fetch() is None
                service.serve = answer()
                assert await quotes.fetch()
                assert service.connections == 2

    asyncio.run(ask())


@pytest.mark.parametrize("serve", [hang, drip, hang_up])
def test_a_service_that_hangs_drips_or_hangs_up_costs_at_most_the_timeout(serve: Serve) -> None:
    async def ask() -> None:
        async with played(serve) as service:
            began = time.monotonic()
            assert await RemoteQuotes(service.url).fetch() is None
            assert time.monotonic() - began < TIMEOUT_SECONDS + 0.2
            assert service.requests == 1

    asyncio.run(ask())


def test_a_dead_service_costs_next_to_nothing() -> None:
    async def ask() -> None:
        async with played(b"") as service:
            url = service.url
        began = time.monotonic()
        assert await RemoteQuotes(url).fetch() is None
        assert time.monotonic() - began < TIMEOUT_SECONDS
        assert await RemoteQuotes("http://no.such.name.invalid:1").fetch() is None

    asyncio.run(ask())


def test_after_failures_in_a_row_one_request_a_second_tries_and_a_success_ends_it() -> None:
    async def ask() -> None:
        clock = Clock()
        async with played(answer(status="500 No")) as service:
            with asking(service.url, clock) as quotes:
                for _ in range(FAILURES + 20):
                    assert await quotes.fetch() is None
                assert service.requests == FAILURES
                for second in range(1, 4):
                    clock.now += REST_SECONDS
                    assert [await quotes.fetch() for _ in range(20)] == [None] * 20
                    assert service.requests == FAILURES + second
                service.serve = answer()
                assert await quotes.fetch() is None
                clock.now += REST_SECONDS
                assert all([await quotes.fetch() for _ in range(20)])

    asyncio.run(ask())


def test_no_more_are_under_way_than_may_be() -> None:
    async def ask() -> None:
        async with played(hang) as service:
            with asking(service.url) as quotes:
                assert await asyncio.gather(*(quotes.fetch() for _ in range(500))) == [None] * 500
                assert service.requests == AT_ONCE

    asyncio.run(ask())


def test_a_request_that_is_given_up_leaves_no_half_read_connection() -> None:
    async def ask() -> None:
        async with played(hang) as service:
            with asking(service.url) as quotes:
                given_up = asyncio.create_task(quotes.fetch())
                while not service.requests:
                    await asyncio.sleep(0.001)
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
                service.serve = answer()
                assert await quotes.fetch()
                assert service.connections == 2

    asyncio.run(ask())


def test_200_requests_a_second_all_succeed_in_time_while_quotes_hangs() -> None:
    async def ask() -> None:
        async with played(hang) as service:
            app = build(Identity({}), Lifecycle(), RemoteQuotes(service.url))
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
                loop = asyncio.get_running_loop()
                late: list[float] = []

                async def once() -> None:
                    over: list[float] = []
                    # A loop that a busy machine holds up is late with its timers as well.
                    loop.call_later(TIMEOUT_SECONDS, lambda: over.append(loop.time()))
                    assert (await client.get("/identity")).json()["quotes"] == "degraded"
                    late.append(loop.time() - over[0] if over else 0)

                async with asyncio.TaskGroup() as group:
                    for _ in range(400):
                        group.create_task(once())
                        await asyncio.sleep(0.005)
        assert max(late) < 1
        # The first 300 ms wait, and then one request in each second.
        assert late.count(0) > len(late) / 2, late
        assert service.requests <= AT_ONCE + 3

    asyncio.run(ask())


def test_the_process_asks_the_service_that_its_environment_names(start: Start) -> None:
    quotes = start("quotes", DRAIN_SECONDS="0")
    web = start(QUOTES_URL=f"http://127.0.0.1:{quotes.port}")
    assert json.loads(web.get("/identity").body)["quotes"] == "unknown"
    quotes.process.kill()
    quotes.process.wait()
    assert json.loads(web.get("/identity").body)["quotes"] == "degraded"
    assert web.get("/health/ready").status == 200


@pytest.mark.parametrize("url", ["quotes", "https://quotes", "http://", "http://q/x", "http://q:x"])
def test_a_bad_address_is_a_line_beside_the_other_faults(url: str) -> None:
    ended = run("web", QUOTES_URL=url, PORT="0")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "PORT: expected an integer from 1 to 65535, got '0'",
        f"QUOTES_URL: expected an address like http://quotes:8080, got {url!r}",
    ]
