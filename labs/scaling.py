"""Lab 8: more tasks, then more hosts; no room, and how it comes; down to nothing, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from labs import services
from labs.lab import Item, Lab, Remembered
from labs.place import Place

NO_ROOM = "was unable to place a task"
# What that event says of an instance that is too full, where it says it of an instance at all.
TOO_FULL = "has insufficient"


def begin(place: Place) -> Remembered:
    """Remember the service, its bounds, and the group's size."""
    group = place.describe_group()
    return services.remember(place) | {
        "sizes": services.sizes(place),
        "capacity": group["DesiredCapacity"],
        "smallest": group["MinSize"],
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for a task without room, an instance that came for it, nothing at all, and the start."""
    group = place.describe_group()
    larger = len(group["Instances"]) > remembered["capacity"]
    yield _no_room(place, remembered, larger=larger)
    if larger and "seen_no_room" in remembered:
        remembered["seen_larger"] = len(group["Instances"])
    yield (
        Item(True, f"the group grew to {remembered['seen_larger']} instances for it")
        if "seen_larger" in remembered
        else Item(
            False,
            f"no check has seen more than {remembered['capacity']} instances after that; check "
            "while the tasks without room have theirs",
        )
    )
    yield _zero(place, remembered)
    yield _sized(place, remembered)
    yield services.is_steady(place, remembered)
    yield from services.are_sized(place, remembered["sizes"])


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Give the bounds, the group and the service their sizes of the start."""
    yield from services.put_back_sizes(place, remembered["sizes"])
    group = place.describe_group()
    size = (group["MinSize"], group["DesiredCapacity"])
    if size != (remembered["smallest"], remembered["capacity"]):
        place.aws.autoscaling.update_auto_scaling_group(
            AutoScalingGroupName=place.group,
            MinSize=remembered["smallest"],
            DesiredCapacity=remembered["capacity"],
        )
        yield f"The group has {remembered['capacity']} instances again."
    yield from services.put_back(place, remembered)


def _no_room(place: Place, remembered: MutableMapping[str, Any], *, larger: bool) -> Item:
    """Whether the service said that no instance had room for a task."""
    for message in services.new_events(place, remembered):
        if NO_ROOM in message and TOO_FULL in message:
            remembered["seen_no_room"] = message
    if "seen_no_room" in remembered:
        return Item(True, "a task found no room, and the service's events say why")
    if larger:
        return Item(
            False,
            "the group has more instances than at the start, and no task was ever without room: "
            "do not enlarge the group, ask for tasks and let the capacity provider do it",
        )
    return Item(
        False,
        "every task found room so far: ask for more, or larger ones, than the instances hold "
        "(aws ecs update-service)",
    )


def _zero(place: Place, remembered: MutableMapping[str, Any]) -> Item:
    """Whether a check has seen neither a task nor an instance."""
    found = [place.describe_service(name) for name in remembered["sizes"]]
    tasks = sum(one["runningCount"] + one["pendingCount"] for one in found)
    instances = len(place.describe_group()["Instances"])
    if not (any(one["desiredCount"] for one in found) or tasks or instances):
        remembered["seen_zero"] = True
    if "seen_zero" in remembered:
        return Item(True, "services and group were at zero")
    return Item(
        False,
        f"no check has seen services and group at zero; they have {tasks} tasks and {instances} "
        "instances now",
    )


def _sized(place: Place, remembered: Remembered) -> Item:
    """Whether the group has its size of the start, and all of it in service."""
    group, wanted = place.describe_group(), remembered["capacity"]
    if group["MinSize"] != remembered["smallest"]:
        return Item(
            False,
            f"the group's smallest size is {group['MinSize']}, not {remembered['smallest']}: "
            "aws autoscaling update-auto-scaling-group --min-size",
        )
    states = [one["LifecycleState"] for one in group["Instances"]]
    if states != ["InService"] * wanted:
        return Item(
            False,
            f"the group has {len(states)} instances ({states.count('InService')} in service), at "
            f"the start {wanted}; managed scaling takes 15 minutes of AWS's to end idle ones",
        )
    return Item(True, f"the group has {wanted} instances in service, as at the start")


LAB = Lab(
    number=8,
    title="Scaling: tasks, then hosts",
    minutes=20,
    page="08-scaling.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "The service asks for tasks; the capacity provider sees those that find no room and asks "
        "the group for instances. Change the first, watch the second.",
        "Room is what tasks reserve, not what they use: a task definition with a larger "
        "memoryReservation fills an instance at once.",
        "Check while three instances are there, and again while there are none: afterwards nobody "
        "can tell.",
        "Three numbers keep you from zero: the service's desired count, the smallest count of its "
        "scalable target, the group's smallest size. All three must be put back.",
    ),
)
