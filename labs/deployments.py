"""Lab 7: a bad deployment is rolled back, which is not the same as having deployed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from labs import services
from labs.lab import Item, Lab, Remembered
from labs.place import Place
from labs.services import short

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import ServiceDeploymentTypeDef

BACK = {"ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED", "STOPPED"}


def begin(place: Place) -> Remembered:
    """Remember the service, and every deployment of it so far."""
    return services.remember(place) | {
        "service_deployments": [one["serviceDeploymentArn"] for one in services.history(place)]
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for a deployment that the breaker took back, and a later one that is there."""
    new = [
        one
        for one in services.history(place)
        if one["serviceDeploymentArn"] not in remembered["service_deployments"]
    ]
    yield _taken_back(new, remembered)
    yield _deployed(place, new, remembered)
    yield _quiet(place)
    yield services.is_steady(place, remembered)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Give the service its definition of the start; deregister those of the lab."""
    yield from services.put_back(place, remembered)


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


def _deployed(place: Place, new: list[ServiceDeploymentTypeDef], remembered: Remembered) -> Item:
    """Whether the service runs another definition than at the start, and came to it by itself."""
    service = place.describe_service()
    now, then = service["taskDefinition"], remembered["definition"]
    running = f"the service runs {short(now)}"
    if now != then and new and new[0]["status"] == "SUCCESSFUL":
        return Item(True, f"{running}, which is new, and its deployment was SUCCESSFUL")
    if new and new[0]["status"] in BACK and now == then:
        why = new[0].get("statusReason", "no reason given")
        return Item(
            False,
            f"{running} as at the start: its newest deployment is {new[0]['status']} ({why}), so "
            "what you rolled out is not there. A steady service is not a deployed one; roll out "
            "a good change",
        )
    if now == then:
        return Item(False, f"{running} as at the start; roll out a good change")
    state = new[0]["status"] if new else "unknown"
    return Item(False, f"{running}, and its deployment is {state}; wait")


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
    minutes=15,
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
    ),
    is_minimum=True,
)
