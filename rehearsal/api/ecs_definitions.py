"""ECS: task definitions and their families."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rehearsal.api import tags, wire
from rehearsal.api.account import PRINCIPAL, Account, Asked, Operation
from rehearsal.api.errors import invalid, refused
from rehearsal.api.pages import Key, page, size_of
from rehearsal.api.shapes import to_cloudformation
from rehearsal.api.wire import Answer
from rehearsal.records import Definition
from scheduler.expressions import ExpressionError, compile_expression
from templates import Value

# Source of the limits, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html
# https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
DELETIONS_A_CALL = 10
CONTAINERS_A_TASK = 10
# CPU units or MiB of a task, which are texts; a unit behind them is not read here.
WHOLE = re.compile(r"[1-9][0-9]{0,8}")
_FAMILY = re.compile(r"[a-zA-Z0-9_-]{1,255}")
_CONTAINER = re.compile(r"[a-zA-Z0-9_-]{1,255}")


def register_task_definition(account: Account, asked: Asked) -> Answer:
    """Register a family's next revision."""
    _check(asked)
    shape = wire.model("ecs").operation_model("RegisterTaskDefinition").input_shape
    assert shape is not None  # noqa: S101 - it has one
    given = tags.of_ecs(asked.get("tags"))
    properties = to_cloudformation(shape, {k: v for k, v in asked.items() if k != "tags"})
    # Each call makes a revision, where CloudFormation makes one for other properties only.
    arn = account.world.stacks.next_revision(asked["family"])
    definition = account.world.register(properties, arn=arn)
    definition.tags = given
    return {"taskDefinition": describe(account, definition), "tags": tags.to_ecs(given)}


def describe_task_definition(account: Account, asked: Asked) -> Answer:
    """Give one revision: the newest ACTIVE one where only the family is named."""
    definition = _need(account, asked["taskDefinition"])
    found: dict[str, Any] = {"taskDefinition": describe(account, definition)}
    if "TAGS" in (asked.get("include") or ()):
        found["tags"] = tags.to_ecs(definition.tags)
    return found


def deregister_task_definition(account: Account, asked: Asked) -> Answer:
    """Let nothing new run from a revision; what runs goes on."""
    if ":" not in asked["taskDefinition"].rpartition("/")[2]:
        raise refused("Task definition revision must be specified.")
    definition = _need(account, asked["taskDefinition"])
    if definition.status == "ACTIVE":
        definition.status = "INACTIVE"
        definition.deregistered_at = account.wall(account.now())
    return {"taskDefinition": describe(account, definition)}


def delete_task_definitions(account: Account, asked: Asked) -> Answer:
    """Delete INACTIVE revisions; they stay to be seen while they are."""
    named = asked["taskDefinitions"]
    if not 1 <= len(named) <= DELETIONS_A_CALL:
        raise invalid(f"taskDefinitions can have 1 to {DELETIONS_A_CALL} items.")
    found, failures = [], []
    for one in named:
        definition = account.definition(one) if ":" in one.rpartition("/")[2] else None
        arn = one if one.startswith("arn:") else account.arn(f"task-definition/{one}")
        if definition is None:
            failures.append(
                {"arn": arn, "reason": "The specified task definition identifier is invalid. "
                 "Specify a valid name or ARN and try again."}
            )  # fmt: skip
        elif definition.status == "ACTIVE":
            failures.append(
                {"arn": arn, "reason": "The specified task definition is still in ACTIVE status. "
                 "Please deregister the target and try again."}
            )  # fmt: skip
        else:
            definition.status = "DELETE_IN_PROGRESS"
            found.append(describe(account, definition))
    return {"taskDefinitions": found, "failures": failures}


def list_task_definitions(account: Account, asked: Asked) -> Answer:
    """Give ARNs, by family and revision."""
    prefix, status = asked.get("familyPrefix"), asked.get("status", "ACTIVE")
    size = size_of(asked.get("maxResults"), default=100, high=100)
    every = [
        one
        for one in account.world.definitions.values()
        # A prefix is a whole family's name here. Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html
        if one.status == status and prefix in (None, one.family)
    ]
    found, token = page(
        every, _order, size=size, token=asked.get("nextToken"), reverse=asked.get("sort") == "DESC"
    )
    return {"taskDefinitionArns": [one.arn for one in found], "nextToken": token}


def list_task_definition_families(account: Account, asked: Asked) -> Answer:
    """Give families; without a status also those that have only INACTIVE revisions."""
    prefix, status = asked.get("familyPrefix") or "", asked.get("status", "ALL")
    size = size_of(asked.get("maxResults"), default=100, high=100)
    statuses: dict[str, set[str]] = {}
    for one in account.world.definitions.values():
        statuses.setdefault(one.family, set()).add(one.status)
    families = [
        name
        for name, found in statuses.items()
        if name.startswith(prefix)
        and {"ACTIVE": "ACTIVE" in found, "INACTIVE": "ACTIVE" not in found}.get(status, True)
    ]
    page_of, token = page(families, lambda one: [one], size=size, token=asked.get("nextToken"))
    return {"families": page_of, "nextToken": token}


