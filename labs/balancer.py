"""Lab 5: the load balancer's targets, and a rollout that fails no request until a setting goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from labs import answers, services
from labs.answers import Change
from labs.lab import Item, Lab, Remembered
from labs.place import Place

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import ServiceDeploymentTypeDef

GOOD, BROKEN = "good.txt", "broken.txt"
QUIET = "ask while the rollout with the lower minimumHealthyPercent is under way"
FORCE = 'aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --force-new-deployment'


def begin(place: Place) -> Remembered:
    """Remember the service, its deployments and how it deploys; forget what was measured before."""
    for name in (GOOD, BROKEN, "before.json"):
        (place.notes / name).unlink(missing_ok=True)
    return services.remember(place) | {
        "service_deployments": services.rollouts(place),
        "configuration": services.configuration(place.describe_service()),
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for two rollouts and the answers during each, and for the settings being back."""
    wanted = remembered["configuration"]["minimumHealthyPercent"]
    new = services.new_rollouts(place, remembered["service_deployments"])
    ended = {
        one["serviceDeploymentArn"]: one
        for one in new
        if one["status"] == "SUCCESSFUL" and one.get("finishedAt")
    }
    # Once the setting is back, an old deployment may be described by the new one.
    careless: dict[str, list[float]] = remembered.setdefault("careless", {})
    for arn, one in ended.items():
        if _minimum(one) < wanted:
            careless[arn] = [_minimum(one), *_when(one)]
    careful = [_when(one) for arn, one in ended.items() if arn not in careless]
    yield (
        Item(True, f"a rollout that kept {wanted}% of the tasks has ended well")
        if careful
        else Item(False, f"no rollout that keeps {wanted}% of the tasks has ended well: {FORCE}")
    )
    yield answers.without_failure(place.notes / GOOD, careful, FORCE)
    lows = [low for low, *_ in careless.values()]
    yield (
        Item(True, f"a rollout that kept {min(lows)}% of the tasks has ended")
        if lows
        else Item(
            False,
            f"no check has seen the end of a rollout with a minimumHealthyPercent below {wanted}: "
            f"{FORCE}, and check before you put the setting back",
        )
    )
    changes = [Change(began, done) for _, began, done in careless.values()]
    yield answers.with_failures(place.notes / BROKEN, changes, QUIET)
    yield _configured(place, remembered)
    yield _healthy(place, remembered)
    yield services.is_steady(place, remembered)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Give the service its way to deploy, its definition and its count again."""
    if services.configuration(place.describe_service()) != remembered["configuration"]:
        place.aws.ecs.update_service(
            cluster=place.cluster,
            service=place.service,
            deploymentConfiguration=remembered["configuration"],
        )
        yield "The service deploys as it did at the start again."
    yield from services.put_back(place, remembered)


def _when(deployment: ServiceDeploymentTypeDef) -> Change:
    """Give when a deployment was under way, by AWS's clock; the rehearsal's is this machine's."""
    began = deployment.get("startedAt", deployment["createdAt"])
    return Change(began.timestamp(), deployment["finishedAt"].timestamp())


def _minimum(deployment: ServiceDeploymentTypeDef) -> int:
    return deployment["deploymentConfiguration"].get("minimumHealthyPercent", 100)


def _configured(place: Place, remembered: Remembered) -> Item:
    now, wanted = services.configuration(place.describe_service()), remembered["configuration"]
    other = sorted(name for name in {*now, *wanted} if now.get(name) != wanted.get(name))
    if not other:
        return Item(True, "the service deploys as it did at the start")
    said = ", ".join(f"{name} is {now.get(name)}, not {wanted.get(name)}" for name in other)
    return Item(
        False,
        f"{said} as at the start, so the next rollout fails requests too: aws ecs update-service "
        '--deployment-configuration "file://$NOTES/before.json"',
    )


def _healthy(place: Place, remembered: Remembered) -> Item:
    """Whether as many targets are healthy as the service has tasks, and no other is there."""
    answer = place.aws.elbv2.describe_target_health(TargetGroupArn=place.target_group)
    states = Counter(
        str(one["TargetHealth"].get("State")) for one in answer["TargetHealthDescriptions"]
    )
    said = ", ".join(f"{number} {state}" for state, number in states.items()) or "none"
    if states == Counter(healthy=remembered["desired"]):
        return Item(True, f"the target group's targets: {said}")
    return Item(False, f"the target group's targets: {said}; wait until all are healthy")


LAB = Lab(
    number=5,
    title="The load balancer",
    minutes=15,
    page="05-balancer.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "Ask all the time, and roll out while you ask: the answers of a quiet service prove "
        "nothing.",
        "minimumHealthyPercent 100 makes ECS start a task before it stops one. With 0, and a "
        "maximumPercent of 100, it must stop first.",
        "update-service takes a whole deployment configuration: keep the old one in a file, change "
        "a copy, and give the old one back.",
    ),
    is_minimum=True,
)
