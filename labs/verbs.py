"""What a verb of the course is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb: what it does in a few words, its arguments, and what runs it.

    `run` gives the exit code: 0, or 1 with every fault said on stderr and nothing written.
    """

    does: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
