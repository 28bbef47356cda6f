"""Lab 7: a deployment that is rolled back, one that is not, and two that move the traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from labs import services
from labs.lab import Item, Lab, Remembered
from labs.place import Place
from labs.services import short

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import ServiceDeploymentTypeDef, ServiceTypeDef

BACK = {"ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED", "STOPPED"}
STEPWISE = {"CANARY", "LINEAR"}


def begin(place: Place) -> Remembered:
    """Remember the service, every deployment of it so far, and the strategy."""
    return services.remember(place) | {
        "service_deployments": services.rollouts(place),
        "strategy": _strategy(place.describe_service()),
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for a deployment that the breaker took back, one that came, and two that shifted."""
    new = services.new_rollouts(place, remembered["service_deployments"])
    yield _taken_back(new, remembered)
    yield _deployed(place, new, remembered)
    yield _stepped(new)
    yield _given_back(new)
    yield _declared(place, remembered)
    yield _quiet(place)
    yield services.is_steady(place, remembered)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Give the service its definition of the start; deregister those of the lab."""
    yield from services.put_back(place, remembered)
    now, then = _strategy(place.describe_service()), remembered["strategy"]
    if now != then:
        yield (
            f"The service still deploys by {now}, at the start by {then}: that is a setting, and "
            "comes with the next deploy."
        )


def _taken_back(new: list[ServiceDeploymentTypeDef], remembered: MutableMapping[str, Any]) -> Item:
    """Whether the circuit breaker ended a deployment, and the rollback is over."""
    back = [one for one in new if one["status"] == "ROLLBACK_SUCCESSFUL"]
    for one in back:
        if one.get("deploymentCircuitBreaker", {}).get("status") == "TRIGGERED":
            remembered["seen_back"] = short(one["serviceDeploymentArn"])
    if "seen_back" in remembered:
        return Item(True, f"the circuit breaker rolled deployment {remembered['seen_back']} back")
    for one in back:
        return Item(
            False,
            f"deployment {short(one['serviceDeploymentArn'])} was rolled back, and not by the "
            f"circuit breaker: {one.get('statusReason', 'no reason given')}",
        )
    for one in new:
        if one["status"] in {"IN_PROGRESS", "ROLLBACK_IN_PROGRESS"}:
            return Item(
                False,
                f"deployment {short(one['serviceDeploymentArn'])} is {one['status']}; wait",
            )
    return Item(
        False,
        "no deployment was rolled back: register a task definition whose container ends at once, "
        "and give it to the service",
    )


def _deployed(
    place: Place, new: list[ServiceDeploymentTypeDef], remembered: MutableMapping[str, Any]
) -> Item:
    """Whether a check has seen another definition than at the start run, and come by itself."""
    service = place.describe_service()
    now, then = service["taskDefinition"], remembered["definition"]
    running = f"the service runs {short(now)}"
    if now != then and new and new[0]["status"] == "SUCCESSFUL":
        remembered["seen_deployed"] = short(now)
    if "seen_deployed" in remembered:
        seen = remembered["seen_deployed"]
        return Item(True, f"the service ran {seen}, which is new, and its deployment SUCCESSFUL")
    if now == then:
        running += " as at the start"
    if new and new[0]["status"] in BACK:
        why = new[0].get("statusReason", "no reason given")
        return Item(
            False,
            f"{running}: its newest deployment is {new[0]['status']} ({why}), so what you rolled "
            "out is not there. A steady service is not a deployed one; roll out a good change",
        )
    if now == then:
        return Item(False, f"{running}; roll out a good change")
    state = new[0]["status"] if new else "unknown"
    return Item(False, f"{running}, and its deployment is {state}; wait")


def _stepped(new: list[ServiceDeploymentTypeDef]) -> Item:
    """Whether a deployment moved the traffic in steps, and came to its end."""
    for one in new:
        strategy = _strategy(one)
        if strategy in STEPWISE and one["status"] == "SUCCESSFUL":
            arn = short(one["serviceDeploymentArn"])
            return Item(True, f"deployment {arn} moved the traffic by {strategy}")
    return Item(
        False,
        "no deployment has moved the traffic in steps and succeeded: deploy with the strategy "
        "canary, and then roll out",
    )


def _given_back(new: list[ServiceDeploymentTypeDef]) -> Item:
    """Whether somebody took a blue/green deployment back, and it is back."""
    shifted = [one for one in new if _strategy(one) == "BLUE_GREEN"]
    for one in shifted:
        if one["status"] == "ROLLBACK_SUCCESSFUL":
            arn, why = short(one["serviceDeploymentArn"]), one.get("statusReason", "")
            return Item(True, f"blue/green deployment {arn} was taken back: {why}")
    if shifted:
        arn, status = short(shifted[0]["serviceDeploymentArn"]), shifted[0]["status"]
        return Item(
            False,
            f"blue/green deployment {arn} is {status}, and none was taken back: roll out again, "
            "and within the bake time aws ecs stop-service-deployment --stop-type ROLLBACK",
        )
    return Item(
        False,
        "no blue/green deployment was taken back: deploy with the strategy blue-green, roll out, "
        "and stop it within the bake time",
    )


def _declared(place: Place, remembered: Remembered) -> Item:
    """Whether the service deploys as at the start again, as its templates have it."""
    now, then = _strategy(place.describe_service()), remembered["strategy"]
    if now == then:
        return Item(True, f"the service deploys by {now}, as at the start")
    return Item(
        False,
        f"the service deploys by {now}, at the start by {then}: python -m labs settings back, and "
        "deploy",
    )


def _strategy(of: ServiceTypeDef | ServiceDeploymentTypeDef) -> str:
    return of.get("deploymentConfiguration", {}).get("strategy", "ROLLING")


def _quiet(place: Place) -> Item:
    """Whether the alarms that watch a deployment are quiet; one that rings takes the next back."""
    alarms = place.describe_service()["deploymentConfiguration"].get("alarms")
    names = alarms["alarmNames"] if alarms and alarms["enable"] else []
    if not names:
        return Item(False, "no alarm watches the service's deployments; deploy the project's own")
    found = place.aws.cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
    ringing = [one["AlarmName"] for one in found if one["StateValue"] == "ALARM"]
    if ringing:
        return Item(False, f"{', '.join(ringing)} rings, and would take any deployment back")
    return Item(True, f"{len(names)} alarms watch deployments, and none rings")


LAB = Lab(
    number=7,
    title="Bad deployments",
    minutes=20,
    page="07-deployments.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "A container whose command ends at once never becomes healthy: "
        '"command": ["python", "-c", "raise SystemExit(\'broken on purpose\')"].',
        "The breaker counts tasks that failed in a row, and this project lets three of them go by "
        "(breaker_failures).",
        "After a rollback the service is steady, and its last deployment was not yours: "
        "list-service-deployments says ROLLBACK_SUCCESSFUL.",
        "A good change is a new revision that still works: the same containers with one more "
        "environment variable.",
        "A strategy is a setting, for it needs a second target group, which the templates make: "
        "python -m labs settings put FILE, and deploy. By which strategy each deployment went says "
        "describe-service-deployments.",
    ),
    is_minimum=True,
    changes_settings=True,
)
