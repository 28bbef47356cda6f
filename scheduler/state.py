"""What is declared and observed, held so that each question has its answer at hand.

The deciding functions (services, shifting, capacity, lifecycle) read a State and give actions;
`apply` keeps the books of an action, and the other methods those of what a driver observed. Nothing
here decides anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Literal

from scheduler import actions
from scheduler.actions import Action
from scheduler.model import (
    CLEAN_UP,
    Bucket,
    Deployment,
    Event,
    Group,
    Health,
    Instance,
    Reading,
    Service,
    ServiceDefinition,
    Status,
    TargetState,
    Task,
)

# Without a health check of any kind, a task counts as healthy after so long. Source, read
# 2026-11-24: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_definition_parameters.html
SETTLING_SECONDS = 40
# How long the API still knows a stopped task. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html
STOPPED_SECONDS = 3600
STOPPED_KEPT = 10_000
# Tasks of one service that are started a minute, and tasks of one cluster that may wait for
# instances. Source, read 2026-11-24: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
STARTS_A_MINUTE = 500
WAITING_LIMIT = 500
# How long a task waits for its capacity provider. The announcement of cluster auto scaling says
# "between 10 and 30 minutes", as quoted (read 2026-11-24) in
# https://github.com/aws/containers-roadmap/issues/2381; that it is the middle is unverified.
WAITING_SECONDS = 20 * 60


class State:
    """A cluster: instances, groups, tasks and services, by their ids and names.

    `ids` gives the ids of what is made, `random` is asked where ECS chooses by chance: with the
    same ones the same input gives the same output. `starts_a_minute` is AWS's quota, which a
    measurement of the scheduler itself may lift.
    """

    def __init__(
        self, ids: Iterator[str], random: Random, *, starts_a_minute: int = STARTS_A_MINUTE
    ) -> None:
        self.ids = ids
        self.random = random
        self.starts_a_minute = starts_a_minute
        self.instances: dict[str, Instance] = {}
        self.draining: dict[str, Instance] = {}
        self.groups: dict[str, Group] = {}
        self.services: dict[str, Service] = {}
        self.tasks: dict[str, Task] = {}
        self.stopped: deque[Task] = deque(maxlen=STOPPED_KEPT)
        # Alarms that are in ALARM now, by name.
        self.alarms: set[str] = set()
        # Tasks that lifecycle.decide must look at.
        self.changed: dict[str, Task] = {}
        # ECS deregisters a target before it stops the containers; the other order is a fault to
        # show what that is for.
        self.deregisters_first = True
        self._timers: list[tuple[float, int, str]] = []
        self._timer = 0
        # Waiting tasks, for the instances that they need, who waits longest first.
        self.waiting: dict[str, Task] = {}
        # Tasks that ended before their target was deregistered.
        self._registered_still: dict[str, Task] = {}

    # What is declared.

    def add_group(self, group: Group) -> None:
        """Take an Auto Scaling group and its capacity provider under management."""
        self.groups[group.name] = group

    def group_of(self, provider: str | None) -> Group | None:
        """Give the group behind a capacity provider."""
        return next((one for one in self.groups.values() if one.provider == provider), None)

    def placeable(self, provider: str | None) -> list[Instance]:
        """Give the registered instances on which a task of that provider may run."""
        group = self.group_of(provider)
        return [
            one
            for one in self.instances.values()
            if one.status in {"ACTIVE", "DRAINING"}
            and (provider is None or (group is not None and one.group == group.name))
        ]

    def deploy(
        self, definition: ServiceDefinition, desired: int, now: float, *, force: bool = False
    ) -> Service:
        """Create a service or update it; another task definition begins a new deployment.

        What begins one: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_definition_parameters.html
        (read 2026-11-24). Raises ValueError where a service of that name is being deleted:
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
        """
        service = self.services.get(definition.name)
        if service is not None and not service.is_active:
            raise ValueError(
                f"{definition.name}: expected a name that is free, got a service that is still "
                "draining"
            )
        if service is None:
            service = Service(definition, desired, now)
            self.services[definition.name] = service
            self._begin(service, definition, now)
            return service
        old = service.definition
        begins = force or (
            (old.task_definition, old.target_groups)
            != (definition.task_definition, definition.target_groups)
        )
        service.definition = definition
        if service.desired != desired:
            service.desired = desired
            service.is_steady = False
        if begins:
            self._begin(service, definition, now)
        else:
            service.primary.definition = definition
        return service

    def remove(self, name: str) -> None:
        """Delete a service: it keeps its name until its last task has stopped."""
        service = self.services[name]
        service.desired = 0
        service.is_active = False

    def _begin(self, service: Service, definition: ServiceDefinition, now: float) -> None:
        serving = service.serving
        for older in service.deployments:
            older.is_primary = False
            older.most = service.desired
            older.updated_at = now
        new = Deployment(f"ecs-svc/{next(self.ids)}", definition, now, updated_at=now)
        if serving is not None and len(definition.target_groups) > 1:
            new.target_group = 1 - serving.target_group
        self._watch_alarms(new)
        service.deployments.insert(0, new)
        # A new revision ends the back-off. Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
        service.end_back_off()
        service.is_steady = False
        service.trouble = ""
        service.told.clear()

    def _watch_alarms(self, deployment: Deployment) -> None:
        """An alarm that rings when a deployment begins, a rollback too, is not watched in it.

        Source, read 2026-11-24:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
        """
        ringing = self.alarms.intersection(deployment.definition.alarms)
        deployment.watches_alarms = not ringing

    # What a driver observes.

    def add_instance(self, instance: Instance) -> None:
        """Note an instance that boots, or one that is there."""
        self.instances[instance.id] = instance

    def registered(self, instance_id: str, now: float) -> None:
        """An instance has booted and its agent has registered it with the cluster."""
        instance = self.instances[instance_id]
        if instance.lifecycle == "Pending":
            instance.lifecycle = "InService"
            instance.in_service_at = now
            # Protection starts here, not at the launch. Source, read 2026-11-24:
            # https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-instance-protection.html
            group = self.groups.get(instance.group or "")
            instance.is_protected = group is not None and group.protects
        if instance.status == "REGISTERING":
            instance.status = "ACTIVE"

    def set_instance_status(self, instance_id: str, status: Literal["ACTIVE", "DRAINING"]) -> None:
        """Set ACTIVE or DRAINING, as UpdateContainerInstancesState does."""
        instance = self.instances[instance_id]
        instance.status = status
        if status == "DRAINING":
            self.draining[instance_id] = instance
        else:
            self.draining.pop(instance_id, None)

    def lost(self, instance_id: str, now: float) -> list[Task]:
        """An instance is gone, with every task on it; give those."""
        instance = self.instances.pop(instance_id)
        self.draining.pop(instance_id, None)
        instance.status, instance.lifecycle = "INACTIVE", "Terminated"
        gone = list(instance.tasks.values())
        for task in gone:
            # The code, read 2026-11-24; the words are those of real events:
            # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
            self.stopped_itself(
                task.id,
                now,
                code="TerminationNotice",
                reason=instance.loss or f"Host EC2 (instance {instance_id}) terminated.",
            )
        return gone

    def started(self, task_id: str, now: float) -> None:
        """A task's containers run."""
        task = self.tasks.get(task_id)
        if task is None or task.status != "PENDING":
            return
        deployment = self.deployment_of(task)
        if task.wanted and deployment is not None and deployment.definition.has_targets:
            self._set(task, "ACTIVATING", now)
        else:
            self._set(task, "RUNNING", now)

    def set_health(self, task_id: str, health: Health, now: float) -> None:
        """The container health checks of a task say so."""
        task = self.tasks.get(task_id)
        if task is not None and task.health != health:
            task.health = health
            self._note_health(task, now)

    def set_target(
        self, task_id: str, target: TargetState | None, now: float, reason: str = ""
    ) -> None:
        """The load balancer says so of a task's target; None once it is no longer there."""
        task = self.tasks.get(task_id)
        if task is None or (task.target, task.target_reason) == (target, reason):
            return
        task.target, task.target_reason = target, reason
        if target is None:
            self.changed[task.id] = task
        self._note_health(task, now)

    def stopped_itself(self, task_id: str, now: float, *, code: str = "", reason: str = "") -> None:
        """A task's containers have ended, wanted or not."""
        task = self.tasks.pop(task_id, None)
        if task is None:
            return
        if not task.stop_code:
            task.stop_code, task.stop_reason = code, reason
        failed = task.wanted
        if task.wanted:
            self._uncount(task)
        task.wanted = False
        self._unplace(task)
        before = task.status
        task.status = "STOPPED"
        task.stopped_at = now
        self._leave_bucket(task)
        self.waiting.pop(task.id, None)
        self.changed[task.id] = task
        self.stopped.append(task)
        if task.target not in {None, "draining"}:
            self._registered_still[task.id] = task
        if failed:
            self._note_failure(task, before, now)

    def tick(self, now: float) -> None:
        """Let time pass: tasks settle, and grace periods end."""
        while self._timers and self._timers[0][0] <= now:
            _, _, task_id = heapq.heappop(self._timers)
            task = self.tasks.get(task_id)
            if task is not None:
                self._note_health(task, now)
        while self.stopped and (self.stopped[0].stopped_at or 0) < now - STOPPED_SECONDS:
            self.stopped.popleft()

    def next_timer(self) -> float | None:
        """Give when `tick` next has something to do."""
        return self._timers[0][0] if self._timers else None

    def take_changed(self) -> list[Task]:
        """Give the tasks that have changed since this was last asked."""
        changed, self.changed = self.changed, {}
        return list(changed.values())

    def target_group_of(self, task: Task) -> str | None:
        """Name the target group that a task's deployment registers with."""
        deployment = self.deployment_of(task)
        if deployment is None or not deployment.definition.target_groups:
            return None
        return deployment.definition.target_groups[deployment.target_group]

    # The books of an action.

    def apply(self, action: Action, now: float) -> None:
        """Note what was decided."""
        getattr(self, f"_{type(action).__name__.lower()}")(action, now)

    def run(self, task: Task, instance: Instance | None) -> None:
        """Note a task that no service asked for (RunTask, StartTask)."""
        self.tasks[task.id] = task
        if instance is None:
            self._wait(task)
        else:
            self._put(task, instance)

    def _wait(self, task: Task) -> None:
        self.waiting[task.id] = task
        self._at(task.created_at + WAITING_SECONDS, task)

    def _start(self, action: actions.Start, now: float) -> None:
        service = self.services[action.service]
        task = Task(
            action.task,
            service.group,
            action.definition,
            now,
            service=action.service,
            deployment=action.deployment,
            provider=service.definition.provider,
            zone=action.zone,
        )
        self.tasks[task.id] = task
        service.is_steady = False
        if now >= service.minute + 60:
            service.minute, service.started_in_minute = now, 0
        service.started_in_minute += 1
        if action.instance is None:
            self._wait(task)
            self._place_in_bucket(task)
        else:
            self._put(task, self.instances[action.instance])

    def _assign(self, action: actions.Assign, _now: float) -> None:
        task = self.tasks[action.task]
        del self.waiting[task.id]
        self._put(task, self.instances[action.instance])

    def _put(self, task: Task, instance: Instance) -> None:
        need = task.definition
        instance.cpu_left -= need.cpu
        instance.memory_left -= need.memory
        instance.interfaces_left -= need.interfaces
        instance.dynamic_ports_left -= need.dynamic_ports
        instance.host_ports |= need.host_ports
        instance.of_group[task.group] += 1
        instance.tasks[task.id] = task
        task.instance = instance
        task.status = "PENDING"
        self._place_in_bucket(task)

    def _unplace(self, task: Task) -> None:
        instance, need = task.instance, task.definition
        if instance is None or instance.tasks.pop(task.id, None) is None:
            return
        instance.cpu_left += need.cpu
        instance.memory_left += need.memory
        instance.interfaces_left += need.interfaces
        instance.dynamic_ports_left += need.dynamic_ports
        instance.host_ports -= need.host_ports

    def _uncount(self, task: Task) -> None:
        # distinctInstance and spread look at tasks that are wanted. Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html
        if task.instance is not None:
            task.instance.of_group[task.group] -= 1

    def _stop(self, action: actions.Stop, now: float) -> None:
        task = self.tasks[action.task]
        if not task.wanted:
            return
        if task.instance is None and action.code == "TaskFailedToStart":
            self.stopped_itself(task.id, now, code=action.code, reason=action.reason)
            return
        self._uncount(task)
        task.wanted = False
        task.stop_code, task.stop_reason = action.code, action.reason
        service, deployment = self.services.get(task.service or ""), self.deployment_of(task)
        if service is not None:
            service.is_steady = False
        if deployment is not None and task.bucket is Bucket.UNHEALTHY:
            deployment.failed_tasks += 1
        if task.instance is None:
            self.waiting.pop(task.id, None)
            self.stopped_itself(task.id, now)
            return
        self._place_in_bucket(task)
        self.changed[task.id] = task

    def _register(self, action: actions.Register, now: float) -> None:
        task = self.tasks[action.task]
        task.target = "initial"
        self._set(task, "RUNNING", now)

    def _deregister(self, action: actions.Deregister, now: float) -> None:
        task = self.tasks.get(action.task)
        if task is None:  # it ended by itself
            gone = self._registered_still.pop(action.task, None)
            if gone is not None:
                gone.target = None
            return
        task.target = "draining"
        if self.deregisters_first:
            self._set(task, "DEACTIVATING", now)

    def _halt(self, action: actions.Halt, now: float) -> None:
        self._set(self.tasks[action.task], "STOPPING", now)

    def _say(self, action: actions.Say, now: float) -> None:
        self.services[action.service].events.appendleft(Event(now, action.message))

    def _deployment(self, service: str, deployment: str) -> Deployment:
        return next(one for one in self.services[service].deployments if one.id == deployment)

    def _complete(self, action: actions.Complete, now: float) -> None:
        deployment = self._deployment(action.service, action.deployment)
        deployment.rollout, deployment.completed_at = "COMPLETED", now
        deployment.is_rollback = False
        deployment.reason = f"ECS deployment {deployment.id} completed."
        deployment.updated_at = now
        self.services[action.service].last_completed = deployment

    def _fail(self, action: actions.Fail, now: float) -> None:
        service = self.services[action.service]
        failed = self._deployment(action.service, action.deployment)
        failed.rollout, failed.reason, failed.updated_at = "FAILED", action.reason, now
        if action.to is None:
            return
        failed.is_primary = False
        again = next((one for one in service.deployments if one.id == action.to), None)
        if again is None:
            again = service.last_completed
            assert again is not None  # noqa: S101 - `to` names it
        else:
            service.deployments.remove(again)
        service.deployments.insert(0, again)
        again.is_primary = again.is_rollback = True
        again.rollout = "IN_PROGRESS"
        again.failed_tasks = 0
        self._watch_alarms(again)
        again.updated_at = now
        # Its traffic is given back to it by an action, so that the driver learns of it.
        again.stage, again.stage_at, again.percent = "", now, 0.0
        service.definition = again.definition
        service.end_back_off()

    def _forget(self, action: actions.Forget, _now: float) -> None:
        service = self.services[action.service]
        service.deployments.remove(self._deployment(action.service, action.deployment))

    def _enter(self, action: actions.Enter, now: float) -> None:
        deployment = self._deployment(action.service, action.deployment)
        deployment.stage, deployment.stage_at = action.stage, now
        deployment.percent = action.percent
        if action.stage == CLEAN_UP:
            # From here on there is nothing older to go back to.
            self.services[action.service].last_completed = deployment

    def _steady(self, action: actions.Steady, _now: float) -> None:
        self.services[action.service].is_steady = action.is_steady

    def _trouble(self, action: actions.Trouble, now: float) -> None:
        service = self.services[action.service]
        service.trouble = action.message
        if action.message:
            service.told[action.cause] = now
            service.events.appendleft(Event(now, action.message))
        else:
            service.told.clear()

    def _backoff(self, action: actions.BackOff, _now: float) -> None:
        service = self.services[action.service]
        service.retry_at, service.backed_off_at = action.until, action.failed_starts

    def _rebalance(self, action: actions.Rebalance, _now: float) -> None:
        self.services[action.service].rebalancing = action.task

    def _balanced(self, action: actions.Balanced, _now: float) -> None:
        self.services[action.service].is_unbalanced = action.is_unbalanced

    def _launch(self, action: actions.Launch, now: float) -> None:
        group = self.groups[action.group]
        others = [
            one
            for one in self.instances.values()
            if one.group == group.name and one.lifecycle != "Terminating:Wait"
        ]
        on_demand = sum(not one.spot for one in others)
        beyond = max(len(others) + 1 - group.on_demand_base, 0)
        wanted = group.on_demand_base + -(-beyond * group.on_demand_percent // 100)
        if group.refresh is not None:
            group.refresh.moved_at = now
        self.add_instance(
            Instance(
                action.instance,
                group.kinds[action.kind],
                action.zone,
                group=group.name,
                template=action.template,
                spot=on_demand >= wanted,
                launched_at=now,
            )
        )

    def _endinstance(self, action: actions.EndInstance, now: float) -> None:
        instance = self.instances[action.instance]
        instance.lifecycle = "Terminating:Wait"
        instance.is_protected = False
        instance.draining_at = now
        group = self.groups.get(instance.group or "")
        if group is not None and group.refresh is not None:
            group.refresh.moved_at = now

    def _drain(self, action: actions.Drain, now: float) -> None:
        self.set_instance_status(action.instance, "DRAINING")
        self.instances[action.instance].draining_at = now

    def _terminate(self, action: actions.Terminate, now: float) -> None:
        self.lost(action.instance, now)

    def _protect(self, action: actions.Protect, _now: float) -> None:
        self.instances[action.instance].is_protected = action.is_protected

    def _resize(self, action: actions.Resize, now: float) -> None:
        group = self.groups[action.group]
        if action.desired > group.desired:
            group.scaled_out_at = now
        group.desired = action.desired

    def _measure(self, action: actions.Measure, now: float) -> None:
        reading = Reading(now, action.value, action.needed, action.running)
        self.groups[action.group].readings.append(reading)

    def _refreshed(self, action: actions.Refreshed, now: float) -> None:
        refresh = self.groups[action.group].refresh
        if refresh is not None:
            refresh.status, refresh.ended_at = action.status, now  # type: ignore[assignment]

    def _scale(self, action: actions.Scale, _now: float) -> None:
        service = self.services[action.service]
        service.desired = action.desired
        service.is_steady = False

    # Buckets.

    def _set(self, task: Task, status: Status, now: float) -> None:
        task.status = status
        self.changed[task.id] = task
        if status == "RUNNING" and task.running_at is None:
            task.running_at = now
            deployment = self.deployment_of(task)
            if deployment is not None:
                self.services[task.service or ""].end_back_off()
                if not _is_checked(task, deployment.definition):
                    self._at(now + SETTLING_SECONDS, task)
                elif deployment.definition.grace_seconds:
                    self._at(now + deployment.definition.grace_seconds, task)
        self._note_health(task, now)

    def _at(self, moment: float, task: Task) -> None:
        self._timer += 1
        heapq.heappush(self._timers, (moment, self._timer, task.id))

    def _note_health(self, task: Task, now: float) -> None:
        service = self.services.get(task.service or "")
        if service is None:
            return
        deployment = self._place_in_bucket(task, now)
        if deployment is None or task.bucket is not Bucket.HEALTHY:
            return
        if not task.was_healthy:
            task.was_healthy = True
            breaker = service.definition.breaker
            if breaker is None or breaker.reset_on_healthy_task:
                deployment.failed_tasks = 0

    def _note_failure(self, task: Task, before: str, now: float) -> None:
        """Count a task that ended unasked: against its deployment, and for the back-off."""
        service = self.services.get(task.service or "")
        if service is None:
            return
        service.is_steady = False
        if before in {"PROVISIONING", "PENDING", "ACTIVATING"}:
            service.failed_starts += 1
        deployment = self.deployment_of(task)
        # The page counts tasks that never ran and tasks whose health checks failed. That one which
        # ends by itself before it was ever healthy counts too, and one that ran and went with its
        # host does not, is unverified. Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
        went_with_host = before == "RUNNING" and task.stop_code == "TerminationNotice"
        if deployment is not None and not task.was_healthy and not went_with_host:
            deployment.failed_tasks += 1
            deployment.updated_at = now

    def deployment_of(self, task: Task) -> Deployment | None:
        """Give the deployment that a task belongs to, while its service has it."""
        service = self.services.get(task.service or "")
        if service is not None:
            for one in service.deployments:
                if one.id == task.deployment:
                    return one
        return None

    def _leave_bucket(self, task: Task) -> None:
        deployment = self.deployment_of(task)
        if deployment is not None and task.bucket is not None:
            del deployment.tasks[task.bucket][task.id]
        task.bucket = None

    def _place_in_bucket(self, task: Task, now: float | None = None) -> Deployment | None:
        deployment = self.deployment_of(task)
        if deployment is None:
            return None
        bucket = self._bucket(task, deployment.definition, now)
        if task.bucket is not bucket:
            if task.bucket is not None:
                del deployment.tasks[task.bucket][task.id]
            deployment.tasks[bucket][task.id] = task
            task.bucket = bucket
        return deployment

    def _bucket(self, task: Task, definition: ServiceDefinition, now: float | None) -> Bucket:
        if not task.wanted:
            return Bucket.ENDING
        if task.instance is None:
            return Bucket.WAITING
        if task.running_at is None or task.status != "RUNNING":
            return Bucket.STARTING
        at = task.running_at if now is None else now
        bad = task.health == "UNHEALTHY" or task.target == "unhealthy"
        if bad:
            # In its grace period a task that was never healthy may yet become so.
            over = at >= task.running_at + definition.grace_seconds
            return Bucket.UNHEALTHY if over else Bucket.SETTLING
        if not _is_checked(task, definition):
            settled = at >= task.running_at + SETTLING_SECONDS
            return Bucket.HEALTHY if settled else Bucket.SETTLING
        good = (not task.definition.has_health_check or task.health == "HEALTHY") and (
            not definition.has_targets or task.target == "healthy"
        )
        return Bucket.HEALTHY if good else Bucket.SETTLING


def _is_checked(task: Task, definition: ServiceDefinition) -> bool:
    return task.definition.has_health_check or definition.has_targets
