"""Lab 9: a service that web can do without, and a monolith that is left behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from labs import services
from labs.answers import ENOUGH, OK
from labs.lab import Item, Lab, Remembered
from labs.place import Place
from ops.environment import Failed

QUOTES, MONOLITH = "quotes", "monolith"
# What web says of quotes while it does without, and how often at least it must have said it.
DEGRADED, TIMES = "degraded", 5
ALONE, MOVE = "alone.txt", "move.txt"


def begin(place: Place) -> Remembered:
    """Remember web, its neighbour and their sizes; forget what was measured before."""
    for name in (ALONE, MOVE):
        (place.notes / name).unlink(missing_ok=True)
    quotes = place.service_named(QUOTES)
    if not quotes:
        there = ", ".join([place.service, *place.other_services()])
        raise Failed(
            f"{place.environment.name}.services: expected one named {QUOTES} that is deployed, got "
            f"{there}"
        )
    return services.remember(place) | {
        "sizes": services.sizes(place),
        "quotes": quotes,
        "rollouts": services.rollouts(place, quotes),
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for web without quotes, quotes changed alone, and a move that failed no request."""
    quotes = place.describe_service(remembered["quotes"])
    untouched = sorted(task["taskArn"] for task in place.tasks()) == remembered["tasks"]
    yield _away(place, remembered, quotes["desiredCount"] + quotes["runningCount"])
    yield _alone(place.notes / ALONE)
    yield _rolled_out(place, remembered, untouched=untouched)
    yield _scaled(remembered, quotes["runningCount"], untouched=untouched)
    yield _moved(place, place.notes / MOVE)
    yield _forwarded(place)
    yield from services.are_sized(place, remembered["sizes"])


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Let web's rule forward to web alone; give both services their sizes of the start."""
    for arn in _rules_of_several(place):
        place.aws.elbv2.modify_rule(
            RuleArn=arn, Actions=[{"Type": "forward", "TargetGroupArn": place.target_group}]
        )
        yield "The rule of web forwards to web alone again."
    yield from services.put_back_sizes(place, remembered["sizes"])
    if place.is_deployed(MONOLITH):
        yield (
            "The monolith is still there. On the rehearsal a deploy by your own settings takes it "
            "away; on AWS do step 8 again: its stack can be destroyed while the settings have it."
        )


def _away(place: Place, remembered: MutableMapping[str, Any], tasks: int) -> Item:
    """Whether a check has seen quotes at zero, and web at work."""
    if not tasks and place.describe_service()["runningCount"]:
        remembered["seen_away"] = True
    if "seen_away" in remembered:
        return Item(True, "quotes was at zero tasks, and web was there")
    return Item(
        False,
        f"no check has seen quotes at zero tasks; it has {tasks} now: aws ecs update-service "
        f"--service {remembered['quotes']} --desired-count 0, and check before it comes back",
    )


def _rolled_out(place: Place, remembered: MutableMapping[str, Any], *, untouched: bool) -> Item:
    """Whether quotes had a rollout of its own, which replaced no task of web's."""
    rollouts = services.new_rollouts(place, remembered["rollouts"], remembered["quotes"])
    new = [str(one["status"]) for one in rollouts]
    if "SUCCESSFUL" in new and untouched:
        remembered["seen_rollout"] = True
    if "seen_rollout" in remembered:
        return Item(True, "quotes was rolled out, and web's tasks are those of the start")
    if "SUCCESSFUL" in new:
        return Item(
            False,
            "quotes was rolled out, and so were tasks of web: deploy quotes alone; begin again "
            "with reset and start",
        )
    return Item(
        False,
        f"no rollout of quotes alone has ended ({', '.join(new) or 'none was begun'}): aws ecs "
        f"update-service --service {remembered['quotes']} --force-new-deployment",
    )


def _scaled(remembered: MutableMapping[str, Any], running: int, *, untouched: bool) -> Item:
    """Whether a check has seen more of quotes than at the start, and as much of web."""
    more = running > remembered["sizes"][remembered["quotes"]]["desired"]
    if more and untouched:
        remembered["seen_scaled"] = running
    if "seen_scaled" in remembered:
        return Item(True, f"quotes ran {remembered['seen_scaled']} tasks, and web as many as ever")
    return Item(
        False,
        "no check has seen more tasks of quotes than at the start beside the same tasks of web: "
        "scale quotes alone, and check before you scale it back",
    )