def describe(account: Account, definition: Definition) -> dict[str, Any]:
    """Spell a task definition as the API does, with what it fills in."""
    found = account.read("ecs", "TaskDefinition", definition.properties)
    for container in found.get("containerDefinitions", []):
        _fill_in(container, found.get("networkMode", "bridge"))
    found |= {
        "taskDefinitionArn": definition.arn,
        "family": definition.family,
        "revision": definition.revision,
        "status": definition.status,
        "compatibilities": ["EXTERNAL", "EC2"],
        "registeredAt": definition.registered_at,
        "deregisteredAt": definition.deregistered_at,
        "registeredBy": account.iam(PRINCIPAL),
    }
    for name in ("volumes", "placementConstraints"):
        found.setdefault(name, [])
    return found


def _fill_in(container: dict[str, Any], mode: str) -> None:
    for name in ("environment", "mountPoints", "portMappings", "systemControls", "volumesFrom"):
        container.setdefault(name, [])
    container.setdefault("cpu", 0)
    container.setdefault("essential", True)
    for mapping in container["portMappings"]:
        mapping.setdefault("protocol", "tcp")
        if "containerPort" in mapping:
            mapping.setdefault("hostPort", mapping["containerPort"] if mode == "awsvpc" else 0)


def _need(account: Account, named: str) -> Definition:
    definition = account.definition(named)
    if definition is None:
        raise refused("Unable to describe task definition.")
    return definition


def _order(definition: Definition) -> Key:
    return [definition.family, definition.revision]


def _check(asked: Asked) -> None:
    """Refuse what ECS would; the words are its own where they are known from real answers."""
    if not _FAMILY.fullmatch(asked["family"]):
        raise refused(
            "Family contains invalid characters: letters, numbers, hyphens and underscores only, "
            "255 at most."
        )
    containers = asked["containerDefinitions"]
    if not 1 <= len(containers) <= CONTAINERS_A_TASK:
        raise refused(f"Task definition must have 1 to {CONTAINERS_A_TASK} containers.")
    names = [str(one.get("name") or "") for one in containers]
    if not all(_CONTAINER.fullmatch(name) for name in names) or len(set(names)) < len(names):
        raise refused("Container.name should be unique, and not be null or empty.")
    if not any(one.get("essential", True) for one in containers):
        raise refused("At least one container must be essential.")
    check_constraints(asked.get("placementConstraints") or ())
    of_task = [_whole(asked, name, "The task") for name in ("cpu", "memory")]
    for one in containers:
        _check_container(one, has_task_memory=of_task[1] is not None)


def check_constraints(constraints: Sequence[Mapping[str, str]]) -> None:
    """Raise ApiError for constraints that the scheduler cannot read."""
    for one in constraints:
        kind, expression = one.get("type", ""), one.get("expression", "")
        if (kind == "memberOf") != bool(expression) or not kind:
            raise invalid(f"Placement constraint '{kind}' has an invalid expression.")
        try:
            _ = compile_expression(expression) if expression else None
        except ExpressionError as error:
            raise invalid(f"Invalid placement constraint expression: {error}") from None


def _check_container(container: Mapping[str, Value], *, has_task_memory: bool) -> None:
    where = f"Invalid setting for container '{container['name']}'."
    if not container.get("image"):
        raise refused("Container.image should not be null or empty.")
    memory, reserved = container.get("memory"), container.get("memoryReservation")
    if not (memory or reserved or has_task_memory):
        raise refused(f"{where} At least one of 'memory' or 'memoryReservation' must be specified.")
    for name in ("cpu", "memory", "memoryReservation"):
        if (container.get(name) or 0) < 0:
            raise refused(f"{where} '{name}' must not be negative.")
    if memory and reserved and reserved > memory:
        raise refused(f"{where} 'memory' must be greater than 'memoryReservation'.")
    for mapping in container.get("portMappings") or []:
        port, host = mapping.get("containerPort"), mapping.get("hostPort") or 0
        if mapping.get("containerPortRange"):
            raise refused(f"{where} The rehearsal does not play containerPortRange.")
        if port is None or not 1 <= port <= 65_535 or not 0 <= host <= 65_535:
            raise refused(f"{where} Ports must be from 1 to 65535.")
    if any(not one.get("name") for one in container.get("environment") or []):
        raise refused(f"{where} A variable of its environment has no name.")


def _whole(asked: Asked, name: str, where: str) -> int | None:
    """Read the task's CPU units or MiB."""
    value = asked.get(name)
    if value is None:
        return None
    if not WHOLE.fullmatch(value):
        raise refused(f"{where}'s '{name}' must be a whole number, got {value!r:.50}.")
    return int(value)


OPERATIONS: Mapping[str, Operation] = {
    "DeleteTaskDefinitions": delete_task_definitions,
    "DeregisterTaskDefinition": deregister_task_definition,
    "DescribeTaskDefinition": describe_task_definition,
    "ListTaskDefinitionFamilies": list_task_definition_families,
    "ListTaskDefinitions": list_task_definitions,
    "RegisterTaskDefinition": register_task_definition,
}
