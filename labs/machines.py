"""Lab 2: what a virtual machine costs to start and to keep beside a container, by measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.lab import Item, Lab, Remembered
from labs.place import Place
from ops.cli import PROJECT
from ops.environment import Failed
from ops.prices import HOURS_A_MONTH, INSTANCES

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import ContainerInstanceTypeDef

# Written by: python -m bench machines
MEASURED = PROJECT / ".build" / "machines" / "measured.json"
MEASURE = "python -m bench machines --rounds 3"
ENGINES = ("docker", "podman")
MACHINE, RECORDED = "virtual machine", "recorded"
# A hundredth for what was rounded on the way.
ROUNDED = 0.01
ANSWERS_FILE = "2.answers"
ANSWERS = ("fit", "limit", "vms_month", "times")


def begin(place: Place) -> Remembered:
    """Remember when was last measured, and begin with no answers."""
    path = answers_file(place)
    path.unlink(missing_ok=True)
    # Answers are written there by `echo`, which makes no folder.
    path.parent.mkdir(parents=True, exist_ok=True)
    return {"measured_at": _measured().get("at")}


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Hold the answers against the measurement, what the instances register, and the prices."""
    measured = _measured()
    yield from _measurements(measured, remembered.get("measured_at"))
    answers, faults = _answers(answers_file(place))
    for fault in faults:
        yield Item(False, fault)
    instance, fits = _fits(place)
    yield _fit(answers, fits)
    yield _limit(answers, fits)
    yield _price(answers, min(fits.values()), _type(instance))
    yield _times(answers, measured)


def reset(place: Place, _remembered: Remembered) -> Iterator[str]:
    """Remove the answers; the measurement stays, as any other build's result."""
    path = answers_file(place)
    if path.exists():
        path.unlink()
        yield f"{path.name}: the answers are removed."


def answers_file(place: Place) -> Path:
    """Name the file of the answers, a line each: name=value."""
    return place.notes / ANSWERS_FILE


def _measurements(measured: Mapping[str, Any], before: float | None) -> Iterator[Item]:
    if measured.get("at") in (None, before):
        yield Item(False, f"nothing was measured since the lab's start: {MEASURE}")
        return
    starts = measured["starts"]
    for name in ENGINES:
        if name in starts:
            yield Item(True, f"{name}: {_told(starts[name])}")
    if measured["machine"] == RECORDED:
        yield Item(
            True,
            f"{MACHINE}: {_told(measured['recorded'][MACHINE])}, recorded elsewhere; with qemu "
            "installed it would be measured",
        )
    else:
        yield Item(True, f"{MACHINE} ({measured['machine']}): {_told(starts[MACHINE])}")


def _told(start: Mapping[str, float]) -> str:
    return f"{start['seconds']:.2f} s, {start['mib']:.0f} MiB"


def _fit(answers: Mapping[str, str], fits: Mapping[str, int]) -> Item:
    answer = _number(answers, "fit")
    if isinstance(answer, Item):
        return answer
    if answer == min(fits.values()):
        return Item(True, f"fit: {answer:g} of the service's tasks fit on one empty instance")
    if answer in fits.values():
        return Item(
            False,
            f"fit: {answer:g} would fit if nothing else ran out first; divide each of "
            f"{' and '.join(name.upper() for name in fits)}, and take the least",
        )
    return Item(
        False,
        f"fit: {answer:g} is not what follows; divide registeredResources (CPU and MEMORY, each "
        "rounded down) by the task's cpu and memory, and take the least",
    )


def _limit(answers: Mapping[str, str], fits: Mapping[str, int]) -> Item:
    least = min(fits.values())
    answer = answers.get("limit", "").lower()
    if not answer:
        return _lacks("limit")
    if answer not in fits:
        return Item(False, f"limit: expected one of {', '.join(fits)}, got {answer}")
    if fits[answer] == least:
        others = [name for name, fit in fits.items() if fit == least and name != answer]
        also = f", and {' and '.join(others)} with it" if others else ""
        return Item(True, f"limit: {answer} runs out first{also}")
    return Item(False, f"limit: {answer} is not what runs out first; compare the quotients")


def _price(answers: Mapping[str, str], fit: int, kind: str) -> Item:
    answer = _number(answers, "vms_month")
    if isinstance(answer, Item):
        return answer
    price = INSTANCES.get(kind)
    if price is None:
        return Item(
            answer > 0,
            f"vms_month: docs/cost.md has no price for {kind}, so {answer:g} was not compared"
            + ("" if answer > 0 else "; but machines cost more than nothing"),
        )
    right, one = price * HOURS_A_MONTH * fit, price * HOURS_A_MONTH
    if math.isclose(answer, right, rel_tol=ROUNDED):
        return Item(True, f"vms_month: ${right:.2f} for {fit} machines, ${one:.2f} for the one")
    if math.isclose(answer, one, rel_tol=ROUNDED):
        return Item(False, f"vms_month: ${answer:.2f} is one {kind}; each container has its own")
    if answers["vms_month"] == f"{right:.2f}"[1:]:
        return Item(
            False,
            f"vms_month: {answer:g} is what a shell leaves of ${right:.2f} in double quotes; write "
            "the number alone",
        )
    return Item(
        False,
        f"vms_month: {answer:g} is not what follows; as many {kind} as containers fit on one, each "
        f"{HOURS_A_MONTH} hours, at docs/cost.md's price",
    )


