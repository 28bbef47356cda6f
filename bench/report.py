"""What a benchmark says: medians in a table, targets met or missed, and one ratio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Measured = TypeVar("Measured")


class BenchError(RuntimeError):
    """Says why there is nothing to compare, and what to do about it."""


@dataclass(frozen=True)
class Outcome:
    """A benchmark's table, ready to be read, and the ratio that its last line gives."""

    table: str
    ratio: float


@dataclass(frozen=True)
class Target:
    """A bound that a measured number should keep; `least` where more is better."""

    bound: float
    least: bool = False

    def judge(self, value: float) -> str:
        """Say the bound, and whether the value keeps it."""
        kept = value >= self.bound if self.least else value <= self.bound
        side = "at least" if self.least else "at most"
        return f"{side} {self.bound:g}: {'met' if kept else 'MISSED'}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Divide the median of our rounds by the median of theirs."""
    if not ours or not theirs or not median(theirs):
        raise BenchError("expected rounds on both sides, and a baseline that is not 0")
    return median(ours) / median(theirs)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    lines = [list(heads), *(list(row) for row in rows)]
    if any(len(line) != len(heads) for line in lines):
        raise ValueError(f"expected {len(heads)} cells in each row")
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def interleave(
    contenders: Mapping[str, Callable[[], Measured]], rounds: int
) -> dict[str, list[Measured]]:
    """Measure every contender once a round, so that all meet the same weather.

    A first round warms up and does not count.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            say(f"{'warm-up' if number == 0 else f'round {number} of {rounds}'}: {name}")
            result = measure()
            if number:
                measured[name].append(result)
    return measured


def say(line: str) -> None:
    """Tell of progress, beside the data."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for people
