"""Ends a process that is told to before it can serve."""

import os
import signal
from types import FrameType


def leave_on_sigterm() -> None:
    """End the process on SIGTERM, until the server takes the signal over.

    The kernel drops a SIGTERM that process 1 has no handler for, and importing a server takes a
    while.
    """
    signal.signal(signal.SIGTERM, _leave)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)