def _times(answers: Mapping[str, str], measured: Mapping[str, Any]) -> Item:
    answer = _number(answers, "times")
    if isinstance(answer, Item):
        return answer
    if not measured:
        return Item(False, f"times: nothing was measured to compare with: {MEASURE}")
    # Both of one machine: numbers of two say nothing of each other.
    is_recorded = measured["machine"] == RECORDED
    starts = measured["recorded" if is_recorded else "starts"]
    machine, container = starts[MACHINE]["seconds"], _container_seconds(starts)
    right = machine / container
    if math.isclose(answer, right, rel_tol=ROUNDED, abs_tol=0.06):
        return Item(True, f"times: a machine takes {right:.1f} times as long as a container")
    if math.isclose(answer, 1 / right, rel_tol=ROUNDED):
        return Item(False, f"times: {answer:g} is a container's over a machine's; turn it around")
    own = _container_seconds(measured["starts"])
    if is_recorded and own and math.isclose(answer, machine / own, rel_tol=ROUNDED):
        return Item(
            False,
            f"times: {answer:g} is the recorded machine's {machine:.2f} s by your own container's "
            f"{own:.2f} s, of two computers; take the container's recorded {container:.2f} s",
        )
    return Item(
        False,
        f"times: {answer:g} is not what was measured; divide the machine's seconds by the "
        f"container's in {MEASURED.name}, both{' recorded' if is_recorded else ''}, or read the "
        f"last line of {MEASURE}",
    )


def _container_seconds(starts: Mapping[str, Any]) -> float:
    """Give what a container took, Docker's where there is one; 0 where there is none."""
    return float(next((starts[name]["seconds"] for name in ENGINES if name in starts), 0))


def _number(answers: Mapping[str, str], name: str) -> float | Item:
    """Read an answer as a number, or give the item that says why there is none."""
    if name not in answers:
        return _lacks(name)
    try:
        return float(answers[name].lstrip("$"))
    except ValueError:
        return Item(False, f"{name}: expected a number, got {answers[name]!r}")


def _lacks(name: str) -> Item:
    return Item(
        False,
        f'{name}: there is no answer; echo "{name}=..." >> "$NOTES/{ANSWERS_FILE}"',
    )


def _answers(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read the answers, the last of each name, and say which lines are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}, []
    found, faults = {}, []
    for line in filter(str.strip, lines):
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals and name in ANSWERS:
            found[name] = value
        else:
            faults.append(f"{line!r}: expected name=value with one of {', '.join(ANSWERS)}")
    return found, faults


def _measured() -> Mapping[str, Any]:
    """Give what was measured last, or nothing."""
    try:
        found: Mapping[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failed(f"{MEASURED}: expected JSON ({error}); measure again: {MEASURE}") from error
    return found


def _fits(place: Place) -> tuple[ContainerInstanceTypeDef, Mapping[str, int]]:
    """Give an instance, and how many tasks of the service each of its resources allows, if empty.

    A task takes what it asks for as a whole, else its containers' CPU units, and of memory what
    they reserve, else their limit.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
    and API_TaskDefinition.html beside it
    """
    instances = place.instances()
    if not instances:
        raise Failed(f"{place.cluster}: expected a container instance, got none; wait for one")
    has = {one["name"]: one["integerValue"] for one in instances[0]["registeredResources"]}
    definition = place.aws.ecs.describe_task_definition(
        taskDefinition=place.describe_service()["taskDefinition"]
    )["taskDefinition"]
    containers = definition["containerDefinitions"]
    # A container without CPU units takes none, and then they limit nothing.
    takes = {
        "cpu": int(definition.get("cpu") or 0) or sum(one.get("cpu", 0) for one in containers),
        "memory": int(definition.get("memory") or 0)
        or sum(one.get("memoryReservation") or one.get("memory", 0) for one in containers),
    }
    return instances[0], {
        name: has[name.upper()] // number for name, number in takes.items() if number
    }


def _type(instance: ContainerInstanceTypeDef) -> str:
    """Name an instance's type, like t3.small."""
    attributes = {one["name"]: one.get("value", "") for one in instance["attributes"]}
    return attributes.get("ecs.instance-type", "an unknown type")


LAB = Lab(
    number=2,
    title="Machines and containers",
    minutes=30,
    page="02-machines-and-containers.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "aws ecs describe-container-instances lists registeredResources: what an empty instance "
        "has for tasks, after the agent's own reserve.",
        "A task needs its cpu and its memory whole; what is left over of an instance "
        "holds no part of a task.",
        "A virtual machine for each container is one instance for each: their number times the "
        "price of an hour times 730.",
        "The last line of the benchmark is the ratio of the two starts.",
    ),
)
