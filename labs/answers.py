"""What a client wrote down while a service changed, held against when the change was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from labs.lab import Item

OK = "200"
# What curl writes where it got no answer at all, as also when somebody ends curl itself.
NOTHING = "000"
# Fewer say nothing about a rollout.
ENOUGH, DURING = 20, 3
# Seconds; whoever asked no more for so long may have missed what happened then.
PAUSE = 15


class Answer(NamedTuple):
    """When a request was begun, in whole seconds since the epoch, and the status it was given."""

    at: int
    status: str


class Change(NamedTuple):
    """When a change began and ended, in seconds since the epoch."""

    began: float
    ended: float

    def has(self, answer: Answer) -> bool:
        """Whether the request was begun while the change was under way."""
        return self.began < answer.at + 1 and answer.at <= self.ended


def read(file: Path) -> list[Answer] | Item:
    """Read a file of answers, a line each; give the item that says why there are none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return Item(False, f"nothing was measured: expected seconds and HTTP statuses in {file}")
    found = []
    for number, line in enumerate(lines, 1):
        at, _, status = line.partition(" ")
        if not (at.isdecimal() and status.isdecimal()):
            return Item(
                False,
                f"{file.name}:{number}: expected seconds since the epoch and an HTTP status, got "
                f"{line!r}",
            )
        found.append(Answer(int(at), status))
    if len(found) < ENOUGH:
        return Item(
            False, f"{file.name} has {len(found)} answers, of {ENOUGH} at least; ask for longer"
        )
    return found


def without_failure(file: Path, changes: Collection[Change], missing: str) -> Item:
    """Whether one change was asked through, from before until after it, and no request failed.

    `missing` says what to do where no change was.
    """
    answers = read(file)
    if isinstance(answers, Item):
        return answers
    total, statuses = len(answers), Counter(one.status for one in answers)
    if failed := total - statuses[OK]:
        return Item(
            False,
            f"{file.name}: {failed} of {total} requests failed ({_told(statuses)}); no other "
            "change may be under way, and the settings must be those of the start",
        )
    faults = [_not_through(answers, change) for change in changes]
    if not faults:
        return Item(False, f"{file.name}: {total} requests, and no change to fail them: {missing}")
    if "" in faults:
        return Item(True, f"{file.name}: 0 of {total} requests failed ({_told(statuses)})")
    return Item(False, f"{file.name}: {faults[0]}; ask from before the change until after its end")


def with_failures(file: Path, changes: Collection[Change], missing: str) -> Item:
    """Whether requests failed while a change was under way.

    Without an HTTP status a request may have failed by the client's own end, so that one alone
    counts for nothing. `missing` says what to do where none failed.
    """
    answers = read(file)
    if isinstance(answers, Item):
        return answers
    total, statuses = len(answers), Counter(one.status for one in answers)
    failed = [one for one in answers if one.status != OK]
    if not failed:
        return Item(False, f"{file.name}: none of {total} requests failed; {missing}")
    then = [one.status for one in failed if any(change.has(one) for change in changes)]
    if len(then) > then.count(NOTHING) or len(then) >= DURING:
        return Item(
            True, f"{file.name}: {len(failed)} of {total} requests failed ({_told(statuses)})"
        )
    return Item(
        False,
        f"{file.name}: {len(failed)} of {total} requests failed ({_told(statuses)}), of them "
        f"{len(then)} during the change; {missing}",
    )


def _not_through(answers: list[Answer], change: Change) -> str:
    """Say what of a change the answers have missed, or nothing."""
    if answers[0].at > change.began:
        return f"the first request came {answers[0].at - change.began:.0f} s after the change began"
    if answers[-1].at < int(change.ended):
        return f"the last request came {change.ended - answers[-1].at:.0f} s before its end"
    longest = max(
        (
            later.at - one.at
            for one, later in pairwise(answers)
            if later.at + 1 > change.began and one.at <= change.ended
        ),
        default=0,
    )
    during = sum(map(change.has, answers))
    if longest > PAUSE or during < DURING:
        return f"{during} requests came during the change, with up to {longest} s between two"
    return ""


def _told(statuses: Counter[str]) -> str:
    return ", ".join(f"{number} times {status}" for status, number in statuses.most_common())
