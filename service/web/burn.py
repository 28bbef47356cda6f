"""Uses up CPU on request, so that scaling can be seen; bounded in time and in number."""

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

# Two threads fill the two vCPUs of a small host.
AT_ONCE = 2
# hashlib lets go of the interpreter's lock over large blocks; a loop in Python would hold it for
# 5 ms at a time, and every other request, the health checks among them, would wait for it.
_BLOCK = bytes(256 * 1024)
# On a host that is short of CPU a millisecond of it may take long; a request must end all the same.
LONGEST_SECONDS = 10.0


class Busy(Exception):  # noqa: N818 - a state that the caller may try again after, not a fault
    """As many requests burn CPU already as may at once."""


@dataclass(frozen=True, kw_only=True)
class Burned:
    """What a burn took, in milliseconds."""

    cpu_milliseconds: float
    wall_milliseconds: float


class Burner:
    """Burns CPU in threads of its own, AT_ONCE at most."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="burn")
        self._burning = 0

    async def burn(self, milliseconds: int) -> Burned:
        """Use up that much CPU time; raise Busy, without waiting, where too many burn already."""
        if self._burning >= AT_ONCE:
            raise Busy
        self._burning += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, _burn, milliseconds)
        # Counted off by the thread's end, and not by the request's, which may be cancelled before.
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    def _done(self, _work: "asyncio.Future[Burned]") -> None:
        self._burning -= 1


def _burn(milliseconds: int) -> Burned:
    cpu, wall = time.thread_time(), time.monotonic()
    while (
        time.thread_time() - cpu < milliseconds / 1000 and time.monotonic() - wall < LONGEST_SECONDS
    ):
        hashlib.sha256(_BLOCK).digest()
    return Burned(
        cpu_milliseconds=round((time.thread_time() - cpu) * 1000, 1),
        wall_milliseconds=round((time.monotonic() - wall) * 1000, 1),
    )
