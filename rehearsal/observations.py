"""Takes in what was really seen of containers, targets and instances, and tells the scheduler."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from rehearsal.agent import Observation
from rehearsal.balancer import Target
from rehearsal.engines import EngineError
from rehearsal.records import ContainerRecord, TaskRecord
from rehearsal.target_groups import TIMED_OUT
from scheduler.model import Health, TargetState

if TYPE_CHECKING:
    from rehearsal.world import World

# Of what a container wrote before its end, as many are told.
LINES = 3
_LOG = logging.getLogger("rehearsal")


class Observations:
    """Takes each observation into a World; `_saw_<kind>` takes one kind of them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def take(self, seen: Observation) -> None:
        """Take in what happened to a container; one that fails must not hide those after it."""
        record = self._world.tasks.get(seen.task)
        if record is None:
            return
        try:
            getattr(self, f"_saw_{seen.kind}")(record, record.containers[seen.container], seen)
            if seen.last:
                self._ended(record)
        except Exception:
            _LOG.exception("%s", seen)

    def _saw_pulling(self, record: TaskRecord, _: ContainerRecord, seen: Observation) -> None:
        record.pull_started_at = record.pull_started_at or seen.time

    def _saw_pulled(self, record: TaskRecord, one: ContainerRecord, seen: Observation) -> None:
        record.pull_stopped_at = seen.time
        one.image_id = seen.image_id or ""

    def _saw_started(self, record: TaskRecord, one: ContainerRecord, seen: Observation) -> None:
        one.status, one.runtime_id = "RUNNING", seen.runtime_id or ""
        one.started_at = seen.time
        one.image_id = seen.image_id or one.image_id
        before = one.ports
        one.ports = {int(port.partition("/")[0]): ours for port, ours in seen.ports.items()}
        self._move_target(record, before, one.ports)
        self._world.on_started(record, one.name)
        if all(other.status != "PENDING" for other in record.containers.values()):
            record.started_at = record.started_at or seen.time
            self._world.state.started(record.id, self._world.clock.now())

    def _move_target(self, record: TaskRecord, before: dict[int, int], now: dict[int, int]) -> None:
        """Follow a container that was restarted to the port where it listens since.

        On AWS it keeps its host port; here the engine gives it another port of this machine.
        """
        if record.target is None or not record.is_registered:
            return
        group, name = record.target
        was = self._world.balancer.where(group, name)
        for container_port, ours in before.items():
            if was is not None and was.port == ours != now.get(container_port, ours):
                self._world.balancer.deregister(group, name)
                self._world.balancer.register(group, Target(name, was.host, now[container_port]))

    def _saw_health(self, record: TaskRecord, one: ContainerRecord, seen: Observation) -> None:
        one.health = seen.health
        checked = [
            record.containers[str(definition["Name"])].health
            for definition in record.definition.containers
            if definition.get("HealthCheck")
            and record.containers[str(definition["Name"])].essential
        ]
        # Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html, healthStatus
        worst = next((h for h in ("UNHEALTHY", "UNKNOWN") if h in checked), "HEALTHY")
        self._world.state.set_health(record.id, cast(Health, worst), self._world.clock.now())

    def _saw_stopped(self, record: TaskRecord, one: ContainerRecord, seen: Observation) -> None:
        one.status, one.exit_code, one.reason = "STOPPED", seen.exit_code, seen.reason
        one.stopped_at = seen.time
        if one.essential and seen.exit_code and record.stopping_at is None and one.runtime_id:
            self._tell_end(record, one)
        if one.essential and record.execution_stopped_at is None:
            record.execution_stopped_at = seen.time

    _saw_failed = _saw_stopped

    def _tell_end(self, record: TaskRecord, one: ContainerRecord) -> None:
        """Say how a container ended that nobody asked to, with the last that it wrote."""

        def tell() -> None:
            try:
                written = self._world.engine.logs(one.runtime_id)
            except EngineError:
                written = ""  # it is removed already
            lines = [line for line in written.splitlines() if line.strip()][-LINES:]
            self._world.say(
                "\n  ".join([f"(task {record.id}) {one.name} exited with {one.exit_code}.", *lines])
            )

        self._world.machines.do(tell)

    def _ended(self, record: TaskRecord) -> None:
        """Every container has stopped: so has the task."""
        started = any(one.started_at for one in record.containers.values())
        reasons = [one.reason for one in record.containers.values() if one.reason]
        if started:
            code, reason = "EssentialContainerExited", "Essential container in task exited"
        else:
            code, reason = "TaskFailedToStart", (reasons or ["its containers did not start"])[0]
        self._world.end_task(record.id, code, reason)

    def see_hosts(self, now: float) -> None:
        """Register the instances that have booted, and give up those that do not boot."""
        world = self._world
        for group in [name for name, until in world.not_before.items() if now >= until]:
            del world.not_before[group]
            world.state.groups[group].is_exhausted = group in world.exhausted
        for instance in list(world.state.instances.values()):
            host = world.hosts[instance.id]
            if instance.lifecycle != "Pending":
                continue
            if host.failed:
                world.say(f"{host.ec2_id} does not boot: {host.failed}")
                world.lose(host.id, host.failed)
                # The next try waits, as a group's does after a launch that failed.
                world.not_before[instance.group or ""] = now + world.boot_seconds
                world.state.groups[instance.group or ""].is_exhausted = True
            elif host.network is not None and now >= host.boots_at:
                host.registered_at = world.clock.wall(now)
                world.state.registered(host.id, now)
                world.say(f"{host.ec2_id} has registered with the cluster.")

    def see_targets(self, now: float) -> None:
        """Tell the scheduler how each target is."""
        world = self._world
        seen = world.balancer.health()
        for record in world.tasks.values():
            if record.target is None:
                continue
            health = seen.get(record.target)
            if health is None or health.state == "unused":
                if record.id in world.state.tasks and not record.is_registered:
                    world.state.set_target(record.id, None, now)
                    record.target = None
                continue
            if record.id in world.unchecked and health.state == "healthy":
                health = TIMED_OUT
            if record.id in world.state.tasks:
                state = cast(TargetState, health.state)
                world.state.set_target(record.id, state, now, health.description or "")
