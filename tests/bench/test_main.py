"""The command: its last line, and what it says where there is none."""

from __future__ import annotations

import pytest

from bench.__main__ import main
from bench.report import BenchError, Outcome

NAMES = {
    "good": lambda _rounds: Outcome("a table", 1.5),
    "bad": lambda _rounds: _fail(),
}


def _fail() -> Outcome:
    raise BenchError("expected a container engine, got none")


def test_the_last_line_is_the_name_and_the_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good"], NAMES) == 0
    assert capsys.readouterr().out == "a table\ngood: 1.50\n"


def test_an_unknown_name_is_refused_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["synht"], NAMES)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "name: expected good or bad, got synht" in said.err
    assert said.out == ""


def test_less_than_one_round_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["good", "--rounds", "0"], NAMES)
    assert "--rounds: expected at least 1, got 0" in capsys.readouterr().err


def test_without_a_name_all_run_and_one_without_a_ratio_fails_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([], NAMES) == 1
    said = capsys.readouterr()
    assert said.out == "a table\ngood: 1.50\n"
    assert "bad: no ratio: expected a container engine, got none" in said.err
