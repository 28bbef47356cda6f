"""Rates are what was counted, of the time in which it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops.watch.rates import CloudWatchRates, RehearsalRates, Sample
from tests.conftest import Values

BALANCER = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/boats/1a"
# A minute's begin.
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()


class CloudWatch:
    """Answers of a metric's sums by minutes after NOON, in two pages."""

    def __init__(self, **sums: dict[int, float]) -> None:
        self.sums = sums
        self.asked: list[Values] = []

    def get_paginator(self, operation: str) -> Any:  # noqa: ANN401
        assert operation == "get_metric_data"
        return SimpleNamespace(paginate=self.pages)

    def pages(self, **asked: Any) -> Iterator[Values]:  # noqa: ANN401
        self.asked.append(asked)
        for query in asked["MetricDataQueries"]:
            found = self.sums.get(query["MetricStat"]["Metric"]["MetricName"], {})
            moments = [datetime.fromtimestamp(NOON + 60 * one, UTC) for one in found]
            result = {"Id": query["Id"], "Timestamps": moments, "Values": list(found.values())}
            yield {"MetricDataResults": [result]}


def test_a_minute_of_cloudwatchs_is_divided_by_its_seconds() -> None:
    client = CloudWatch(
        RequestCount={-1: 600.0, 0: 1200.0},
        HTTPCode_Target_5XX_Count={0: 30.0},
        HTTPCode_ELB_5XX_Count={0: 30.0},
    )
    rates = CloudWatchRates(cast(Any, client), lambda: [BALANCER], wall=lambda: NOON + 90)
    *_, before, last = rates.read()
    assert before == Sample(at=NOON, span=60, requests=10.0, failures=0.0)
    assert last == Sample(at=NOON + 60, span=60, requests=20.0, failures=1.0)
    (asked,) = client.asked
    metric = asked["MetricDataQueries"][0]["MetricStat"]["Metric"]
    assert metric["Dimensions"] == [{"Name": "LoadBalancer", "Value": "app/boats/1a"}]


def test_what_cloudwatch_does_not_say_yet_is_not_called_zero() -> None:
    now = NOON + 30
    client = CloudWatch(RequestCount={-3: 60.0})
    rates = CloudWatchRates(cast(Any, client), lambda: [BALANCER], wall=lambda: now)
    samples = rates.read()
    # Of the minute before last it may still speak; that of 11:58 is over for long enough.
    assert samples[-1] == Sample(at=NOON - 60, span=60, requests=0.0, failures=0.0)
    assert samples[-2].requests == 1.0


def test_cloudwatch_is_asked_twice_a_minute_and_says_nothing_twice() -> None:
    clock = [NOON + 90]
    client = CloudWatch(RequestCount={0: 60.0})
    rates = CloudWatchRates(cast(Any, client), lambda: [BALANCER], wall=lambda: clock[0])
    assert rates.read()
    assert rates.read() == []
    assert len(client.asked) == 1
    clock[0] += 30
    assert rates.read() == []
    client.sums["RequestCount"][1] = 120.0
    clock[0] += 30
    assert [one.requests for one in rates.read()] == [2.0]
    assert len(client.asked) == 3


def test_without_a_balancer_nobody_is_asked_and_with_its_first_one_at_once() -> None:
    balancers: list[str] = []
    client = CloudWatch(RequestCount={0: 60.0})
    rates = CloudWatchRates(cast(Any, client), lambda: balancers, wall=lambda: NOON + 90)
    assert rates.read() == []
    assert client.asked == []
    balancers.append(BALANCER)
    assert rates.read()[-1].requests == 1.0


def counted(requests: int, failures: int = 0, group: str = "web") -> Values:
    return {group: {"requests": requests, "failures": failures}}


def test_the_rehearsals_counters_are_compared_about_once_a_second() -> None:
    told = iter([(100.0, counted(50)), (100.5, counted(60)), (101.0, counted(80, 2)),
                 (103.0, counted(80, 2))])  # fmt: skip
    rates = RehearsalRates(lambda: next(told))
    assert rates.read() == []
    assert rates.read() == []
    assert rates.read() == [Sample(at=101.0, span=1.0, requests=30.0, failures=2.0)]
    assert rates.read() == [Sample(at=103.0, span=2.0, requests=0.0, failures=0.0)]


@pytest.mark.parametrize("after", [counted(7), counted(7, group="green")])
def test_a_target_group_that_is_new_or_begins_anew_counts_from_nothing(after: Values) -> None:
    told = iter([(100.0, counted(50)), (101.0, after)])
    rates = RehearsalRates(lambda: next(told))
    rates.read()
    (sample,) = rates.read()
    assert sample.requests == (7.0 if "green" in after else 0.0)


def test_a_time_in_which_nobody_looked_is_no_rate() -> None:
    told = iter([(100.0, counted(50)), (200.0, counted(900)), (201.0, counted(901))])
    rates = RehearsalRates(lambda: next(told))
    assert [rates.read(), rates.read()] == [[], []]
    assert [one.requests for one in rates.read()] == [1.0]
