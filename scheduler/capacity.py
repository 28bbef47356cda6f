"""EC2 capacity: managed scaling, the Auto Scaling group, instance refresh, and managed draining.

Sources, read 2026-11-24, unless a rule names another:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-scaling-behavior.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-instance-draining.html
https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-overview.html
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from random import Random

from scheduler.actions import (
    Action,
    Drain,
    EndInstance,
    Launch,
    Measure,
    Protect,
    Refreshed,
    Resize,
    Terminate,
)
from scheduler.model import Group, Instance, InstanceKind, ManagedScaling, Reading, Refresh, Task
from scheduler.placement import Request, place
from scheduler.scaling import METRIC_SECONDS
from scheduler.state import State

# Datapoints below the target before a scale-in, and the wait after a scale-out.
SCALE_IN_READINGS = 15
SCALE_IN_SECONDS = 15 * 60
# An empty cluster; unverified: the post that gives these two was read in quotations only,
# https://aws.amazon.com/blogs/containers/deep-dive-on-amazon-ecs-cluster-auto-scaling/
NOTHING_NEEDED, FROM_ZERO = 100.0, 200.0
# "Always scales-out to two instances initially" from none.
FIRST_INSTANCES = 2
# Managed draining waits no longer for an instance to become empty.
DRAIN_SECONDS = 48 * 3600
# A refresh that nothing moves fails after that.
BLOCKED_SECONDS = 3600


def decide(state: State, group: Group, now: float) -> Iterator[Action]:
    """Give what one group and its capacity provider need now."""
    if group.scaling is not None:
        yield from _protect(state, group)
        if not group.readings or now >= group.readings[-1].at + METRIC_SECONDS:
            reading = measure(state, group, now)
            yield Measure(group.name, reading.value, reading.needed, reading.running)
            yield from _scale(state, group, group.scaling, now)
    yield from _end(state, group, now)
    if group.refresh is not None and group.refresh.status == "InProgress":
        yield from _refresh(state, group, group.refresh, now)
    else:
        yield from _balance(state, group)
    yield from _size(state, group)


def members(state: State, group: Group, *, leaving: bool = False) -> list[Instance]:
    """Give a group's instances; those that are on their way out only with `leaving`."""
    return [
        one
        for one in state.instances.values()
        if one.group == group.name and (leaving or one.lifecycle != "Terminating:Wait")
    ]


def measure(state: State, group: Group, now: float) -> Reading:
    """Take CapacityProviderReservation, M / N x 100: instances needed over instances running.

    Instances that boot count on both sides, so that nothing is asked for twice (unverified).
    """
    instances = members(state, group)
    running = len(instances)
    waiting = [task for task in state.waiting.values() if task.provider == group.provider]
    if waiting:
        more = additional_instances(group, waiting, state.random)
        if more is None:
            target = group.scaling.target if group.scaling else 100
            return Reading(now, float(target), running, running)
        booting = sum(one.lifecycle == "Pending" for one in instances)
        needed = max(running - booting + more, running)
    else:
        needed = sum(bool(one.tasks) or one.lifecycle == "Pending" for one in instances)
    return Reading(now, _reservation(needed, running), needed, running)


def _reservation(needed: int, running: int) -> float:
    if running == 0:
        return FROM_ZERO if needed else NOTHING_NEEDED
    return 100.0 * needed / running


def additional_instances(group: Group, waiting: Iterable[Task], random: Random) -> int | None:
    """Count the instances of the largest kind that those tasks would fill; None if they fit none.

    A task that the smallest kind cannot hold is not compatible and is left out. Smallest and
    largest are taken for each resource by itself, as the page says.
    """
    smallest, largest = _extreme(group.kinds, min), _extreme(group.kinds, max)
    compatible: Counter[Request] = Counter()
    for task in waiting:
        need = task.definition
        if (
            need.cpu <= smallest.cpu
            and need.memory <= smallest.memory
            and need.interfaces <= smallest.interfaces
            and need.dynamic_ports <= smallest.dynamic_ports
        ):
            compatible[Request(need, task.group, (), task.constraints)] += 1
    if not compatible:
        return None
    opened = 0
    for request, count in compatible.items():
        left = count
        while left > 0:
            fresh = Instance(f"needed-{opened}", largest, group.zones[0])
            fresh.status = "ACTIVE"
            held = len(place(request, left, [fresh], random=random))
            if held == 0:
                break  # a constraint that no instance of the group fulfils
            opened += 1
            left -= held
    return opened or None


