"""Measures, once in each of AWS's minutes, what alarms and scaling policies look at.

Counts are of real requests in real time, so a minute's worth is what would come in a real minute.
Each minute has a value: one in which nothing was counted has 0, where CloudWatch has none.
Sources, read 2026-11-25:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rehearsal.balancer import Balancer, Counts
from scheduler.scaling import METRIC_SECONDS
from templates import Value

# What the balancer can count, with the statistic that its counts are; percentiles it has none.
# Of the targets, of the balancer itself, and of their health.
COUNTED = {
    "HTTPCode_Target_5XX_Count": "Sum",
    "HTTPCode_ELB_5XX_Count": "Sum",
    "UnHealthyHostCount": "Maximum",
}
NONE = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0)
_SUM = re.compile(r"SUM\(\[FILL\(\w+, 0\)(, FILL\(\w+, 0\))*\]\)")


@dataclass
class Alarm:
    """An alarm on one of the balancer's counts, over all its target groups (full names).

    Without any, it is on the balancer's own. It rings when that many `datapoints` of the last
    `periods` are above the threshold.
    """

    name: str
    metric: str
    groups: tuple[str, ...]
    threshold: float
    periods: int
    datapoints: int
    values: deque[float] = field(default_factory=deque)

    def observe(self, value: float) -> None:
        """Take a minute's value."""
        self.values.append(value)
        while len(self.values) > self.periods:
            self.values.popleft()

    @property
    def rings(self) -> bool:
        """Whether enough of the last periods were above the threshold."""
        return sum(value > self.threshold for value in self.values) >= self.datapoints


class Meter:
    """Turns the balancer's counters into rates, and tells which alarms ring."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._due = float(METRIC_SECONDS)
        self._counted_at = time.monotonic()
        self._before: Mapping[str, Counts] = {}
        self.alarms: list[Alarm] = []
        # By target group's ARN: requests a minute, and what each metric counted in one.
        self.requests: dict[str, float] = {}
        self.counted: dict[str, dict[str, float]] = {}

    def is_due(self, now: float) -> bool:
        """Say whether another of AWS's minutes has passed."""
        return now >= self._due

    def measure(self, now: float) -> None:
        """Count what has come since the last time."""
        self._due = now + METRIC_SECONDS
        moment = time.monotonic()
        per_minute = 60 / max(moment - self._counted_at, 0.001)
        counted = self._balancer.counters().groups
        targets, own = {}, {}
        for arn, counts in counted.items():
            before = self._before.get(arn, NONE)
            self.requests[arn] = (counts.requests - before.requests) * per_minute
            targets[arn] = (counts.target_5xx - before.target_5xx) * per_minute
            own[arn] = (_own(counts) - _own(before)) * per_minute
        self._before, self._counted_at = counted, moment
        unhealthy = dict.fromkeys(counted, 0.0)
        for (arn, _), health in self._balancer.health().items():
            unhealthy[arn] = unhealthy.get(arn, 0.0) + (health.state == "unhealthy")
        self.counted = dict(zip(COUNTED, (targets, own, unhealthy), strict=True))
        for alarm in self.alarms:
            values = self.counted[alarm.metric]
            wanted = alarm.groups or ("",)
            alarm.observe(sum(values[arn] for arn in values if arn.endswith(wanted)))

    def ringing(self) -> set[str]:
        """Name the alarms that are in ALARM."""
        return {alarm.name for alarm in self.alarms if alarm.rings}


def alarms_of(
    found: Iterator[tuple[str, Mapping[str, Value]]],
) -> tuple[list[Alarm], dict[str, str]]:
    """Read alarms by their names and properties; give the others' names, with why not."""
    played, left = [], {}
    for name, properties in found:
        looked_at = _metrics(properties)
        if why := _why_not(properties, looked_at):
            left[name] = why
            continue
        groups = [
            str(dimension["Value"])
            for one in looked_at
            for dimension in one.dimensions
            if dimension["Name"] == "TargetGroup"
        ]
        periods = int(properties["EvaluationPeriods"])
        played.append(
            Alarm(
                name=name,
                metric=looked_at[0].name,
                groups=tuple(groups),
                threshold=float(properties["Threshold"]),
                periods=periods,
                datapoints=int(properties.get("DatapointsToAlarm") or periods),
            )
        )
    return played, left


@dataclass(frozen=True)
class _Metric:
    name: str
    statistic: str
    dimensions: Sequence[Mapping[str, Value]]


def _metrics(properties: Mapping[str, Value]) -> list[_Metric]:
    """Give the metrics of a minute that an alarm looks at: one, or several and their sum."""
    if properties.get("MetricName"):
        found = [(properties, properties, properties.get("Statistic"))]
    else:
        metrics = properties.get("Metrics") or []
        expressions = [str(one["Expression"]) for one in metrics if one.get("Expression")]
        if len(expressions) != 1 or not _SUM.fullmatch(expressions[0]):
            return []
        stats = [one["MetricStat"] for one in metrics if one.get("MetricStat")]
        found = [(one, one["Metric"], one.get("Stat")) for one in stats]
    if any(stat.get("Period") != METRIC_SECONDS for stat, _, _ in found):
        return []
    return [
        _Metric(str(metric.get("MetricName")), str(statistic), metric.get("Dimensions") or [])
        for _, metric, statistic in found
    ]


def _why_not(properties: Mapping[str, Value], looked_at: Sequence[_Metric]) -> str:
    """Say why an alarm cannot be played; nothing where it can."""
    names = {one.name for one in looked_at}
    if len(names) != 1 or not names <= COUNTED.keys():
        return "nobody measures what it looks at"
    (name,) = names
    if any(one.statistic != COUNTED[name] for one in looked_at):
        return f"of {name} only the {COUNTED[name]} is measured"
    if properties.get("ComparisonOperator") != "GreaterThanThreshold":
        return "only GreaterThanThreshold is played"
    # What is left out is `missing`; it, `breaching` and `ignore` make of an empty minute no 0.
    if properties.get("TreatMissingData") != "notBreaching":
        return "a minute without data is played as notBreaching only"
    return ""


def _own(counts: Counts) -> int:
    return counts.balancer_502 + counts.balancer_503 + counts.balancer_504
