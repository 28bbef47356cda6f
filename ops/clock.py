"""Time as an argument: what waits is given a clock, so that a test can wait without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Seconds that only go forward, and a way to let them pass."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def wait(
    look: Callable[[], str],
    *,
    clock: Clock,
    seconds: float,
    every: float,
    say: Callable[[str], None],
) -> str:
    """Call `look` until nothing is missing, for at most `seconds`; give what is missing then.

    `look` says what is still missing, or nothing; each new answer is told once.
    """
    end = clock.now() + seconds
    told = ""
    while missing := look():
        if missing != told:
            say(f"  waiting: {missing}")
            told = missing
        if clock.now() + every > end:
            return missing
        clock.sleep(every)
    return ""
