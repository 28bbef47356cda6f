"""Carries out what the scheduler decided, or an operator: starts, stops, registers, launches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rehearsal import deployments
from rehearsal.agent import TaskToRun
from rehearsal.balancer import Target
from rehearsal.hosts import address, free_port
from rehearsal.records import ContainerRecord, Host, TaskRecord
from rehearsal.service_connect import host_options
from scheduler import actions
from scheduler.actions import Action
from scheduler.model import Task
from templates import is_true

if TYPE_CHECKING:
    from rehearsal.world import World

_LOG = logging.getLogger("rehearsal")


class Decisions:
    """Sets about each action for a World; `_do_<action>` does one kind of them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def carry_out(self, action: Action) -> None:
        """Set about an action; one that fails must not keep the others from their turn."""
        take = getattr(self, f"_do_{type(action).__name__.lower()}", None)
        if take is None:
            return
        try:
            take(action)
        except Exception as error:
            _LOG.exception("%s", action)
            self._world.say(f"{type(action).__name__} was not carried out: {error}")
            if isinstance(action, actions.Start | actions.Assign):
                self._world.end_task(action.task, "TaskFailedToStart", str(error))

    def _do_start(self, action: actions.Start) -> None:
        task = self._world.state.tasks.get(action.task)
        if task is not None:
            self.note(task)
            if action.instance is not None:
                self.start(task)

    def _do_assign(self, action: actions.Assign) -> None:
        task = self._world.state.tasks.get(action.task)
        if task is not None:
            self.start(task)

    def note(self, task: Task) -> TaskRecord:
        """Make the record of a task, as the API tells of it."""
        definition = self._world.definitions[task.definition.name]
        cluster = self._world.cluster_name
        record = TaskRecord(
            id=task.id,
            arn=self._world.arn(f"task/{cluster}/{task.id}"),
            definition=definition,
            group=task.group,
            created_at=self._world.clock.wall(task.created_at),
            started_by=task.deployment or "",
            provider=task.provider or "",
            containers={
                str(one["Name"]): ContainerRecord(
                    str(one["Name"]),
                    str(one["Image"]),
                    essential=is_true(one.get("Essential", True)),
                )
                for one in definition.containers
            },
        )
        self._world.tasks[task.id] = record
        return record

    def start(self, task: Task) -> None:
        """Have the agent start a task where it was placed."""
        world = self._world
        record, instance = world.tasks[task.id], task.instance
        assert instance is not None  # noqa: S101 - it was just placed
        host = world.hosts[instance.id]
        assert host.network is not None  # noqa: S101 - it has registered
        record.instance, record.zone = instance.id, instance.zone
        properties = record.definition.properties
        awsvpc = properties.get("NetworkMode") == "awsvpc"
        record.address = address(instance.zone, world.zones(), task.id) if awsvpc else host.address
        for container in record.definition.containers:
            for mapping in container.get("PortMappings") or []:
                key = (str(container["Name"]), int(mapping["ContainerPort"]))
                record.host_ports[key] = (
                    key[1] if awsvpc else int(mapping.get("HostPort") or 0) or self._free_port(host)
                )
        files = world.files if world.agent.settings.container_metadata else None
        arn = world.arn(f"container-instance/{world.cluster_name}/{instance.id}")
        # Only what is offered now: a task never learns of an endpoint that comes after it.
        namespace = world.namespace(task.service or "")
        names = host_options(host.network, world.offered(namespace)) if namespace else []
        options = {name: list(names) for name in record.containers}
        if files:
            for name, words in options.items():
                words += files.begin(record, name, cluster=world.cluster_name, instance=arn)
        world.agent.start(
            TaskToRun(
                id=task.id,
                arn=record.arn,
                cluster=world.cluster_name,
                revision=record.definition.revision,
                definition=record.properties,
                network=host.network,
                environment={
                    name: self._variables(record, name, host) for name in record.containers
                },
                secrets=dict.fromkeys(record.containers, world.secrets),
                labels={"drydock.rehearsal.instance": instance.id},
                options=options,
            )
        )

    def _variables(self, record: TaskRecord, container: str, host: Host) -> dict[str, str]:
        """Give the variables that the agent adds to a container's own."""
        world = self._world
        assert host.network is not None  # noqa: S101 - it has registered
        base = f"http://{host.network.host_address}:{world.endpoint_port}"
        shown = world.files is not None and world.agent.settings.container_metadata
        file = world.files.path_inside(record, container) if world.files and shown else ""
        return {
            **({"ECS_CONTAINER_METADATA_FILE": file} if file else {}),
            "ECS_CONTAINER_METADATA_URI_V4": f"{base}/v4/{record.id}-{container}",
            "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
            "AWS_REGION": world.stacks.region,
            "AWS_ENDPOINT_URL": base,
            "AWS_ACCESS_KEY_ID": "rehearsal",
            "AWS_SECRET_ACCESS_KEY": "rehearsal",
        }

    def _free_port(self, host: Host) -> int:
        taken = {
            port
            for one in self._world.tasks.values()
            if one.instance == host.id and not one.has_ended
            for port in one.host_ports.values()
        }
        return free_port(host, self._world.agent.settings.host_ports, taken)

    def _do_stop(self, action: actions.Stop) -> None:
        record = self._world.tasks.get(action.task)
        if record is not None and not record.instance:
            record.stopped_at = self._world.clock.wall(self._world.clock.now())

    def _do_register(self, action: actions.Register) -> None:
        world = self._world
        record, task = world.tasks[action.task], world.state.tasks[action.task]
        group = world.state.target_group_of(task)
        if group is None:
            return
        container, port = self._balanced(task.service or "", record)
        host = world.hosts[record.instance]
        host_port = record.host_ports.get((container, port), port)
        awsvpc = record.definition.properties.get("NetworkMode") == "awsvpc"
        target = f"{record.address if awsvpc else host.ec2_id}:{host_port}"
        ours = record.containers[container].ports.get(port)
        if ours is None:
            return  # it has ended already, and says so in a moment
        record.target, record.is_registered = (group, target), True
        world.balancer.register(group, Target(target, "127.0.0.1", ours))

    def _balanced(self, service: str, record: TaskRecord) -> tuple[str, int]:
        """Give the container and its port that get requests, as the task's deployment has them."""
        known = self._world.services[service]
        for one in known.properties_of(record.started_by).get("LoadBalancers") or []:
            return str(one["ContainerName"]), int(one["ContainerPort"])
        (first, *_) = record.host_ports
        return first

    def _do_deregister(self, action: actions.Deregister) -> None:
        record = self._world.tasks.get(action.task)
        if record is None or record.target is None:
            self._world.state.set_target(action.task, None, self._world.clock.now())
        elif record.is_registered:
            record.is_registered = False
            self._world.balancer.deregister(*record.target)

    def _do_halt(self, action: actions.Halt) -> None:
        record = self._world.tasks.get(action.task)
        if record is not None:
            record.stopping_at = self._world.clock.wall(self._world.clock.now())
            task = self._world.state.tasks.get(action.task)
            self._world.agent.stop(action.task, task.stop_reason if task is not None else "")

    def _do_launch(self, action: actions.Launch) -> None:
        world = self._world
        instance = world.state.instances[action.instance]
        host = world.machines.launch(
            instance,
            subnet=world.templates.subnet(instance.zone, world.declared.groups),
            zones=world.zones(),
            boots_at=world.clock.now() + world.boot_seconds,
        )
        host.group = action.group
        world.note_activity(action.group, f"Launching a new EC2 instance: {host.ec2_id}")
        world.say(f"{host.ec2_id} boots in {instance.zone}.")

    def _do_drain(self, action: actions.Drain) -> None:
        self._world.say(f"{self._world.hosts[action.instance].ec2_id} is DRAINING.")

    def _do_endinstance(self, action: actions.EndInstance) -> None:
        host = self._world.hosts[action.instance]
        self._world.note_activity(host.group, f"Terminating EC2 instance: {host.ec2_id}")
        self._world.say(f"{host.ec2_id} is to be terminated: {action.why}.")

    def _do_terminate(self, action: actions.Terminate) -> None:
        self.pull_the_plug(action.instance)
        self._world.say(f"{self._world.hosts[action.instance].ec2_id} is terminated.")

    def pull_the_plug(self, instance_id: str) -> None:
        """End an instance: what still runs there dies, and what is about to start does not."""
        running = []
        for record in self._world.tasks.values():
            if record.instance == instance_id and not record.has_ended:
                self._world.agent.stop(record.id, "its instance is gone")
                running += [
                    one.runtime_id for one in record.containers.values() if one.status == "RUNNING"
                ]
        self._world.machines.take_away(self._world.hosts[instance_id], running)

    def _do_resize(self, action: actions.Resize) -> None:
        self._world.say(f"{action.group}: desired capacity {action.desired}, since {action.why}.")

    def _do_scale(self, action: actions.Scale) -> None:
        self._world.say(f"(service {action.service}) desired count {action.desired}: {action.why}.")

    def _do_say(self, action: actions.Say) -> None:
        self._world.say(action.message)

    def _do_trouble(self, action: actions.Trouble) -> None:
        if action.message:
            self._world.say(action.message)

    def _do_refreshed(self, action: actions.Refreshed) -> None:
        self._world.say(f"{action.group}: the instance refresh is {action.status}.")

    def _do_fail(self, action: actions.Fail) -> None:
        self._world.note_deployments(action.service)
        at = self._world.clock.wall(self._world.clock.now())
        deployments.failed(self._world.services[action.service], action, at)

    def _do_complete(self, action: actions.Complete) -> None:
        at = self._world.clock.wall(self._world.clock.now())
        deployments.completed(self._world.services[action.service], action, at)

    def _do_enter(self, action: actions.Enter) -> None:
        service = self._world.state.services[action.service]
        deployment = next(one for one in service.deployments if one.id == action.deployment)
        groups = deployment.definition.target_groups
        if len(groups) < 2:
            return
        new, old = groups[deployment.target_group], groups[1 - deployment.target_group]
        rule = self._production_rule(action.service, action.deployment)
        if rule:
            # Weights are integers, per cents have tenths.
            part = round(action.percent * 10)
            self._world.modified.pop(rule, None)
            self._world.balancer.set_weights(rule, {new: part, old: 1000 - part})

    def _production_rule(self, service: str, deployment: str) -> str:
        properties = self._world.services[service].properties_of(deployment)
        for one in properties.get("LoadBalancers") or []:
            return str((one.get("AdvancedConfiguration") or {}).get("ProductionListenerRule") or "")
        return ""
