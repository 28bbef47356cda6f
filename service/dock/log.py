"""Writes the log: one JSON object a line on standard output."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted

# Enough to recognise a path, and too little to fill a log with.
_LONGEST_TEXT = 512


class Log:
    """Lines about requests and about the life of the process."""

    def __init__(
        self, *, task: Callable[[], str], write: Callable[[bytes], object] | None = None
    ) -> None:
        self._task = task
        self._write = write or _to_stdout
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""

    def event(self, name: str, **fields: str | int) -> None:
        """Write one line about the process."""
        line = {"time": self._now(), "event": name, **fields, "task": self._task()}
        self._lines.append(json.dumps(line) + "\n")
        self._flush()

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Write one line about a request. The query stays out: it may hold what is not ours."""
        # One write for all that the event loop answers in one turn: a write a line took a fifth of
        # the CPU under load. By hand, since json.dumps of a dictionary costs three times as much.
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(
            f'{{"time": "{self._now()}", "event": "request", "method": {_short(method)},'
            f' "path": {_short(path)}, "status": {status}, "milliseconds": {seconds * 1000:.2f},'
            f' "task": {quoted(self._task())}}}\n'
        )

    def _flush(self) -> None:
        if self._lines:
            self._write("".join(self._lines).encode())
            self._lines.clear()

    def _now(self) -> str:
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second))
        return f"{self._stamp}.{int(now * 1000) % 1000:03d}Z"


def _short(text: str) -> str:
    return quoted(text[:_LONGEST_TEXT])


def _to_stdout(line: bytes) -> None:
    try:
        while line:
            line = line[os.write(1, line) :]
    except OSError:
        # Nobody reads the log any more; the requests are still worth answering.
        return
