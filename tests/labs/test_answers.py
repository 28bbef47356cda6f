"""Answers count where a change was under way, and only those that the service gave or owed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from labs import answers
from labs.answers import Change

# Half a second, as `date` gives whole ones; two answers a second.
CHANGE = Change(1000.5, 1020.5)


def write(path: Path, *spans: tuple[Iterable[int], str]) -> Path:
    """Write two answers a second, as the page's loop does."""
    lines = [f"{at} {status}\n" * 2 for seconds, status in spans for at in seconds]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "good.txt"


def good(file: Path, *changes: Change) -> tuple[bool, str]:
    found = answers.without_failure(file, changes, "begin one")
    return found.right, found.words


def broken(file: Path, *changes: Change) -> tuple[bool, str]:
    found = answers.with_failures(file, changes, "ask while one is under way")
    return found.right, found.words


def test_a_change_that_was_asked_through_without_failure_is_right(file: Path) -> None:
    write(file, (range(1000, 1023), "200"))
    assert good(file, CHANGE) == (True, "good.txt: 0 of 46 requests failed (46 times 200)")
    # Also where another one was not.
    assert good(file, Change(10, 20), CHANGE)[0]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([range(900, 930)], "the last request came 92 s before its end"),
        ([range(1002, 1023)], "the first request came 2 s after the change began"),
        ([range(1000, 1019)], "the last request came 2 s before its end"),
        ([range(990, 1001), range(1021, 1030)], "2 requests came during the change"),
        ([range(990, 1004), range(1020, 1030)], "with up to 17 s between two"),
        ([range(980, 990), range(1012, 1030)], "with up to 23 s between two"),
    ],
)
def test_a_quiet_measurement_proves_nothing(
    file: Path, spans: list[Iterable[int]], expected: str
) -> None:
    write(file, *((span, "200") for span in spans))
    right, words = good(file, CHANGE)
    assert not right
    assert expected in words
    assert "ask from before the change until after its end" in words


def test_a_short_change_that_nobody_asked_through_is_none(file: Path) -> None:
    write(file, (range(990, 1001), "200"), (range(1006, 1016), "200"))
    right, words = good(file, Change(1000.5, 1005.5))
    assert not right
    assert "2 requests came during the change, with up to 6 s between two" in words


def test_without_a_change_nothing_was_proved(file: Path) -> None:
    write(file, (range(1000, 1023), "200"))
    assert good(file) == (False, "good.txt: 46 requests, and no change to fail them: begin one")
    assert broken(file) == (
        False, "good.txt: none of 46 requests failed; ask while one is under way",
    )  # fmt: skip


def test_a_failure_counts_only_while_the_change_was_under_way(file: Path) -> None:
    write(file, (range(980, 990), "503"), (range(990, 1023), "200"))
    assert broken(file, CHANGE) == (
        False,
        "good.txt: 20 of 86 requests failed (66 times 200, 20 times 503), of them 0 during the "
        "change; ask while one is under way",
    )
    write(file, (range(1000, 1010), "200"), (range(1010, 1011), "503"), (range(1011, 1023), "200"))
    assert broken(file, CHANGE)[0]
    assert "good.txt: 2 of 46 requests failed" in good(file, CHANGE)[1]


def test_a_request_that_the_client_gave_up_is_no_failure_of_the_service(file: Path) -> None:
    write(file, (range(1000, 1020), "200"), (range(1020, 1021), "000"))
    right, words = broken(file, CHANGE)
    assert not right
    assert "2 of 42 requests failed (40 times 200, 2 times 000), of them 2 during" in words
    # Many of them are one: nothing listened.
    write(file, (range(1000, 1010), "200"), (range(1010, 1020), "000"))
    assert broken(file, CHANGE)[0]


def test_what_is_no_measurement_is_named(file: Path) -> None:
    assert good(file, CHANGE)[1].startswith("nothing was measured: expected seconds and HTTP")
    write(file, (range(1000, 1005), "200"))
    assert good(file, CHANGE) == (False, "good.txt has 10 answers, of 20 at least; ask for longer")
    file.write_text("1000 200\n200\n", encoding="utf-8")
    assert good(file, CHANGE) == (
        False, "good.txt:2: expected seconds since the epoch and an HTTP status, got '200'",
    )  # fmt: skip
