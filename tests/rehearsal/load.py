"""A load for tests: so many requests a second, each tried once, and what became of each."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

# More than this at a time would measure the machine: what it has not answered yet comes first.
AT_ONCE = 100


@dataclass
class Load:
    """Asks 127.0.0.1 at a steady rate, whatever becomes of the answers, until a `with` ends.

    What a machine that stalls keeps it from asking in time it asks later.
    `answered` has for each good answer when it was asked for, by time.monotonic(), and what stands
    there under `key`, which container gave it for one; `failures` what else there was.
    """

    port: int
    path: str
    per_second: int
    key: str = "hostname"
    answered: list[tuple[float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask()))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def asked(self) -> int:
        """How many requests have an outcome."""
        return len(self.answered) + len(self.failures)

    def answering(self, *, since: float) -> set[str]:
        """Name what has answered to what was asked since a moment of time.monotonic()."""
        return {name for moment, name in self.answered if moment >= since}

    async def _ask(self) -> None:
        started, number = time.monotonic(), 0
        asking: set[asyncio.Task[None]] = set()
        while not self._ending.is_set():
            due = int((time.monotonic() - started) * self.per_second)
            while number < due and len(asking) < AT_ONCE:
                task = asyncio.create_task(self._once())
                asking.add(task)
                task.add_done_callback(asking.discard)
                number += 1
            await asyncio.sleep(1 / self.per_second)
        await asyncio.gather(*asking)

    async def _once(self) -> None:
        began = time.monotonic()
        try:
            status, body = await asyncio.wait_for(self._request(), timeout=10)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.failures.append(repr(error))
            return
        if status != 200:
            self.failures.append(f"status {status}")
            return
        self.answered.append((began, json.loads(body)[self.key]))

    async def _request(self) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            head_lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            (length,) = (
                int(line.partition(":")[2])
                for line in head_lines
                if line.startswith("content-length:")
            )
            return int(head_lines[0].split()[1]), await reader.readexactly(length)
        finally:
            writer.close()
