"""Starts the service: python -m web."""

import os
import signal
from types import FrameType


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)


# The kernel drops a SIGTERM that process 1 has no handler for, and the imports below take a while.
signal.signal(signal.SIGTERM, _leave)

from web.serve import main  # noqa: E402 - the handler above must stand before this import runs

main()
