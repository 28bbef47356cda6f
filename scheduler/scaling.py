"""Service auto scaling: target tracking over a metric of the service's tasks.

Sources, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html
https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
How many datapoints the alarms take is unverified: 3 of a minute above the target, and 15 below
nine tenths of it, are what is seen in the alarms that the policies make.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scheduler.actions import Action, Scale
from scheduler.model import Service

METRIC_SECONDS = 60
OUT_READINGS, IN_READINGS = 3, 15
IN_PART = 0.9


@dataclass(frozen=True, slots=True)
class Policy:
    """A target tracking policy; `metric` is the predefined one's name, cooldowns in seconds."""

    name: str
    metric: str
    target: float
    out_cooldown: float = 300
    in_cooldown: float = 300


@dataclass(eq=False, slots=True)
class Scaler:
    """The policies of one service, and what they have seen."""

    service: str
    minimum: int
    maximum: int
    policies: tuple[Policy, ...]
    is_suspended: bool = False
    scaled_out_at: float = float("-inf")
    scaled_in_at: float = float("-inf")
    measured_at: float = float("-inf")
    readings: dict[str, deque[float]] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Say whether a minute has passed since the last reading."""
        return now >= self.measured_at + METRIC_SECONDS

    def observe(self, values: Mapping[str, float], now: float) -> None:
        """Take a minute's value of each policy's metric, by the policy's name."""
        self.measured_at = now
        for name, value in values.items():
            self.readings.setdefault(name, deque(maxlen=IN_READINGS)).append(value)


def decide(scaler: Scaler, service: Service, running: int, now: float) -> Iterator[Action]:
    """Give the desired count that the policies ask for: the largest that any wants.

    The tasks that run are what is scaled from, and while a deployment goes on nothing scales in.
    """
    if scaler.is_suspended:
        return
    bounded = min(max(service.desired, scaler.minimum), scaler.maximum)
    if bounded != service.desired:
        yield Scale(service.name, bounded, "the bounds of its scalable target")
        return
    wanted = {policy: _wanted(scaler, policy, running) for policy in scaler.policies}
    outs = {policy: count for policy, count in wanted.items() if count and count > running}
    if outs:
        policy = max(outs, key=lambda one: outs[one])
        count = min(outs[policy], scaler.maximum)
        # A cooldown of a scale-out lets a larger one pass, and only such a one is given here.
        if count > service.desired:
            scaler.scaled_out_at = now
            yield Scale(service.name, count, f"{policy.name}: {_last(scaler, policy):.0f}")
        return
    deploys = any(one.rollout == "IN_PROGRESS" for one in service.deployments)
    ins = [count for count in wanted.values() if count is not None and count < running]
    if deploys or len(ins) < len(scaler.policies) or not ins:
        return
    count = max(*ins, scaler.minimum)
    cooled = max(
        scaler.scaled_in_at + max(policy.in_cooldown for policy in scaler.policies),
        scaler.scaled_out_at + max(policy.out_cooldown for policy in scaler.policies),
    )
    if count < service.desired and now >= cooled:
        scaler.scaled_in_at = now
        yield Scale(service.name, count, "below nine tenths of every target")


def _wanted(scaler: Scaler, policy: Policy, running: int) -> int | None:
    """Give the count at which the metric would meet the target; None where neither alarm rings."""
    readings = list(scaler.readings.get(policy.name, ()))
    above = readings[-OUT_READINGS:]
    if len(above) == OUT_READINGS and all(value > policy.target for value in above):
        return -int(-max(running, 1) * above[-1] // policy.target)
    below = readings[-IN_READINGS:]
    if len(below) == IN_READINGS and all(value < policy.target * IN_PART for value in below):
        return -int(-running * below[-1] // policy.target)
    return None


def _last(scaler: Scaler, policy: Policy) -> float:
    return scaler.readings[policy.name][-1]
