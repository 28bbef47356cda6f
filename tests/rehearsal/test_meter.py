"""Alarms ring on what the balancer counted, for as many of AWS's minutes as they ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rehearsal.balancer import Counters, Counts, TargetHealth
from rehearsal.meter import Alarm, Meter, alarms_of

GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1"
NONE = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0)
PLAYED = {
    "MetricName": "HTTPCode_Target_5XX_Count", "Threshold": 5, "EvaluationPeriods": 2,
    "Statistic": "Sum", "Period": 60, "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
    "Dimensions": [{"Name": "TargetGroup", "Value": "targetgroup/web/1"}],
}  # fmt: skip


class Counting:
    """A balancer whose counts are set."""

    def __init__(self) -> None:
        self.counts = NONE
        self.states = ["healthy", "healthy"]

    def counters(self) -> Counters:
        return Counters({GROUP: self.counts}, {})

    def health(self) -> dict[tuple[str, str], TargetHealth]:
        return {(GROUP, str(at)): TargetHealth(state) for at, state in enumerate(self.states)}


@pytest.fixture
def balancer() -> Counting:
    return Counting()


@pytest.fixture
def meter(balancer: Counting, monkeypatch: pytest.MonkeyPatch) -> Meter:
    ticking: Any = iter(range(0, 6000, 6))
    monkeypatch.setattr("rehearsal.meter.time.monotonic", lambda: next(ticking))
    return Meter(balancer)  # type: ignore[arg-type]


def test_rates_are_those_of_a_real_minute(meter: Meter, balancer: Counting) -> None:
    balancer.counts = replace(NONE, requests=600, target_5xx=3)
    meter.measure(60)  # six real seconds, at speed 10
    assert meter.requests[GROUP] == pytest.approx(6000)
    assert meter.counted["HTTPCode_Target_5XX_Count"][GROUP] == pytest.approx(30)
    meter.measure(120)
    assert meter.requests[GROUP] == 0


def test_an_alarm_rings_after_all_its_periods_and_no_longer_than_they_last(
    meter: Meter, balancer: Counting
) -> None:
    meter.alarms = [Alarm("errors", "HTTPCode_Target_5XX_Count", ("targetgroup/web/1",), 5, 2, 2)]
    rang = []
    for answered in (0, 10, 10, 0):
        balancer.counts = replace(balancer.counts, target_5xx=balancer.counts.target_5xx + answered)
        meter.measure(0)
        rang.append(meter.ringing())
    assert rang == [set(), set(), {"errors"}, set()]


def test_an_alarm_on_two_of_three_minutes_lets_one_pass_in_between() -> None:
    properties = PLAYED | {"EvaluationPeriods": 3, "DatapointsToAlarm": 2}
    (alarm,), _ = alarms_of(iter([("errors", properties)]))
    rang = []
    for value in (9, 0, 9, 0, 0, 9):
        alarm.observe(value)
        rang.append(alarm.rings)
    assert rang == [False, False, True, False, False, False]


def test_unhealthy_targets_ring_theirs(meter: Meter, balancer: Counting) -> None:
    meter.alarms = [Alarm("unhealthy", "UnHealthyHostCount", ("targetgroup/web/1",), 0, 1, 1)]
    meter.measure(0)
    assert meter.ringing() == set()
    balancer.states = ["healthy", "unhealthy"]
    meter.measure(60)
    assert meter.ringing() == {"unhealthy"}


def test_the_balancers_own_errors_ring_theirs(meter: Meter, balancer: Counting) -> None:
    meter.alarms = [Alarm("own", "HTTPCode_ELB_5XX_Count", (), 10, 1, 1)]
    balancer.counts = replace(NONE, target_5xx=500)
    meter.measure(0)
    assert meter.ringing() == set()
    balancer.counts = replace(balancer.counts, balancer_502=1, balancer_503=1, balancer_504=1)
    meter.measure(60)
    assert meter.ringing() == {"own"}


def test_an_alarm_on_the_sum_of_two_groups_counts_both() -> None:
    def of(group: str, statistic: str = "Sum") -> Any:  # noqa: ANN401 - of a template
        dimensions = [{"Name": "TargetGroup", "Value": f"targetgroup/{group}/1"}]
        metric = {"MetricName": "HTTPCode_Target_5XX_Count", "Dimensions": dimensions}
        return {"Id": group, "MetricStat": {"Metric": metric, "Period": 60, "Stat": statistic}}

    both: dict[str, Any] = {
        "Metrics": [{"Expression": "SUM([FILL(a, 0), FILL(b, 0)])"}, of("a"), of("b")],
        "Threshold": 5, "EvaluationPeriods": 2, "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }  # fmt: skip
    (alarm,), left = alarms_of(iter([("errors", both)]))
    assert alarm.groups == ("targetgroup/a/1", "targetgroup/b/1")
    assert not left
    difference = both | {"Metrics": [{"Expression": "a - b"}, of("a"), of("b")]}
    averages = both | {"Metrics": [both["Metrics"][0], of("a"), of("b", "Average")]}
    found, left = alarms_of(iter({"difference": difference, "averages": averages}.items()))
    assert not found
    assert list(left) == ["difference", "averages"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"MetricName": "TargetResponseTime"}, "nobody measures what it looks at"),
        ({"Period": 3600}, "nobody measures what it looks at"),
        ({"ComparisonOperator": "LessThanThreshold"}, "only GreaterThanThreshold is played"),
        ({"Statistic": "Average"}, "of HTTPCode_Target_5XX_Count only the Sum is measured"),
        ({"TreatMissingData": "breaching"}, "without data is played as notBreaching only"),
        ({"TreatMissingData": None}, "without data is played as notBreaching only"),
    ],
)
def test_an_alarm_that_would_ring_otherwise_on_aws_is_named_with_why(
    changed: dict[str, Any], why: str
) -> None:
    found, left = alarms_of(iter({"errors": PLAYED, "other": PLAYED | changed}.items()))
    (alarm,) = found
    assert (alarm.name, alarm.threshold) == ("errors", 5)
    assert (alarm.periods, alarm.datapoints) == (2, 2)
    assert list(left) == ["other"]
    assert why in left["other"]
