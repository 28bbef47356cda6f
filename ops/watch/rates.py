"""Requests and failures a second: of AWS's minutes, or of the rehearsal's own counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient

# An Application Load Balancer tells CloudWatch once a minute, and only of minutes with requests.
# Source, read 2026-11-25:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
MINUTE = 60
# How much of the past is shown, and how long a minute may take to be told; the second is ours.
MINUTES = 30
LATE_SECONDS = 120
# A metric that is asked for costs: https://aws.amazon.com/cloudwatch/pricing/ (read 2026-11-25).
EVERY_SECONDS = 30
# No shorter time is made a rate of: three requests in 0.1 s are not 30 a second.
SHORTEST_SECONDS = 0.9
# Nobody looked for so long that an average of it would tell nothing.
LONGEST_SECONDS = 10

METRICS = {
    "requests": "RequestCount",
    "by_targets": "HTTPCode_Target_5XX_Count",
    "by_balancer": "HTTPCode_ELB_5XX_Count",
}
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Sample:
    """What was counted in the `span` seconds before `at` (since the epoch), a second each.

    Failures are answers of 5xx, the targets' and the balancer's own.
    """

    at: float
    span: float
    requests: float
    failures: float


class Rates(Protocol):
    """Where rates come from."""

    @property
    def source(self) -> str:
        """Say in words where that is."""
        ...

    def read(self) -> list[Sample]:
        """Give the samples that are new, oldest first."""
        ...


class CloudWatchRates:
    """Asks CloudWatch, twice a minute, for the balancers' minutes; `balancers` gives the ARNs."""

    source = "CloudWatch, in sums of a minute"

    def __init__(
        self,
        client: CloudWatchClient,
        balancers: Callable[[], Sequence[str]],
        *,
        wall: Callable[[], float],
    ) -> None:
        self._client = client
        self._balancers = balancers
        self._wall = wall
        self._asked = 0.0
        self._told = 0.0

    def read(self) -> list[Sample]:
        """Give the minutes that were not given before; raises botocore's errors."""
        now = self._wall()
        balancers = [arn.partition(":loadbalancer/")[2] for arn in self._balancers()]
        if not balancers or now - self._asked < EVERY_SECONDS:
            return []
        self._asked = now
        begin = (now // MINUTE - MINUTES) * MINUTE
        sums = self._sums(balancers, begin, now)
        told = max((moment for one in sums.values() for moment in one), default=0.0)
        # A minute of which nothing is said had no request, unless it is too early to say.
        last = max(told, (now - LATE_SECONDS) // MINUTE * MINUTE)
        samples = []
        for minute in range(int(begin), int(last) + 1, MINUTE):
            if minute + MINUTE <= self._told or minute + MINUTE > now:
                continue
            requests, by_targets, by_balancer = (
                sums.get(name, {}).get(float(minute), 0.0) for name in METRICS
            )
            samples.append(
                Sample(
                    at=minute + MINUTE,
                    span=MINUTE,
                    requests=requests / MINUTE,
                    failures=(by_targets + by_balancer) / MINUTE,
                )
            )
        if samples:
            self._told = samples[-1].at
        return samples

    def _sums(
        self, balancers: Sequence[str], begin: float, end: float
    ) -> dict[str, dict[float, float]]:
        """Ask for the sums by metric and the begin of the minute, over all balancers."""
        queries: Any = [
            {
                "Id": f"{name}_{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/ApplicationELB",
                        "MetricName": metric,
                        "Dimensions": [{"Name": "LoadBalancer", "Value": balancer}],
                    },
                    "Period": MINUTE,
                    "Stat": "Sum",
                },
            }
            for number, balancer in enumerate(balancers)
            for name, metric in METRICS.items()
        ]
        pages = self._client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,
            StartTime=_moment(begin),
            EndTime=_moment(end) + timedelta(seconds=1),
        )
        sums: dict[str, dict[float, float]] = {}
        for page in pages:
            for one in page["MetricDataResults"]:
                of = sums.setdefault(one["Id"].rpartition("_")[0], {})
                for moment, value in zip(one["Timestamps"], one["Values"], strict=True):
                    of[moment.timestamp()] = of.get(moment.timestamp(), 0.0) + value
        return sums


class RehearsalRates:
    """Compares the counters of the rehearsal's balancer, which go up, about once a second.

    `ask` gives them by target group, with the moment in seconds since the epoch.
    """

    source = "the rehearsal's balancer, each second"

    def __init__(self, ask: Callable[[], tuple[float, Counts]]) -> None:
        self._ask = ask
        self._before: tuple[float, Counts] | None = None

    def read(self) -> list[Sample]:
        """Give the time since the last sample, once it is long enough; raises what `ask` does."""
        at, counts = self._ask()
        then, before = self._before or (0.0, {})
        if at - then > LONGEST_SECONDS:
            self._before = at, counts
            return []
        if at - then < SHORTEST_SECONDS:
            return []
        self._before = at, counts
        requests = failures = 0
        for group, now in counts.items():
            old = before.get(group, {})
            # A target group that was made anew counts from nothing.
            requests += max(0, now["requests"] - old.get("requests", 0))
            failures += max(0, now["failures"] - old.get("failures", 0))
        span = at - then
        return [Sample(at=at, span=span, requests=requests / span, failures=failures / span)]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
