"""The environment as it is played: the scheduler's decisions, carried out with real containers."""

from __future__ import annotations

import copy
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

from rehearsal import deployments
from rehearsal.agent import Agent
from rehearsal.balancer import Balancer, Listener, TargetGroup
from rehearsal.decisions import Decisions
from rehearsal.declared import Declared, left_out
from rehearsal.engines import Runtime
from rehearsal.hosts import Hosts
from rehearsal.images import departures
from rehearsal.metadata_files import MetadataFiles
from rehearsal.meter import Meter, alarms_of
from rehearsal.observations import Observations
from rehearsal.records import Clock, Definition, Host, ServiceRecord, TaskRecord
from rehearsal.service_connect import Endpoint, ServiceConnect, endpoints, namespace_of
from rehearsal.service_scaling import ServiceScaling
from rehearsal.stacks import Stacks
from scheduler import control, environment
from scheduler.actions import Action
from scheduler.environment import DeclaredService
from scheduler.model import Bucket, Deployment, Instance, Refresh, ServiceDefinition, Task
from scheduler.scaling import Scaler
from scheduler.state import State
from templates import Graph, Value

LABEL = "drydock.rehearsal"
_LOG = logging.getLogger("rehearsal")
# In AWS's seconds: from the launch of an instance to its registration. AWS promises none.
BOOT_SECONDS = 60.0
TASKS_KEPT = 1000
Say = Callable[[str], None]


