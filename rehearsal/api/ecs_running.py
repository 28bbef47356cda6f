"""ECS: RunTask and StartTask, which place tasks of no service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rehearsal import containers
from rehearsal.api import ecs_tasks, tags
from rehearsal.api.account import (
    Account,
    Asked,
    Operation,
    batch,
    missing,
)
from rehearsal.api.ecs_clusters import default_strategy
from rehearsal.api.ecs_definitions import WHOLE, check_constraints
from rehearsal.api.errors import invalid, not_played, refused
from rehearsal.api.wire import Answer
from rehearsal.containers import ContainerError
from rehearsal.records import Definition, TaskRecord, overridden
from scheduler import environment
from scheduler.model import Constraint, Instance, Strategy, Task
from scheduler.placement import Request, place, refusals
from scheduler.state import WAITING_LIMIT
from templates import Value

# Source, read 2026-11-24: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
TASKS_A_CALL = 10
CONSTRAINTS_A_TASK = 10
STRATEGIES_A_TASK = 5
STARTED_BY_CHARACTERS = 128


def run_task(account: Account, asked: Asked) -> Answer:
    """Place tasks by the scheduler's rules; what finds no instance fails, or waits for one."""
    account.check_cluster(asked)
    return account.once("RunTask", asked, lambda: _run(account, asked))


def start_task(account: Account, asked: Asked) -> Answer:
    """Start a task on each of the instances that are named."""
    account.check_cluster(asked)
    named = asked["containerInstances"]
    batch(named, TASKS_A_CALL, "instanceIds")
    definition = _definition(account, asked)
    found: list[TaskRecord] = []
    failures: list[dict[str, str]] = []
    for one in named:
        instance = account.instance(one)
        if instance is None:
            failures.append(missing(one if one.startswith("arn:") else account.instance_arn(one)))
            continue
        task = _task(account, asked, definition, provider=None)
        lacks = refusals(Request(task.definition, task.group), [instance])
        if lacks:
            arn = account.instance_arn(instance.id)
            failures.append({"arn": arn, "reason": lacks[0].code})
        else:
            found.append(_begin(account, asked, definition, task, instance))
    return _answer(account, found, failures)


def check_runnable(
    account: Account, definition: Definition, properties: Mapping[str, Value] | None = None
) -> None:
    """Refuse what must not run on somebody's own machine: privileges, the host's paths, and so on.

    AWS would run it; here the containers share the machine of whoever learns.
    """
    properties = properties or definition.properties
    for container in definition.containers:
        wanted = {str(one["Name"]): "" for one in container.get("Secrets") or []}
        try:
            containers.run(
                properties,
                str(container["Name"]),
                agent=account.world.agent.settings,
                secrets=wanted | account.world.secrets,
            )
        except ContainerError as error:
            raise refused(f"The rehearsal does not run this: {error}") from None


def check_network(definition: Definition, asked: Asked) -> None:
    """Raise ApiError where a network configuration is missing, or has nothing to configure."""
    awsvpc = definition.properties.get("NetworkMode") == "awsvpc"
    if awsvpc and not asked.get("networkConfiguration"):
        raise invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )
    if asked.get("networkConfiguration") and not awsvpc:
        raise invalid(
            "Network Configuration is not valid for the given networkMode of this task definition."
        )


def check_launch(account: Account, asked: Asked) -> None:
    """Raise ApiError for a launch type or a capacity provider that is not there."""
    strategy = asked.get("capacityProviderStrategy")
    if asked.get("launchType") and strategy:
        raise invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. "
            "Remove one and try again."
        )
    if asked.get("launchType", "EC2") != "EC2" or asked.get("platformVersion"):
        raise not_played(f"the launch type {asked.get('launchType', 'FARGATE')}")
    for one in strategy or ():
        if account.world.state.group_of(one["capacityProvider"]) is None:
            raise invalid(
                f"The specified capacity provider '{one['capacityProvider']:.255}' was not found. "
                "Specify a valid name or ARN and try again."
            )


def check_placement(
    strategies: Sequence[Mapping[str, str]], constraints: Sequence[Mapping[str, str]]
) -> None:
    """Raise ApiError for placement that the scheduler cannot read."""
    for one in strategies:
        allowed = {"random": ("",), "binpack": ("cpu", "memory", "CPU", "MEMORY")}
        field, kind = one.get("field", ""), one.get("type", "")
        fits = bool(field) if kind == "spread" else field in allowed.get(kind, ())
        if not fits:
            raise invalid(f"Placement strategy '{kind}' has an invalid field: {field!r:.100}.")
    check_constraints(constraints)


def _run(account: Account, asked: Asked) -> Answer:
    count = asked.get("count", 1)
    if not 1 <= count <= TASKS_A_CALL:
        raise invalid(f"Tasks per call must be between 1 and {TASKS_A_CALL}.")
    definition = _definition(account, asked)
    check_launch(account, asked)
    world, provider = account.world, _provider(account, asked)
    tasks = [_task(account, asked, definition, provider=provider) for _ in range(count)]
    first = tasks[0]
    request = Request(first.definition, first.group, first.strategies, first.constraints)
    instances = world.state.placeable(provider)
    places: list[Instance | None] = [*place(request, count, instances, random=world.state.random)]
    group = world.state.group_of(provider)
    if group is not None and group.scaling is not None:
        waiting = count - len(places)
        if waiting and len(world.state.waiting) + waiting > WAITING_LIMIT:
            raise refused("The limit of tasks that wait for their capacity provider is reached.")
        places += [None] * waiting
    elif not account.instances():
        raise invalid("No Container Instances were found in your cluster.")
    found = [
        _begin(account, asked, definition, task, instance)
        for task, instance in zip(tasks, places, strict=False)
    ]
    # Once those are placed, since they may be what leaves no room.
    failures = list(_failures(account, request, instances)) if len(found) < count else []
    return _answer(account, found, failures)


