"""The arithmetic of the tables, the ratios and the verdicts."""

from __future__ import annotations

import pytest

from bench import load, report, service, synth
from bench.report import BenchError, Target
from bench.synth import CHECKED, DEFAULT, EMPTY, OURS, PLAIN, Cost


def test_a_ratio_is_that_of_the_medians_not_of_the_means() -> None:
    assert report.ratio([4.0, 2.0, 100.0], [2.0, 1.0, 2.0]) == 2.0


@pytest.mark.parametrize(("ours", "theirs"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_no_ratio_is_made_of_nothing(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(BenchError, match="expected rounds on both sides"):
        report.ratio(ours, theirs)


def test_a_target_is_met_up_to_its_bound() -> None:
    assert Target(2.5).judge(2.5) == "at most 2.5: met"
    assert Target(2.5).judge(2.51) == "at most 2.5: MISSED"
    assert Target(2.0, least=True).judge(2.0) == "at least 2: met"
    assert Target(2.0, least=True).judge(1.99) == "at least 2: MISSED"


def test_columns_stand_under_their_heads() -> None:
    assert report.table(["", "wall"], [["ours", "7.25"], ["longer", "10.00"]]).splitlines() == [
        "         wall",
        "ours     7.25",
        "longer  10.00",
    ]
    with pytest.raises(ValueError, match="expected 2 cells"):
        report.table(["", "wall"], [["ours"]])


def test_rounds_interleave_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    found = report.interleave({"a": lambda: measure("a"), "b": lambda: measure("b")}, 2)
    assert order == ["a", "b"] * 3
    assert found == {"a": [3, 5], "b": [4, 6]}


def test_synth_gives_the_ratio_of_the_walls_with_all_checks() -> None:
    seconds = {OURS: (9.0, 3.0), DEFAULT: (6.0, 1.5), EMPTY: (4.5, 1.0)}
    costs = {
        f"{name}, {setting}": [Cost(wall, 2 * wall)]
        for name, walls in seconds.items()
        for setting, wall in zip((CHECKED, PLAIN), walls, strict=True)
    }
    outcome = synth.report(costs, 1)
    assert outcome.ratio == 1.5
    assert f"{CHECKED}: 1.50, at most 2.5: met" in outcome.table
    assert f"{PLAIN}: 2.00, at most 1.8: MISSED" in outcome.table
    row = next(line for line in outcome.table.splitlines() if line.startswith(OURS))
    assert row.split()[-4:] == ["9.00", "18.00", "3.00", "6.00"]


def test_synth_runs_the_project_with_the_options_of_its_own_command() -> None:
    assert synth.python_options('PATH="$PWD/.venv/bin:$PATH" python app.py') == []
    assert synth.python_options("python -X dev -O app.py") == ["-X", "dev", "-O"]
    with pytest.raises(BenchError, match="expected `python app"):
        synth.python_options("node app.js")


def answered(requests: int, p99: float, cpu: float = 3.0) -> service.Answered:
    return service.Answered(
        requests=requests,
        cpu_seconds=cpu,
        seconds=3.0,
        p99_ms=p99,
        peak_mib=40.0,
        resident_mib=50.0,
        start_seconds=0.4,
        run_seconds=0.9,
    )


def test_service_gives_the_ratio_of_requests_for_each_second_of_cpu() -> None:
    found = {
        service.OURS: [answered(30_000, 4.0), answered(15_000, 5.0, cpu=1.5)],
        service.FASTAPI: [answered(12_000, 9.0)],
        service.NGINX: [answered(60_000, 1.0)],
    }
    layers = {service.OURS: 31.0, service.FASTAPI: 33.0, service.NGINX: 11.0}
    outcome = service.report(found, layers)
    assert outcome.ratio == 2.5
    assert "times nginx's: 0.50" in outcome.table
    assert "p99, times FastAPI's: 0.50, at most 1: met" in outcome.table
    assert "image layers above the base, MiB: 31.00, at most 30: MISSED" in outcome.table
    assert f"{service.OURS} got 0.75 of its core" in outcome.table


@pytest.mark.parametrize(
    ("text", "cpu"),
    [
        ("usage_usec 1500000\nuser_usec 1\n41943040\nVmHWM:\t  1024 kB\n", 1.5),
        ("usage_nsec 1500000000\n41943040\nVmHWM:\t  1000 kB\nVmHWM:\t    24 kB\n", 1.5),
    ],
)
def test_the_counters_of_either_version_of_cgroups_are_read(text: str, cpu: float) -> None:
    assert service.parse_counters(text) == service.Counters(cpu, 40 * 1024**2, 1024**2)


def test_counters_that_are_not_there_are_an_error() -> None:
    with pytest.raises(BenchError, match="expected a cgroup's counters"):
        service.parse_counters("cat: no such file\n")


WRK = """Running 3s test @ http://172.17.0.2:8080/identity
  Latency Distribution
     50%    1.52ms
     99%  980.00us
  40000 requests in 3.10s, 20.00MB read
"""


def test_what_wrk_says_is_read_in_milliseconds() -> None:
    assert load.parse_wrk(WRK) == load.Load(requests=40_000, failed=0, p99_ms=0.98)


def test_every_kind_of_failure_that_wrk_counts_is_one() -> None:
    failures = (
        "  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 4\n"
    )
    assert load.parse_wrk(WRK + failures).failed == 10
    with pytest.raises(BenchError, match="expected its report"):
        load.parse_wrk("unable to connect")


def test_a_percentile_is_one_of_the_times() -> None:
    times = [float(number) for number in range(100, 0, -1)]
    assert load.percentile(times, 0.99) == 99.0
    assert load.percentile([7.0], 0.99) == 7.0