def _alone(file: Path) -> Item:
    """Whether a file has answers of web's, none of them a failure, from when quotes was gone."""
    lines = _answers(file)
    if isinstance(lines, Item):
        return lines
    without = sum(_told(line, "quotes") == DEGRADED for line in lines)
    if len(lines) < ENOUGH or without < TIMES:
        return Item(
            False,
            f"{file.name}: {without} of {len(lines)} answers are from when quotes was gone; ask "
            f"while it is, for {ENOUGH} answers at least",
        )
    return Item(
        True, f"{file.name}: none of {len(lines)} requests failed, and {without} got no quote"
    )


def _moved(place: Place, file: Path) -> Item:
    """Whether a file has the answers of a move: first the monolith's, then both, then web's."""
    lines = _answers(file)
    if isinstance(lines, Item):
        return lines
    names = [_told(line, "service") for line in lines]
    web = place.service
    others = {name for name in names if name != web}
    if len(lines) < ENOUGH or not others or web not in names:
        return Item(
            False,
            f"{file.name}: {names.count(web)} of {len(lines)} answers are web's; ask from before "
            "the first weight, with the monolith at 100, until web has all",
        )
    last = max(index for index, name in enumerate(names) if name != web)
    if names[0] == web or last == len(names) - 1:
        return Item(
            False,
            f"{file.name}: the first answer is to be the monolith's and the last one web's; they "
            f"are of {names[0] or 'nobody'} and {names[-1] or 'nobody'}",
        )
    mixed = web in names[:last]
    return Item(
        mixed,
        f"{file.name}: {len(lines)} requests moved from {' and '.join(sorted(others))} to {web}, "
        "none failed"
        if mixed
        else f"{file.name}: all moved at once; give web a part of the weight first, and look",
    )


def _answers(file: Path) -> list[str] | Item:
    """Read lines of an answer's JSON and its status; give the item that names those that failed."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return Item(False, f"nothing was measured: expected answers and HTTP statuses in {file}")
    failed = Counter(line.rpartition(" ")[2] for line in lines)
    del failed[OK]
    if failed:
        said = ", ".join(f"{number} times {status}" for status, number in failed.items())
        return Item(False, f"{file.name}: of {len(lines)} requests failed {said}")
    return lines


def _told(line: str, name: str) -> str:
    """Read one value of the JSON before the status; nothing where it is not there."""
    try:
        return str(json.loads(line.rpartition(" ")[0])[name])
    except (ValueError, KeyError, TypeError):
        return ""


def _forwarded(place: Place) -> Item:
    if _rules_of_several(place):
        return Item(
            False,
            "a rule still divides requests by weights, which the templates know nothing of: aws "
            "elbv2 modify-rule --actions Type=forward,TargetGroupArn=...",
        )
    return Item(True, "each rule forwards to one target group, as the templates have it")


def _rules_of_several(place: Place) -> list[str]:
    """Name the rules that forward to web's target group and to another service's."""
    own = {place.target_group}
    for one in place.describe_service()["loadBalancers"]:
        # The second one, of a strategy that moves the weights by itself.
        own.add(one.get("advancedConfiguration", {}).get("alternateTargetGroupArn", ""))
    (group,) = place.aws.elbv2.describe_target_groups(TargetGroupArns=[place.target_group])[
        "TargetGroups"
    ]
    found = []
    for balancer in group["LoadBalancerArns"]:
        for listener in place.aws.elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]:
            for rule in place.aws.elbv2.describe_rules(ListenerArn=listener["ListenerArn"])[
                "Rules"
            ]:
                groups = _groups(rule["Actions"])
                if groups & own and groups - own:
                    found.append(rule["RuleArn"])
    return found


def _groups(asked: Iterable[Any]) -> set[str]:
    """Name the target groups that a rule's actions forward to, whatever their weights."""
    return {
        group["TargetGroupArn"]
        for one in asked
        for group in one.get("ForwardConfig", {}).get("TargetGroups", [])
    }


LAB = Lab(
    number=9,
    title="Monolith and microservices",
    minutes=30,
    page="09-microservices.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "QUOTES names the service that is not behind the balancer. Take its tasks "
        "away while you ask web, and check while they are gone.",
        "A rollout or another count of quotes concerns quotes alone: web's tasks must be those of "
        "the start, by their ids.",
        "The move is a rule with two target groups and weights. Ask from before the first change "
        "until after the last, into one file.",
        "A rule with weights is something that you did by hand: give it one target group again, as "
        "the template has it, before the monolith goes.",
    ),
    changes_settings=True,
)
