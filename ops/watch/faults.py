"""What a rehearsal's page may break, and the command that does the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ops.watch.rehearsal import RefusedError, Rehearsal

if TYPE_CHECKING:
    from ops.aws import Aws

# What stands for the choice in a command, and in what is said.
TARGET = "{target}"
HOW = "{how}"
# The ways in which an image can be bad, as `python -m rehearsal fail image` names them.
IMAGES: Mapping[str, str] = {
    "crash": "it crashes at once",
    "silent": "it never listens",
    "unhealthy": "its health checks fail",
    "failing": "healthy, but all else is 500",
    "missing": "it cannot be pulled",
}


@dataclass(frozen=True)
class Fault:
    """Something to break: `on` is what is chosen for it, a task, instance, zone or service.

    `command` does the same in a terminal, with TARGET and HOW for the choices. `undo` takes its
    place for an instance that is DRAINING.
    """

    kind: str
    on: str
    label: str
    says: str
    command: str
    hows: Mapping[str, str]
    undo: Fault | None = None


class Faults:
    """Breaks a rehearsal, through AWS's API where that does it, else by its own commands."""

    def __init__(self, rehearsal: Rehearsal, aws: Aws, cluster: str) -> None:
        self._rehearsal = rehearsal
        self._aws = aws
        self._cluster = cluster

    def offered(self) -> list[Fault]:
        """Give what can be broken; nothing where the rehearsal's token is not on this machine."""
        if not self._rehearsal.may_be_broken():
            return []
        ours = "python -m rehearsal"
        name = self._rehearsal.environment
        where = "" if name == "sandbox" else f" --environment {name}"
        there = f"--endpoint-url {self._rehearsal.endpoint} --region {self._aws.region}"
        cluster = f"--cluster {self._cluster}"
        no: Mapping[str, str] = {}
        update = (
            f"aws ecs update-container-instances-state {cluster} --container-instances {TARGET}"
        )
        # Nothing is moved back to it: "the scheduler can begin scheduling tasks on the instance
        # again". Source, read 2026-11-29: API_UpdateContainerInstancesState.html of
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/
        undo = Fault("activate", "instance", "Take tasks again",
                     "New tasks may be placed on it; those that left it stay where they are.",
                     f"{update} --status ACTIVE {there}", no)  # fmt: skip
        return [
            Fault("stop-task", "task", "Stop a task",
                  "ECS takes its target out, sends SIGTERM, and starts another.",
                  f"aws ecs stop-task {cluster} --task {TARGET} {there}", no),
            Fault("drain", "instance", "Drain an instance",
                  "Its tasks are replaced elsewhere first, then stopped.",
                  f"{update} --status DRAINING {there}", no, undo=undo),
            Fault("instance", "instance", "Lose an instance",
                  "It is gone without warning, with all that runs on it.",
                  f"{ours} fail{where} instance {TARGET}", no),
            Fault("az", "zone", "Lose an AZ",
                  "All its instances are gone, and none boots there.",
                  f"{ours} fail{where} az {TARGET}", no),
            Fault("image", "service", "Deploy a bad image",
                  "The rollout fails, and is rolled back by itself where something notices.",
                  f"{ours} fail{where} image {TARGET} {HOW}", IMAGES),
            Fault("restore", "", "Mend everything",
                  "Zones, capacity and images are as they were before they were broken.",
                  f"{ours} restore {name}", no),
        ]  # fmt: skip

    def carry_out(self, kind: str, target: str, how: str = "") -> str:
        """Break or mend something; give what is then said.

        Raises RefusedError for what there is not, NotPlayedError where nobody plays, and
        botocore's errors.
        """
        offered = {each.kind: each for one in self.offered() for each in (one, one.undo) if each}
        if kind not in offered:
            raise RefusedError(f"{kind}: expected one of {', '.join(offered) or 'none'}")
        if offered[kind].on and not target:
            raise RefusedError(f"{kind}: expected {offered[kind].on} to be named")
        if kind == "stop-task":
            self._aws.ecs.stop_task(cluster=self._cluster, task=target)
            return f"Task {target} is told to stop."
        if kind == "drain":
            self._set(target, "DRAINING")
            return f"Container instance {target} drains."
        if kind == "activate":
            self._set(target, "ACTIVE")
            return f"Container instance {target} takes tasks again."
        if kind == "restore":
            return self._rehearsal.command("restore")
        arguments = [target, how] if how else [target]
        return self._rehearsal.command("fail", kind=kind, arguments=arguments)

    def _set(self, target: str, status: Literal["ACTIVE", "DRAINING"]) -> None:
        answer = self._aws.ecs.update_container_instances_state(
            cluster=self._cluster, containerInstances=[target], status=status
        )
        if answer["failures"]:
            raise RefusedError(f"{target}: {answer['failures'][0].get('reason', 'not found')}")
