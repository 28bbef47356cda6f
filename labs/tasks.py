"""Lab 4: a task definition, a task, a service, and who starts and stops containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from labs import services
from labs.lab import Item, Lab, Remembered
from labs.place import Place
from labs.services import exit_code, short

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import TaskTypeDef

STARTED_BY = "lab-4"
KILLED = 137


def begin(place: Place) -> Remembered:
    """Remember the service, and tasks that somebody ran under this lab's name before."""
    return services.remember(place) | {"ran": [task["taskArn"] for task in _one_offs(place)]}


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for a task that was run and ended, one that was stopped, one whose container died."""
    yield _ran(place, remembered)
    stopped = [
        task
        for task in place.tasks(stopped=True)
        if task["taskArn"] not in remembered["stopped"] and task["lastStatus"] == "STOPPED"
    ]
    yield _stopped(stopped, remembered)
    yield _killed(stopped, remembered, place.container)
    yield services.is_steady(place, remembered)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Stop what was run beside the service, and give the service its count again."""
    for task in _one_offs(place):
        if task["lastStatus"] != "STOPPED":
            place.aws.ecs.stop_task(cluster=place.cluster, task=task["taskArn"], reason=STARTED_BY)
            yield f"Task {short(task['taskArn'])} of the lab is stopped."
    yield from services.put_back(place, remembered)


def _ran(place: Place, remembered: MutableMapping[str, Any]) -> Item:
    """Whether a task of no service ran to its end."""
    new = [task for task in _one_offs(place) if task["taskArn"] not in remembered["ran"]]
    for task in new:
        if task["lastStatus"] == "STOPPED" and exit_code(task, place.container) == 0:
            remembered["seen_run"] = short(task["taskArn"])
    if "seen_run" in remembered:
        return Item(True, f"task {remembered['seen_run']} was run once and ended with exit code 0")
    for task in new:
        if task["lastStatus"] != "STOPPED":
            return Item(
                False,
                f"task {short(task['taskArn'])} is {task['lastStatus']}; wait until it is STOPPED",
            )
        code = exit_code(task, place.container)
        return Item(
            False,
            f"task {short(task['taskArn'])} ended with exit code {code}: "
            f"{task.get('stoppedReason', 'no reason')}; its command must end with 0",
        )
    return Item(False, f"no task was run once: aws ecs run-task ... --started-by {STARTED_BY}")


def _stopped(stopped: list[TaskTypeDef], remembered: MutableMapping[str, Any]) -> Item:
    """Whether somebody stopped a task of the service."""
    for task in stopped:
        if task.get("stopCode") == "UserInitiated":
            remembered["seen_stopped"] = short(task["taskArn"])
    if "seen_stopped" in remembered:
        return Item(True, f"task {remembered['seen_stopped']} of the service was stopped by you")
    for task in stopped:
        if task.get("stopCode") == "ServiceSchedulerInitiated":
            return Item(
                False,
                f"task {short(task['taskArn'])} was stopped by the service itself "
                f"({task.get('stoppedReason')}), as after a change of its count; stop one "
                "yourself: aws ecs stop-task",
            )
    return Item(False, "no task of the service was stopped by you: aws ecs stop-task")


def _killed(
    stopped: list[TaskTypeDef], remembered: MutableMapping[str, Any], container: str
) -> Item:
    """Whether a container of the service died by SIGKILL without ECS having asked for it."""
    ended = [task for task in stopped if task.get("stopCode") == "EssentialContainerExited"]
    for task in ended:
        if exit_code(task, container) == KILLED:
            remembered["seen_killed"] = short(task["taskArn"])
    if "seen_killed" in remembered:
        return Item(
            True,
            f"the container of task {remembered['seen_killed']} was killed (exit code {KILLED}), "
            "and ECS ended the task",
        )
    for task in ended:
        return Item(
            False,
            f"the container of task {short(task['taskArn'])} ended with exit code "
            f"{exit_code(task, container)}, not {KILLED} as after SIGKILL: docker kill, not docker "
            "stop",
        )
    return Item(False, "no container of the service was killed: docker kill, with its runtimeId")


def _one_offs(place: Place) -> list[TaskTypeDef]:
    """Give the tasks, running and stopped, that were started under this lab's name."""
    return [
        task
        for stopped in (False, True)
        for task in place.tasks(stopped=stopped, of_service=False)
        if task.get("startedBy") == STARTED_BY
    ]


LAB = Lab(
    number=4,
    title="Task definition, task, service",
    minutes=10,
    page="04-tasks.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "A task that you run belongs to no service, so nobody starts it again. Give it a name to "
        "find it by: --started-by lab-4.",
        "describe-tasks gives a container's runtimeId, the id by which the engine knows it.",
        "stop-task asks ECS, which deregisters the target first and sends SIGTERM. docker kill "
        "asks nobody: the agent sees the container end, and tells ECS.",
        "ECS forgets stopped tasks after an hour, and the rehearsal that much faster. A check "
        "keeps what it has seen, so run it after each step.",
    ),
    is_minimum=True,
)
