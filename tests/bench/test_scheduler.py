"""The scheduler's benchmark measures what it says, on clusters small enough for a test."""

from __future__ import annotations

import pytest

from bench import scheduler
from bench.report import BenchError
from bench.scheduler import NAIVE, OURS, PARTS, Pass, allowed, greedy, mix, packing, same

PASSES = {
    1_000: [Pass(0.01, 0.1)] * 3,
    10_000: [Pass(0.2, 0.8), Pass(0.1, 1.0), Pass(9.0, 0.9)],
    100_000: [Pass(1.5, 15.0)] * 3,
}


def test_the_scheduler_chooses_as_the_naive_rule_does() -> None:
    same(1_000)


def test_another_choice_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "naive", lambda tasks: greedy(tasks)[::-1])
    with pytest.raises(BenchError, match="expected the naive rule's host for task 0, got another"):
        same(1_000)


def test_no_task_of_the_mix_is_larger_than_an_eighth_of_a_host() -> None:
    needs = mix(1_000)
    assert sum(number for _, number in needs) == 1_000
    assert len(needs) == len(PARTS)
    for need, _ in needs:
        assert need.memory * 8 <= scheduler.HOST.memory
        assert need.cpu * 8 <= scheduler.HOST.cpu


def test_binpack_fills_hosts_one_after_the_other() -> None:
    used, least = packing(2_000)
    assert least <= used <= least * 1.02


def test_a_pass_places_and_rolls_out_every_task() -> None:
    found = scheduler.deploy(200)
    assert found.look > 0
    assert found.rollout > 0


def test_the_report_has_medians_growth_and_verdicts() -> None:
    outcome = scheduler.report({OURS: [0.1], NAIVE: [2.0]}, PASSES, (458, 457), 3)
    assert outcome.ratio == 0.05
    lines = outcome.table.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("10000 ")]
    assert row == ["10000", "1000", "0.200", "20.0", "0.900", "9.0", "140"]
    assert "place 10000, books and events included, at most 1: met" in lines
    assert "rollout of 10000, at most 20: met" in lines
    assert "growth, at most n log n: met" in lines
    assert lines[-1].endswith("458 where CPU and memory ask for 457, at most 1.02: met times that")


def test_a_missed_target_is_said() -> None:
    slow = {**PASSES, 10_000: [Pass(1.1, 21.0)], 100_000: [Pass(500.0, 15.0)]}
    said = scheduler.report({OURS: [0.1], NAIVE: [2.0]}, slow, (500, 457), 3).table
    assert said.count("MISSED") == 4


def test_n_log_n_is_of_tasks_times_hosts() -> None:
    assert allowed(1_000, 10_000) == pytest.approx(100 * 7 / 5)