def _extreme(kinds: Iterable[InstanceKind], choose: Callable[[Iterable[int]], int]) -> InstanceKind:
    every = list(kinds)
    return InstanceKind(
        every[0].name,
        cpu=choose(one.cpu for one in every),
        memory=choose(one.memory for one in every),
        interfaces=choose(one.interfaces for one in every),
        dynamic_ports=choose(one.dynamic_ports for one in every),
        attributes=every[0].attributes,
    )


def _scale(state: State, group: Group, scaling: ManagedScaling, now: float) -> Iterator[Action]:
    last = group.readings[-1]
    wanted = -(-last.needed * 100 // scaling.target)
    why = f"reservation {last.value:.0f} per cent"
    if last.value > scaling.target and last.needed:
        # "Now minus the instance launch time", and until that is over nothing is added.
        warming = any(
            now < one.launched_at + scaling.warmup_seconds for one in members(state, group)
        )
        step = min(max(wanted - last.running, scaling.minimum_step), scaling.maximum_step)
        desired = min(last.running + step if last.running else FIRST_INSTANCES, group.maximum)
        if desired > group.desired and not warming:
            yield Resize(group.name, desired, why)
        return
    recent = list(group.readings)[-SCALE_IN_READINGS:]
    quiet = len(recent) == SCALE_IN_READINGS and all(one.value < scaling.target for one in recent)
    waited = group.scaled_out_at is None or now >= group.scaled_out_at + SCALE_IN_SECONDS
    if quiet and waited and last.running == group.desired:
        # What any of those minutes needed stays, so that no moment of a refresh takes hosts away;
        # that is unverified. "Less than 50 per cent each minute" is the page's, one at least.
        wanted = -(-max(one.needed for one in recent) * 100 // scaling.target)
        fewest = last.running - max(1, (last.running - 1) // 2)
        desired = max(wanted, group.minimum, fewest)
        if desired < group.desired:
            yield Resize(group.name, desired, why)


def _protect(state: State, group: Group) -> Iterator[Action]:
    """Under managed termination protection, protect the instances that have tasks.

    Source, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-termination-protection.html
    """
    if not group.protects:
        return
    for one in members(state, group):
        wanted = bool(one.tasks)
        if one.lifecycle == "InService" and one.is_protected != wanted:
            yield Protect(one.id, wanted)


def _size(state: State, group: Group) -> Iterator[Action]:
    """Launch what is missing, end what is too much; a refresh has its own bounds.

    What boots is not yet there for what ends: a rebalancing launches first.
    """
    there = members(state, group)
    missing = group.desired - len(there)
    yield from _launch(state, group, there, missing)
    booting = sum(one.lifecycle == "Pending" for one in there)
    beyond = -missing - booting
    if beyond > 0 and not (group.refresh and group.refresh.status == "InProgress"):
        for one in termination_order(group, there)[:beyond]:
            yield EndInstance(one.id, "desired capacity")


def _balance(state: State, group: Group) -> Iterator[Action]:
    """Launch in a zone that has too few, such as one that is back; `_size` then ends another.

    Where nothing can end, since all is protected, nothing is launched; that is unverified.
    Source, read 2026-11-24:
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html
    """
    every = members(state, group, leaving=True)
    zones = [zone for zone in group.zones if zone not in group.lost_zones]
    if len(every) != group.desired or any(one.lifecycle != "InService" for one in every):
        return
    counts = Counter(one.zone for one in every)
    fewest, most = (choose((counts[zone] for zone in zones), default=0) for choose in (min, max))
    can_end = any(counts[one.zone] == most and not one.is_protected for one in every)
    # "10 percent or one instance, whichever is greater" beyond the maximum.
    limit = group.maximum + max(1, group.maximum // 10)
    if most - fewest > 1 and can_end and len(every) < limit:
        yield from _launch(state, group, every, 1)


def _launch(
    state: State, group: Group, balanced: Iterable[Instance], count: int
) -> Iterator[Action]:
    """Launch in the zones with the fewest; nothing boots in a zone that is lost.

    Of several instance types it is always the first: what EC2 has of each is not played.
    """
    zones = [zone for zone in group.zones if zone not in group.lost_zones]
    if not zones or group.is_exhausted:
        return
    counts = Counter(one.zone for one in balanced)
    for _ in range(count):
        zone = min(zones, key=lambda name: (counts[name], zones.index(name)))
        counts[zone] += 1
        yield Launch(next(state.ids), group.name, zone, 0, group.template)


def termination_order(group: Group, instances: Iterable[Instance]) -> list[Instance]:
    """Give the unprotected instances in the order in which a scale-in ends them.

    From the zone with the most, an outdated template first, then the oldest. Source, read
    2026-11-24: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html
    The page's billing hour is left out: instances are billed by the second.
    """
    zones: Counter[str] = Counter()
    left: dict[str, list[Instance]] = defaultdict(list)
    for one in instances:
        zones[one.zone] += 1
        if not one.is_protected:
            left[one.zone].append(one)

    def rank(one: Instance) -> tuple[bool, float, str]:
        return one.template == group.template, one.launched_at, one.id

    for found in left.values():
        found.sort(key=rank, reverse=True)
    order: list[Instance] = []
    while left:
        zone = min(left, key=lambda name: (-zones[name], rank(left[name][-1])))
        order.append(left[zone].pop())
        zones[zone] -= 1
        if not left[zone]:
            del left[zone]
    return order


def _end(state: State, group: Group, now: float) -> Iterator[Action]:
    """Drain what leaves the group, and terminate it when it is empty, or after 48 hours."""
    for one in members(state, group, leaving=True):
        if one.lifecycle != "Terminating:Wait":
            continue
        if not group.drains or one.status == "REGISTERING":
            yield Terminate(one.id)
        elif one.status == "ACTIVE":
            yield Drain(one.id)
        elif not one.tasks or now >= one.draining_at + DRAIN_SECONDS:
            yield Terminate(one.id)


def _refresh(state: State, group: Group, refresh: Refresh, now: float) -> Iterator[Action]:
    """Replace instances within the minimum and maximum healthy percentage.

    With 100 and 200 per cent new ones start first, and old ones go when those serve; with a
    minimum below 100 and no more than 100 at most, old ones go first, one at least. What is
    terminating counts for neither bound.
    """
    every = members(state, group, leaving=True)
    there = [one for one in every if one.lifecycle != "Terminating:Wait"]
    old = [one for one in there if is_outdated(group, one)]
    if refresh.protected == "Ignore":
        old = [one for one in old if not one.is_protected]
    warm = sum(is_warm(group, one, now) for one in there)
    if not old:
        if warm >= group.desired and len(every) == len(there):
            yield Refreshed(group.name, "Successful")
        return
    going = [one for one in old if refresh.protected == "Refresh" or not one.is_protected]
    lower = -(-group.desired * group.minimum_healthy_percent // 100)
    upper = max(group.desired * group.maximum_healthy_percent // 100, group.desired + 1)
    if group.minimum_healthy_percent < 100 >= group.maximum_healthy_percent:
        lower, upper = min(lower, group.desired - 1), group.desired
    new = [one for one in there if not is_outdated(group, one)]
    missing = len(going) + group.desired - len(there)
    yield from _launch(state, group, new, min(missing, upper - len(there)))
    for one in sorted(going, key=lambda one: (one.launched_at, one.id))[: max(0, warm - lower)]:
        yield EndInstance(one.id, "instance refresh")
    if now >= refresh.moved_at + BLOCKED_SECONDS and warm == len(every):
        yield Refreshed(group.name, "Failed")


def is_outdated(group: Group, instance: Instance) -> bool:
    """Say whether a refresh replaces it: another template, or one that it names."""
    refresh = group.refresh
    named = refresh is not None and instance.id in refresh.every
    return named or instance.template != group.template


def is_warm(group: Group, instance: Instance, now: float) -> bool:
    """Say whether it is in service for as long as the group's warm-up."""
    return (
        instance.lifecycle == "InService" and now >= instance.in_service_at + group.warmup_seconds
    )
