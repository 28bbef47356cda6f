"""The command: a timeline on stdout, talk on stderr, and errors that say what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scheduler.__main__ import clock, main
from scheduler.scenarios import SCENARIOS


def simulate(*arguments: str, assembly: Path) -> int:
    return main(["simulate", *arguments, "--assembly", str(assembly)])


@pytest.mark.parametrize("environment", ["sandbox", "production"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_environments_play_every_scenario(
    environment: str, scenario: str, assembly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(environment, "--scenario", scenario, assembly=assembly) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "time  hosts  tasks  healthy  unplaced  what"
    assert re.match(r" ?0:00 +\d+ +\d+ +\d+ +\d+  \w", lines[1])
    (verdict,) = [line for line in lines if line.startswith(f"{environment}, {scenario}, seed 0: ")]
    assert re.search(r"\d hosts at the peak\. Ended after ", verdict)
    assert re.search(r"(never b|B)elow demand", verdict)
    assert lines[-1].endswith("boot 60, pull 15, start 2, check 10, stop 10, deregistration 30")
    assert "${" not in said.out
    assert said.err == ""


def test_a_shortfall_is_listed_with_its_time_and_size(
    assembly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate("sandbox", "--scenario", "az-loss", assembly=assembly) == 0
    # A task of each of the two services.
    assert re.search(
        r"^below demand: at 0:00 for \d+ s, by 2 tasks at most$",
        capsys.readouterr().out,
        re.MULTILINE,
    )


def test_the_plot_goes_to_its_file_and_the_talk_to_stderr(
    assembly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plot.svg"
    assert simulate("sandbox", "--scenario", "rollout", "--plot", str(file), assembly=assembly) == 0
    assert file.read_text(encoding="utf-8").startswith("<svg ")
    assert capsys.readouterr().err == f"The plot is in {file}.\n"


def test_the_same_seed_prints_the_same(assembly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(seed: str) -> str:
        simulate("production", "--scenario", "az-loss", "--seed", seed, assembly=assembly)
        return capsys.readouterr().out

    assert printed("4") == printed("4") != printed("5")


def test_seconds_may_be_asked_for(assembly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--boot", "30", "--deregistration", "5")
    assert simulate("sandbox", "--scenario", "instance-refresh", *options, assembly=assembly) == 0
    assert (
        "boot 30, pull 15, start 2, check 10, stop 10, deregistration 5" in capsys.readouterr().out
    )


@pytest.mark.parametrize("seconds", ["-1", "soon", "inf", "nan"])
def test_what_is_no_number_of_seconds_is_refused(
    seconds: str, assembly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate("sandbox", "--scenario", "rollout", f"--boot={seconds}", assembly=assembly)
    assert ended.value.code == 2
    assert (
        f"argument --boot: expected seconds, 0 or more, got '{seconds}'" in capsys.readouterr().err
    )


def test_an_unknown_environment_is_refused_with_those_that_there_are(
    assembly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate("staging", "--scenario", "rollout", assembly=assembly) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "staging: expected an environment, one of production, sandbox\n"


def test_an_unknown_scenario_is_refused_with_those_that_there_are(
    assembly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate("sandbox", "--scenario", "flood", assembly=assembly)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("flood", *SCENARIOS))


def test_a_missing_assembly_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("sandbox", "--scenario", "rollout", assembly=tmp_path / "none") == 1
    assert "none" in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_is_named(
    assembly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nowhere" / "plot.svg"
    assert simulate("sandbox", "--scenario", "rollout", "--plot", str(file), assembly=assembly) == 1
    assert str(file) in capsys.readouterr().err


def test_a_plot_of_another_kind_is_refused(
    assembly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plot.png"
    with pytest.raises(SystemExit) as ended:
        simulate("sandbox", "--scenario", "rollout", "--plot", str(file), assembly=assembly)
    assert ended.value.code == 2
    assert f"expected a name that ends in .svg, got '{file}'" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (69.9, "1:09"), (3600, "60:00")])
def test_moments_are_minutes_and_seconds(seconds: float, words: str) -> None:
    assert clock(seconds) == words