class World:
    """One environment on this machine.

    Every method that reads or changes it wants `lock`; `tick` takes it. What takes long (starting
    containers, making networks) happens in threads and is reported back to the next tick.
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        *,
        engine: Runtime,
        speed: float,
        owner: str,
        port: int,
        endpoint_port: int,
        say: Say,
        secrets: Mapping[str, str] | None = None,
        boot_seconds: float = BOOT_SECONDS,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.say = say
        self.lock = threading.RLock()
        self.clock = Clock(speed)
        self.state = State(_ids(), Random())  # noqa: S311 - chance, not secrets
        regions = {one.region for one in graph.stacks.values() if one.region}
        self.port = port
        self.stacks = Stacks(
            name, region=min(regions, default="us-east-1"), address=f"127.0.0.1:{port}"
        )
        self.boot_seconds = boot_seconds
        self.secrets = dict(secrets or {})
        self.files = MetadataFiles(folder, mounts=engine.name != "processes") if folder else None
        self.departures: dict[str, None] = {}
        self.definitions: dict[str, Definition] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.services: dict[str, ServiceRecord] = {}
        self.activities: list[tuple[float, str, str]] = []
        self.endpoint_port = endpoint_port
        self.graph = graph
        self.declared = environment.Environment(name, {})
        self.templates = Declared(graph, self.stacks)
        # Tasks whose health checks are made to fail.
        self.unchecked: set[str] = set()
        # Groups for which EC2 has no instance, on purpose, and until when one that failed waits.
        self.exhausted: set[str] = set()
        # By rule: the actions that ModifyRule gave it.
        self.modified: dict[str, Sequence[Mapping[str, Value]]] = {}
        self.not_before: dict[str, float] = {}
        self._balanced_by: tuple[list[Listener], dict[str, str]] = ([], {})
        self._decisions, self._observations = Decisions(self), Observations(self)
        self._closing = ExitStack()
        self._labels = {LABEL: owner}
        self.machines = Hosts(
            engine,
            owner=owner,
            labels=self._labels,
            say=say,
            on_network=lambda host: self.on_network(host),
            on_removed=lambda host: self.on_removed(host),
        )
        self._closing.callback(self.machines.close)
        self.hosts = self.machines.known
        # Whoever serves the containers of an instance listens on its network while there is one,
        # and whoever knows a container's metadata writes them down.
        self.on_network: Callable[[Host], None] = _nobody
        self.on_removed: Callable[[Host], None] = _nobody
        self.on_started: Callable[[TaskRecord, str], None] = _nobody
        self._connect = ServiceConnect()
        self._closing.callback(self._connect.close)
        self._unoffered: list[str] = []
        self.scaling = ServiceScaling(engine, self.machines.do)
        self.scalers = self.scaling.scalers
        self.balancer: Balancer
        self.meter: Meter
        self.agent: Agent

    # The beginning, a change, the end.

    def begin(self) -> None:
        """Open the balancer, and declare everything to the scheduler; the images are there."""
        self.stacks.update(self.graph)
        self.declared = environment.read(self.graph, self.name, known=self.stacks.known)
        _check_endpoints(self.declared, self.templates)
        self.agent = Agent(
            self.engine,
            self.templates.agent(),
            speed=self.clock.speed,
            labels=self._labels,
            say=_LOG.info,
        )
        self._closing.callback(self.agent.close, remove=True)
        listeners = self.templates.listeners()
        groups = self.templates.target_groups()
        self._balanced_by = (listeners, self.templates.balancer_attributes())
        self._groups = {group.arn for group in groups}
        # The one with rules is where the service is; a redirect to it may have any port.
        first = max(listeners, key=lambda one: len(one.rules))
        self.balancer = Balancer(
            listeners,
            groups,
            attributes=self.templates.balancer_attributes(),
            ports={first.arn: self.port},
            speed=self.clock.speed,
            say=self.say,
        )
        self._closing.callback(self.balancer.close)
        self.meter = Meter(self.balancer)
        self._note_departures()
        with self.lock:
            for group in self.declared.make_groups():
                self.state.add_group(group)
            for service in self.declared.services:
                self._declare(service)

    def _note_departures(self) -> None:
        """Take the alarms, and say of them and of the images what is not as on AWS."""
        self.meter.alarms, left = alarms_of(self.templates.of_type("AWS::CloudWatch::Alarm"))
        found = [f"the alarm {name} is not played: {why}" for name, why in left.items()]
        found += self.templates.agents_left_out()
        self.departures |= dict.fromkeys([*found, *departures(self.graph, self.name)])

    def apply(self, graph: Graph) -> None:
        """Roll out another assembly by the deployment settings of its own templates.

        Its images are there. What cannot be read raises before anything has changed.
        """
        with self.lock:
            stacks = copy.deepcopy(self.stacks)
            stacks.update(graph)
            declared = environment.read(graph, self.name, known=stacks.known)
            found = Declared(graph, stacks)
            listeners, groups = found.listeners(), found.target_groups()
            _check_endpoints(declared, found)
            before = {one.definition.name: one for one in self.declared.services}
            self.stacks, self.graph, self.templates, self.declared = stacks, graph, found, declared
            self._update_groups()
            self._update_balancer(listeners, groups)
            self._note_departures()
            for service in declared.services:
                self._declare(service, before.pop(service.definition.name, None))
            for name in before:
                if name in self.state.services and self.state.services[name].is_active:
                    self.delete_service(name)

    def close(self) -> None:
        """Stop and remove every container, network and process of it, whatever of them fails."""
        self._closing.close()

    def _declare(self, declared: DeclaredService, before: DeclaredService | None = None) -> None:
        properties = self.templates.properties(declared.resource)
        self.register(
            self.templates.properties(declared.task_definition),
            arn=self.stacks.physical(declared.task_definition),
        )
        name = declared.definition.name
        now = self.clock.now()
        service = self.state.services.get(name)
        desired = declared.desired
        if service is not None and service.is_active:
            # What scaled the service since is kept, within its bounds.
            desired = max(service.desired, declared.minimum or 0)
            desired = min(desired, declared.maximum or desired)
        record = self.services.get(name)
        if record is None or record.deleted is not None:
            record = ServiceRecord(
                self.stacks.physical(declared.resource), name, properties, self.clock.wall(now)
            )
            self.services[name] = record
        force = deployments.begins(record.properties, properties)
        record.properties = properties
        record.tags = tags_of(properties)
        self._declare_scaling(declared, before)
        target = declared.target and self.templates.properties(declared.target)
        self.departures |= dict.fromkeys(left_out(name, properties, target or {}))
        if self.namespace(name) and self.engine.name == "processes":
            self.departures[f"{name}: plain processes know no name of Service Connect's"] = None
        self.deploy(declared.definition, desired, force=force)

    def _declare_scaling(self, declared: DeclaredService, before: DeclaredService | None) -> None:
        """Take the template's scaling where that is new; else what was registered stays."""
        name = declared.definition.name
        bounds = (declared.minimum, declared.maximum, declared.policies)
        if before is not None and bounds == (before.minimum, before.maximum, before.policies):
            return
        if declared.minimum is None or declared.maximum is None:
            self.scalers.pop(name, None)
            return
        scaler = self.scalers.setdefault(name, Scaler(name, declared.minimum, declared.maximum, ()))
        scaler.minimum, scaler.maximum = declared.minimum, declared.maximum
        scaler.policies = declared.policies

    def register(self, properties: Mapping[str, Value], *, arn: str = "") -> Definition:
        """Register a task definition; the same properties give the same revision."""
        family = str(properties.get("Family") or arn.rpartition("/")[2].partition(":")[0])
        arn = arn or self.stacks.register(family, properties)
        if arn not in self.definitions:
            self.definitions[arn] = Definition(
                arn=arn,
                family=family,
                revision=int(arn.rpartition(":")[2]),
                properties=properties,
                task=environment.task_definition(properties, arn),
                registered_at=self.clock.wall(self.clock.now()),
                tags=tags_of(properties),
            )
        return self.definitions[arn]

    def _update_groups(self) -> None:
        for new in self.declared.make_groups():
            group = self.state.groups.get(new.name)
            if group is None:
                self.state.add_group(new)
                continue
            group.minimum, group.maximum, group.kinds = new.minimum, new.maximum, new.kinds
            group.scaling, group.drains, group.protects = new.scaling, new.drains, new.protects
            group.desired = min(max(group.desired, new.minimum), new.maximum)
            if new.template != group.template:
                group.template = new.template
                self.refresh(group.name)

    def _update_balancer(self, listeners: list[Listener], groups: list[TargetGroup]) -> None:
        """Take new target groups, then the rules that name them, then let go of old groups."""
        for group in groups:
            self.balancer.add_target_group(group)
        attributes = self.templates.balancer_attributes()
        if (listeners, attributes) != self._balanced_by:
            live = self._with_live_weights(listeners)
            declared = {one.arn: one for listener in listeners for one in listener.rules}
            self.balancer.configure(live, attributes)
            kept = {
                one.arn for listener in live for one in listener.rules if one != declared[one.arn]
            }
            self.modified = {arn: self.modified[arn] for arn in self.modified if arn in kept}
            self._balanced_by = (listeners, attributes)
        self._groups = {group.arn for group in groups}

    def _with_live_weights(self, listeners: Sequence[Listener]) -> list[Listener]:
        """Leave each rule that the templates leave as it was with the weights of a deployment."""
        before = {one.arn: one for listener in self._balanced_by[0] for one in listener.rules}
        live = {one.arn: one for listener in self.balancer.listeners for one in listener.rules}
        return [
            replace(
                listener,
                rules=[
                    live[one.arn] if one == before.get(one.arn) else one for one in listener.rules
                ],
            )
            for listener in listeners
        ]

    def offered(self, namespace: str) -> list[Endpoint]:
        """Give what the active services offer in a namespace of Service Connect."""
        return [one for one in self._endpoints() if one.namespace == namespace]

    def namespace(self, service: str) -> str:
        """Name the namespace that a service uses; empty where it, or such a service, uses none."""
        record = self.services.get(service)
        default = self.templates.default_namespace()
        return namespace_of(record.properties, default) if record is not None else ""

    def _endpoints(self) -> dict[Endpoint, dict[str, int]]:
        """Give each endpoint with the ports of its tasks that may get requests, by task."""
        default = self.templates.default_namespace()
        found: dict[Endpoint, dict[str, int]] = {}
        for name, service in self.state.services.items():
            if not service.is_active:
                continue
            for deployment in service.deployments:
                properties = self.services[name].properties_of(deployment.id)
                definition = self.definitions[deployment.definition.task_definition.name]
                for endpoint in endpoints(properties, definition.properties, default):
                    known = found.setdefault(endpoint, {})
                    known |= self._ports(deployment, endpoint)
        return found

    def _ports(self, deployment: Deployment, endpoint: Endpoint) -> dict[str, int]:
        """Give by task the port of 127.0.0.1 where one that runs, and is not ill, listens."""
        found = {}
        for bucket in (Bucket.SETTLING, Bucket.HEALTHY):
            for task in deployment.tasks[bucket].values():
                if task.definition.has_health_check and task.health != "HEALTHY":
                    continue
                container = self.tasks[task.id].containers.get(endpoint.container)
                port = container.ports.get(endpoint.container_port) if container else None
                if port is not None:
                    found[task.id] = port
        return found

    def _offer(self) -> None:
        """Let the names of Service Connect lead to the tasks that may get requests."""
        networks = [
            host.network
            for host in self.hosts.values()
            if host.network is not None and host.id in self.state.instances
        ]
        troubles = self._connect.update(networks, self._endpoints())
        for one in troubles:
            if one not in self._unoffered:
                self.say(f"Service Connect: {one}")
        self._unoffered = troubles

    def _let_go(self) -> None:
        """Remove target groups that the templates have no more, after their last target."""
        used = {record.target[0] for record in self.tasks.values() if record.target is not None}
        for arn in self.balancer.target_groups - self._groups - used:
            self.balancer.remove_target_group(arn)

    # What an operator, or the API, does.

    def refresh(self, group_name: str, *, every: bool = False) -> str:
        """Begin an instance refresh; give its id."""
        group = self.state.groups[group_name]
        named = [one.id for one in self.state.instances.values() if one.group == group_name]
        group.refresh = Refresh(
            str(uuid.uuid4()),
            group.template,
            self.clock.now(),
            every=frozenset(named) if every else frozenset(),
        )
        self.say(f"{group_name}: an instance refresh begins.")
        return group.refresh.id

    def delete_service(self, name: str) -> None:
        """Delete a service: its tasks are stopped."""
        self.state.remove(name)
        self.services[name].deleted = self.state.services[name]

    def roll_out(self, name: str, definition: Definition, *, force: bool = False) -> None:
        """Give a service another task definition."""
        service = self.state.services[name]
        new = replace(service.definition, task_definition=definition.task)
        self.state.deploy(new, service.desired, self.clock.now(), force=force)
        self.note_deployments(name)

    def deploy(self, definition: ServiceDefinition, desired: int, *, force: bool = False) -> None:
        """Declare a service whose record is in `services` to the scheduler, anew or changed."""
        service = self.state.deploy(definition, desired, self.clock.now(), force=force)
        self.note_deployments(definition.name)
        deployments.redeclared(self.services[definition.name], service)

    def modify_rule(self, rule: str, actions: Sequence[Mapping[str, Value]]) -> None:
        """Give a rule (by ARN) other actions, until the templates or a deployment change them."""
        self.balancer.set_actions(rule, actions)
        self.modified[rule] = actions

    def run(
        self,
        task: Task,
        instance: Instance | None,
        *,
        overrides: Mapping[str, Value],
        tags: dict[str, str],
        started_by: str,
    ) -> TaskRecord:
        """Start a task of no service, or let it wait for its provider."""
        self.state.run(task, instance)
        record = self._decisions.note(task)
        record.overrides, record.tags, record.started_by = overrides, tags, started_by
        if instance is not None:
            self._decisions.start(task)
        return record

    def act(self, action: Action) -> None:
        """Do what an operator decided, as if a control loop had."""
        self.state.apply(action, self.clock.now())
        self._decisions.carry_out(action)

    def lose(self, instance_id: str, why: str) -> int:
        """Take an instance away without warning; give how many requests were under way on it.

        Its containers are killed at once. The balancer is told in the same moment: on AWS it goes
        on sending requests there until its health checks fail, or ECS has noticed.
        """
        instance = self.state.instances[instance_id]
        instance.loss = why
        lost = [self.tasks[one] for one in instance.tasks if one in self.tasks]
        targets = [one.target for one in lost if one.target is not None and one.is_registered]
        for record in lost:
            record.is_registered = False
        for target in targets:
            self.balancer.deregister(*target)
        self.balancer.poll(self.clock.real())
        counted = self.balancer.counters().targets
        under_way = sum(counted[one].in_flight for one in targets if one in counted)
        self._decisions.pull_the_plug(instance_id)
        self.state.lost(instance_id, self.clock.now())
        return under_way

    def end_task(self, task_id: str, code: str, reason: str) -> None:
        """Note that a task has ended by itself, or never started."""
        now = self.clock.now()
        record = self.tasks.get(task_id)
        if record is not None and not record.has_ended:
            record.stopped_at = self.clock.wall(now)
            if self.files:
                self.files.remove(record)
        if task_id in self.state.tasks:
            self.state.stopped_itself(task_id, now, code=code, reason=reason)

    # One moment.

    def tick(self) -> list[Action]:
        """Take in what happened, decide, and set about what was decided."""
        with self.lock:
            now = self.clock.now()
            while not self.agent.observations.empty():
                self._observations.take(self.agent.observations.get())
            self._observations.see_hosts(now)
            self.balancer.poll(self.clock.real())
            self._observations.see_targets(now)
            if self.meter.is_due(now):
                self._measure(now)
            done = control.step(self.state, now)
            # Before a task is stopped, nobody is sent to it any more; before one starts, there is
            # whom it may ask.
            self._offer()
            for action in done:
                self._decisions.carry_out(action)
            for name in self.state.services:
                self.note_deployments(name)
            self._let_go()
            self._forget()
            return done

    def _forget(self) -> None:
        """Forget tasks that ended long ago; the API has long forgotten them too."""
        if len(self.tasks) > TASKS_KEPT:
            known = self.state.tasks.keys() | {task.id for task in self.state.stopped}
            self.tasks = {one: self.tasks[one] for one in self.tasks if one in known}

    def _measure(self, now: float) -> None:
        """Look at the alarms and the scaling policies, once in each of AWS's minutes."""
        self.meter.measure(now)
        self.state.alarms = self.meter.ringing()
        self.scaling.look(self.tasks)
        for action in self.scaling.decide(self.state.services, self.meter, now):
            self.state.apply(action, now)
            self._decisions.carry_out(action)

    def outcome(self, since: float) -> str:
        """Say how what was begun has ended: steady, rolled-back, failed, or not yet (empty).

        `since` is when it was begun, in AWS's time: what was rolled back before it does not count,
        and what had failed before it is told once the others have come to their end.
        """
        with self.lock:
            services = [one for one in self.state.services.values() if one.is_active]
            failed = [one for one in services if one.primary.rollout == "FAILED"]
            if any(one.primary.updated_at >= since for one in failed):
                return "failed"
            steady = all(
                one.is_steady and one.primary.rollout == "COMPLETED" and len(one.deployments) == 1
                for one in services
                if one not in failed
            )
            refreshing = any(
                one.refresh is not None and one.refresh.status == "InProgress"
                for one in self.state.groups.values()
            )
            if not steady or refreshing:
                return ""
            if failed:
                return "failed"
            newest = [self.services[one.name].deployments[-1] for one in services]
            back = any(
                one.status.startswith("ROLLBACK") and one.started_at >= self.clock.wall(since)
                for one in newest
            )
            return "rolled-back" if back else "steady"

    def failures(self) -> list[str]:
        """Say of each service whose deployment has failed which one, and why."""
        with self.lock:
            return [
                f"(service {one.name}) (deployment {one.primary.id}) has failed: "
                f"{one.primary.reason} It stays as it is until another deployment of it."
                for one in self.state.services.values()
                if one.is_active and one.primary.rollout == "FAILED"
            ]

    # Names.

    @property
    def cluster_name(self) -> str:
        """The name of the environment's cluster."""
        for one in self.stacks.of_type("AWS::ECS::Cluster"):
            return self.stacks.physical(one)
        return "default"

    def arn(self, path: str) -> str:
        """Make an ARN of ECS."""
        return self.stacks.arn("ecs", path)

    def zones(self) -> set[str]:
        """Name the zones in which the environment's groups boot their instances."""
        return {zone for group in self.state.groups.values() for zone in group.zones}

    def note_activity(self, group: str, what: str) -> None:
        """Keep what a group did, for DescribeScalingActivities."""
        self.activities.append((self.clock.wall(self.clock.now()), group, what))

    def note_deployments(self, name: str) -> None:
        """Bring the record of a service's deployments up to what the scheduler has."""
        record, service = self.services.get(name), self.state.services.get(name)
        if record is not None and service is not None:
            deployments.note(
                record, service, clock=self.clock, cluster=self.cluster_name, arn=self.arn
            )


def _check_endpoints(declared: environment.Environment, found: Declared) -> None:
    """Raise BalancerError for what a service offers through Service Connect and does not have."""
    for service in declared.services:
        definition = found.properties(service.task_definition)
        list(endpoints(found.properties(service.resource), definition, found.default_namespace()))


def _nobody(*_: object) -> None:
    """Hear, and do nothing."""


def tags_of(properties: Mapping[str, Value]) -> dict[str, str]:
    """Read a resource's tags."""
    return {str(one["Key"]): str(one["Value"]) for one in properties.get("Tags") or []}


def _ids() -> Iterator[str]:
    while True:
        yield uuid.uuid4().hex
