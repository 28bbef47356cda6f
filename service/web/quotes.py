"""Where the page's quote comes from: an interface, and quotes of a service over HTTP.

Whoever asks must not depend on who answers. A service that is dead, slow, hangs or talks nonsense
costs a request TIMEOUT_SECONDS at most, and after FAILURES such answers in a row nothing: then one
request every REST_SECONDS tries, and the others do without at once. Otherwise 200 requests a
second would hold 60 more in memory all the time, and 10,000 a second more than there is.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

# For everything: the name, the connection, the answer, and the second try of a stale connection.
TIMEOUT_SECONDS = 0.3
FAILURES = 5
REST_SECONDS = 1.0
# Of one answer its head, and its body.
LONGEST_BYTES = 4096
# At once under way; what comes on top does without, as no queue here may grow.
AT_ONCE = 64
# Shorter than the services' own keep-alive and than Service Connect's 5 minutes, so that it is us
# who close. Source, read 2026-11-25:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
IDLE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A text, and the ARN of the task that gave it; unknown where that does not know."""

    text: str
    task: str


class Quotes(Protocol):
    """Gives quotes, from wherever."""

    async def fetch(self) -> Quote | None:
        """Give a quote, or None where there is none to be had in time; never raise."""


class RemoteQuotes:
    """Asks the service `quotes` over HTTP/1.1, on connections that it keeps."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the service's address, http://HOST[:PORT]; raise ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(url)
        self._host, self._port = parts.hostname, parts.port or 80
        self._question = f"GET /quote HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._clock = clock
        self._idle: list[_Connection] = []
        self._under_way = 0
        self._failures = 0
        self._next_try = 0.0

    async def fetch(self) -> Quote | None:
        """Ask once; None also, and at once, while the service rests after failures."""
        if not self._may_ask():
            return None
        self._under_way += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                quote = await self._ask()
        # All that a dead or a lying service can cause; JSON can also be nested too deep.
        except (OSError, EOFError, ValueError, RecursionError, asyncio.LimitOverrunError):
            self._failures += 1
            if self._failures == FAILURES:
                self._next_try = self._clock() + REST_SECONDS
            return None
        finally:
            self._under_way -= 1
        self._failures = 0
        return quote

    def _may_ask(self) -> bool:
        if self._failures < FAILURES:
            return self._under_way < AT_ONCE
        now = self._clock()
        if now < self._next_try:
            return False
        self._next_try = now + REST_SECONDS
        return True

    async def _ask(self) -> Quote:
        kept = self._kept()
        if kept:
            try:
                return await self._ask_over(kept)
            except (ConnectionError, EOFError):
                # The other side had just closed it, as it may; a new connection tells more.
                pass
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=LONGEST_BYTES)
        return await self._ask_over(_Connection(reader, writer))

    def _kept(self) -> "_Connection | None":
        """Take the connection that was used last, unless it is too old."""
        while self._idle:
            connection = self._idle.pop()
            fresh = self._clock() - connection.idle_since < IDLE_SECONDS
            if fresh and not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        return None

    async def _ask_over(self, connection: "_Connection") -> Quote:
        """Ask over one connection, and keep it only after an answer that was read to its end."""
        keep = False
        try:
            connection.writer.write(self._question)
            head = await connection.reader.readuntil(b"\r\n\r\n")
            length, close = _read_head(head)
            quote = _read_body(await connection.reader.readexactly(length))
            keep = not close
            return quote
        finally:
            if keep:
                connection.idle_since = self._clock()
                self._idle.append(connection)
            else:
                connection.writer.close()


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0


def _read_head(head: bytes) -> tuple[int, bool]:
    """Give the body's length and whether the connection ends; ValueError for what we cannot use."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.1 200 "):
        raise ValueError(status)
    fields = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    length = int(fields["content-length"]) if "content-length" in fields else -1
    if not 0 <= length <= LONGEST_BYTES or "transfer-encoding" in fields:
        raise ValueError(head)
    return length, "close" in fields.get("connection", "").lower()


def _read_body(body: bytes) -> Quote:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(body)
    text, task = found.get("text"), found.get("task")
    if not isinstance(text, str) or not isinstance(task, str) or not text or not task:
        raise ValueError(body)
    # JSON can name halves of characters, which no page can show.
    (text + task).encode()
    return Quote(text=text, task=task)
