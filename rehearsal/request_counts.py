"""Counts what became of requests, from HAProxy's statistics and what it logs of failures."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from rehearsal.haproxy import Served

# Room for the lines between two polls.
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Counts:
    """What became of requests: answered by targets, by class; failed by the balancer, by code.

    `requests` are those for which a target was chosen, as in AWS's RequestCount.
    """

    requests: int
    target_2xx: int
    target_3xx: int
    target_4xx: int
    target_5xx: int
    balancer_502: int
    balancer_503: int
    balancer_504: int
    in_flight: int


@dataclass(frozen=True)
class Counters:
    """Counts by target group's ARN, and by that and the id of a target while it is known."""

    groups: Mapping[str, Counts]
    targets: Mapping[tuple[str, str], Counts]


@dataclass
class Tally:
    """What was counted so far, of one target or one group."""

    begun: int = 0
    answered: int = 0
    by_class: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    # Of those that HAProxy logs, by code.
    unanswered: dict[int, int] = field(default_factory=dict)
    without_target: int = 0
    in_flight: int = 0

    def add(self, before: Served, now: Served) -> None:
        """Add what one HAProxy counted in between."""
        self.begun += now.begun - before.begun
        self.answered += now.answered - before.answered
        for index, (old, new) in enumerate(zip(before.by_class, now.by_class, strict=True)):
            self.by_class[index] += new - old

    def fail(self, code: int) -> None:
        """Add a failure that was logged."""
        self.unanswered[code] = self.unanswered.get(code, 0) + 1

    def counts(self) -> Counts:
        """Give them as they are."""
        # It does not log a request that it cannot tell from a kept connection's end: the client
        # finds its connection closed. Source: github.com/haproxy/haproxy/issues/3414.
        logged = sum(self.unanswered.values())
        silent = max(0, self.begun - self.answered - self.in_flight - logged)
        two, three, four, five = self.by_class
        return Counts(
            requests=self.begun,
            target_2xx=two,
            target_3xx=three,
            target_4xx=four,
            target_5xx=five,
            balancer_502=self.unanswered.get(502, 0) + silent,
            balancer_503=self.without_target,
            balancer_504=self.unanswered.get(504, 0),
            in_flight=self.in_flight,
        )


@dataclass(frozen=True)
class Failure:
    """A request that HAProxy had to answer itself; there is no server where none was chosen.

    Where the client went away first the code is -1, or one of the client's errors.
    """

    backend: str
    server: str | None
    code: int


class Log:
    """A pipe to which any number of HAProxies write a line for each failure."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        # Not every system can, and not everybody may.
        with suppress(AttributeError, OSError):
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._unread = b""

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reading)
        os.close(self.writing)

    def failures(self) -> Iterator[Failure]:
        """Give those since the last time, without waiting."""
        with suppress(BlockingIOError):
            while received := os.read(self._reading, 65536):
                self._unread += received
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            # Other lines are about servers' states.
            match line.decode(errors="replace").split():
                case ["E", backend, server, code]:
                    yield Failure(backend, None if server == "<NOSRV>" else server, int(code))