def _failures(
    account: Account, request: Request, instances: Sequence[Instance]
) -> Iterator[dict[str, str]]:
    """Say of each instance why it cannot take one more such task."""
    for one in refusals(request, instances):
        yield {"arn": account.instance_arn(one.instance.id), "reason": one.code}


def _definition(account: Account, asked: Asked) -> Definition:
    """Check what RunTask and StartTask have in common; give the task definition."""
    definition = account.need_definition(asked["taskDefinition"])
    overrides = asked.get("overrides") or {}
    _check_overrides(definition, overrides)
    if asked.get("volumeConfigurations"):
        raise not_played("EBS volumes that are attached to tasks")
    if asked.get("enableExecuteCommand"):
        raise not_played("ExecuteCommand")
    if len(asked.get("startedBy", "")) > STARTED_BY_CHARACTERS:
        raise invalid(f"startedBy can have at most {STARTED_BY_CHARACTERS} characters.")
    check_network(definition, asked)
    strategies = asked.get("placementStrategy") or ()
    constraints = asked.get("placementConstraints") or ()
    if len(strategies) > STRATEGIES_A_TASK or len(constraints) > CONSTRAINTS_A_TASK:
        raise invalid(
            f"At most {STRATEGIES_A_TASK} placement strategies and {CONSTRAINTS_A_TASK} "
            "constraints can be given."
        )
    check_placement(strategies, constraints)
    check_runnable(account, definition, overridden(definition.properties, overrides))
    return definition


def _check_overrides(definition: Definition, overrides: Mapping[str, Any]) -> None:
    names = {str(one["Name"]) for one in definition.containers}
    for one in overrides.get("containerOverrides") or []:
        if one.get("name") not in names:
            raise invalid(
                f"Override for container named {one.get('name')} is not a container in the "
                "TaskDefinition."
            )
        _check_override(one)
    for name in ("cpu", "memory"):
        value = overrides.get(name) or "1"
        if not WHOLE.fullmatch(value):
            raise invalid(f"The override of '{name}' must be a whole number, got {value!r:.50}.")
    for name in ("inferenceAcceleratorOverrides", "ephemeralStorage"):
        if overrides.get(name):
            raise not_played(f"the override {name}")


def _check_override(override: Mapping[str, Any]) -> None:
    for name in ("environmentFiles", "resourceRequirements"):
        if override.get(name):
            raise not_played(f"the override {name}")
    for name in ("cpu", "memory", "memoryReservation"):
        if override.get(name, 0) < 0:
            raise invalid(f"The override of '{name}' must not be negative.")
    if any(not one.get("name") for one in override.get("environment") or []):
        raise invalid("A variable of an override has no name.")


def _provider(account: Account, asked: Asked) -> str | None:
    """Choose the capacity provider: the heaviest, since an environment has one of its own."""
    if asked.get("launchType"):
        return None
    strategy = asked.get("capacityProviderStrategy") or default_strategy(account)
    if not strategy:
        return None
    chosen = max(strategy, key=lambda one: (one.get("base", 0), one.get("weight", 0)))
    return str(chosen["capacityProvider"])


def _task(account: Account, asked: Asked, definition: Definition, *, provider: str | None) -> Task:
    overrides = asked.get("overrides") or {}
    needs = environment.task_definition(
        overridden(definition.properties, overrides), definition.arn
    )
    return Task(
        next(account.world.state.ids),
        asked.get("group") or f"family:{definition.family}",
        needs,
        account.now(),
        provider=provider,
        strategies=tuple(
            Strategy(one["type"], one.get("field", ""))
            for one in asked.get("placementStrategy") or ()
        ),
        constraints=tuple(
            Constraint(one["type"], one.get("expression", ""))
            for one in asked.get("placementConstraints") or ()
        ),
    )


def _begin(
    account: Account,
    asked: Asked,
    definition: Definition,
    task: Task,
    instance: Instance | None,
) -> TaskRecord:
    given = tags.of_ecs(asked.get("tags"))
    if asked.get("propagateTags") == "TASK_DEFINITION":
        given = definition.tags | given
    return account.world.run(
        task,
        instance,
        overrides=asked.get("overrides") or {},
        tags=given,
        started_by=asked.get("startedBy", ""),
    )


def _answer(
    account: Account, found: Sequence[TaskRecord], failures: Sequence[Mapping[str, str]]
) -> Answer:
    tasks = [
        ecs_tasks.describe(account, one, set()) | {"tags": tags.to_ecs(one.tags)} for one in found
    ]
    return {"tasks": tasks, "failures": list(failures)}


OPERATIONS: Mapping[str, Operation] = {"RunTask": run_task, "StartTask": start_task}
