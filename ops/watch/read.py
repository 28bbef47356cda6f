"""Reads a cluster: in as few calls as the batch limits allow, one snapshot a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ops.aws import Aws
from ops.watch.finding import Finder
from ops.watch.snapshot import (
    Deployment,
    Event,
    Instance,
    Service,
    Snapshot,
    Stopped,
    Target,
    Task,
    Zone,
    phase_of,
)

# Sources, read 2026-11-25: API_DescribeTasks.html, API_DescribeContainerInstances.html and
# API_DescribeServices.html of https://docs.aws.amazon.com/AmazonECS/latest/APIReference/
TASKS_A_CALL = INSTANCES_A_CALL = 100
SERVICES_A_CALL = 10
# As many as are told of; ECS keeps a hundred events a service, and stopped tasks for an hour.
EVENTS, STOPPED = 100, 30
COLOURS = 8
# How many colours are between the first versions of two services.
COLOUR_STEP = 3
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Described = Mapping[str, Any]


class Reader:
    """Reads one cluster; remembers which letters its versions have, and what has stopped.

    Raises what the clients raise, botocore's errors, and is then as it was before; and
    NotDeployedError where the environment has another cluster by now. `now` gives seconds that only
    go forward; the groups are read no more often than every `groups_every` of them, since nothing
    but a boot shows there first. `versions` are those of the reader before, of which the letters
    are kept as long as one of them is still deployed.
    """

    def __init__(
        self,
        aws: Aws,
        finder: Finder,
        *,
        now: Callable[[], float],
        groups_every: float = 0,
        versions: Versions | None = None,
    ) -> None:
        self._aws = aws
        self._finder = finder
        self._found = finder.found
        self._now = now
        self._groups_every = groups_every
        self._groups: tuple[float, list[Described]] | None = None
        self._versions = versions or Versions()
        self._has_read = False
        self._stopped: dict[str, Described] = {}
        self._calls = 0

    def read(self) -> Snapshot:
        """Read everything once."""
        self._calls = 0
        services = self._services()
        self._found = self._finder.look(str(one["serviceName"]) for one in services)
        self._letter(services)
        instances = self._instances()
        ids = {one["containerInstanceArn"]: _ec2_id(one) for one in instances}
        tasks = self._tasks()
        alive = [one for one in tasks if one["lastStatus"] != "STOPPED"]
        targets = self._targets(_target_groups(services), Owners(alive, ids))
        states = {one.task: one for one in targets}
        groups = self._read_groups()
        return Snapshot(
            cluster=self._found.cluster,
            zones=_zones(groups, instances),
            instances=tuple(_instances(instances, groups)),
            tasks=tuple(self._task(one, ids, states) for one in alive),
            stopped=tuple(self._latest_stopped()),
            services=tuple(self._service(one) for one in services),
            deployments=tuple(
                self._deployment(one, each) for one in services for each in one["deployments"]
            ),
            targets=tuple(targets),
            events=tuple(self._events(services)),
            calls=self._calls,
        )

    def _letter(self, services: Iterable[Described]) -> None:
        """Give the deployments their letters, each service's in the order of their ages."""
        deployed = [
            (str(one["serviceName"]), str(each["id"]))
            for one in sorted(services, key=lambda one: str(one["serviceName"]))
            for each in sorted(one["deployments"], key=lambda each: _at(each, "createdAt"))
        ]
        if not self._has_read and not any(self._versions.knows(*one) for one in deployed):
            # Another cluster, if only of the same name: nothing of the old one is there.
            self._versions.forget()
        self._has_read = True
        for one in deployed:
            self._versions.of(*one)

    # What is asked of AWS.

    def _pages(self, operation: str, key: str, **arguments: object) -> Iterator[str]:
        pages: Any = self._aws.ecs.get_paginator(operation)  # type: ignore[call-overload]
        # Without a size a page of ListServices has ten.
        size = {"PageSize": 100}
        for page in pages.paginate(cluster=self._found.cluster, PaginationConfig=size, **arguments):
            self._calls += 1
            yield from page[key]

    def _services(self) -> list[Described]:
        found: list[Described] = []
        for batch in batches(self._pages("list_services", "serviceArns"), SERVICES_A_CALL):
            self._calls += 1
            answer = self._aws.ecs.describe_services(cluster=self._found.cluster, services=batch)
            found += answer["services"]
        return found

    def _instances(self) -> list[Described]:
        found: list[Described] = []
        listed = self._pages("list_container_instances", "containerInstanceArns")
        for batch in batches(listed, INSTANCES_A_CALL):
            self._calls += 1
            answer = self._aws.ecs.describe_container_instances(
                cluster=self._found.cluster, containerInstances=batch
            )
            found += answer["containerInstances"]
        return found

    def _tasks(self) -> list[Described]:
        """Describe the tasks that run or are to, and of the stopped those that are not known."""
        listed = list(self._pages("list_tasks", "taskArns", desiredStatus="RUNNING"))
        ending = list(self._pages("list_tasks", "taskArns", desiredStatus="STOPPED"))
        stopped = {arn: self._stopped[arn] for arn in ending if arn in self._stopped}
        found: list[Described] = []
        for batch in batches([*listed, *(a for a in ending if a not in stopped)], TASKS_A_CALL):
            self._calls += 1
            answer = self._aws.ecs.describe_tasks(cluster=self._found.cluster, tasks=batch)
            found += answer["tasks"]
        stopped |= {one["taskArn"]: one for one in found if one["lastStatus"] == "STOPPED"}
        self._stopped = stopped
        return found

    def _targets(self, groups: Iterable[str], owners: Owners) -> list[Target]:
        found = []
        for group in groups:
            answer = self._aws.elbv2.describe_target_health(TargetGroupArn=group)
            for one in answer["TargetHealthDescriptions"]:
                health: Described = one["TargetHealth"]
                host, port = one["Target"]["Id"], one["Target"].get("Port", 0)
                found.append(
                    Target(
                        group=group.split("/")[-2],
                        instance=host,
                        port=port,
                        state=health.get("State", ""),
                        reason=health.get("Reason") or "",
                        description=health.get("Description") or "",
                        task=owners.of(host, port),
                    )
                )
        return found

    def _read_groups(self) -> list[Described]:
        # Without a name all groups of the account are described. Source, read 2026-11-29:
        # https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingGroups.html
        if not self._found.groups:
            return []
        now = self._now()
        if self._groups is None or now - self._groups[0] >= self._groups_every:
            pages = self._aws.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
                AutoScalingGroupNames=list(self._found.groups)
            )
            read: list[Described] = [one for page in pages for one in page["AutoScalingGroups"]]
            self._groups = now, read
        return self._groups[1]

    # What is made of the answers.

    def _task(self, one: Described, ids: Mapping[str, str], states: Mapping[str, Target]) -> Task:
        service, deployment = _version_of(one)
        letter, colour = self._versions.of(service, deployment)
        target = states.get(_id(one["taskArn"]))
        state = target.state if target else ""
        arn = one.get("containerInstanceArn") or ""
        return Task(
            id=_id(one["taskArn"]),
            instance=ids.get(arn, _id(arn)),
            zone=one.get("availabilityZone") or "",
            service=service,
            revision=_id(one["taskDefinitionArn"]),
            deployment=deployment,
            letter=letter,
            colour=colour,
            status=one["lastStatus"],
            desired=one["desiredStatus"],
            health=one.get("healthStatus") or "UNKNOWN",
            target=state,
            target_reason=(target.description or target.reason) if target else "",
            phase=phase_of(
                status=one["lastStatus"],
                desired=one["desiredStatus"],
                target=state,
                placed=bool(arn),
            ),
            cpu=one.get("cpu") or "",
            memory=one.get("memory") or "",
            image=", ".join(_image(each) for each in one.get("containers", ())),
            created_at=_at(one, "createdAt"),
            started_at=_at(one, "startedAt"),
        )

    def _latest_stopped(self) -> Iterator[Stopped]:
        newest = sorted(self._stopped.values(), key=lambda one: _at(one, "stoppedAt"))[-STOPPED:]
        for one in newest:
            letter, colour = self._versions.of(*_version_of(one))
            exits = [each.get("exitCode") for each in one.get("containers", ())]
            reasons = [each.get("reason") or "" for each in one.get("containers", ())]
            said = [one.get("stoppedReason") or "", *reasons]
            yield Stopped(
                id=_id(one["taskArn"]),
                service=_version_of(one)[0],
                letter=letter,
                colour=colour,
                code=one.get("stopCode") or "",
                reason="; ".join(dict.fromkeys(filter(None, said))),
                exit=", ".join(str(each) for each in exits if each is not None),
                at=_at(one, "stoppedAt"),
            )

    def _service(self, one: Described) -> Service:
        name = one["serviceName"]
        return Service(
            name=name,
            label=self._found.labels.get(name, name),
            status=one["status"],
            desired=one["desiredCount"],
            running=one["runningCount"],
            pending=one["pendingCount"],
        )

    def _deployment(self, service: Described, one: Described) -> Deployment:
        letter, colour = self._versions.of(service["serviceName"], one["id"])
        return Deployment(
            id=one["id"],
            service=service["serviceName"],
            letter=letter,
            colour=colour,
            status=one["status"],
            rollout=one.get("rolloutState") or "",
            reason=one.get("rolloutStateReason") or "",
            revision=_id(one["taskDefinition"]),
            desired=one["desiredCount"],
            running=one["runningCount"],
            pending=one["pendingCount"],
            failed=one.get("failedTasks") or 0,
            created_at=_at(one, "createdAt"),
        )

    def _events(self, services: Iterable[Described]) -> list[Event]:
        every = [
            Event(
                id=one["id"],
                at=_at(one, "createdAt"),
                service=service["serviceName"],
                message=one["message"],
            )
            for service in services
            for one in service.get("events", ())
        ]
        # ECS gives a service's newest first, also those of one moment.
        every.reverse()
        return sorted(every, key=lambda one: one.at)[-EVENTS:]


class Versions:
    """Gives the versions of each service letters, in the order in which it hears of them."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}

    def knows(self, service: str, version: str) -> bool:
        """Whether that version has its letter."""
        return version in self._known.get(service, ())

    def forget(self) -> None:
        """Begin with the first letter again, for every service."""
        self._known.clear()

    def of(self, service: str, version: str) -> tuple[str, int]:
        """Give a version's letter, and the number of its colour."""
        versions = self._known.setdefault(service, [])
        if version not in versions:
            versions.append(version)
        first = COLOUR_STEP * list(self._known).index(service)
        place = versions.index(version)
        return LETTERS[place % len(LETTERS)], (first + place) % COLOURS


def batches(many: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut what a call cannot take at once into parts that it can."""
    every = list(many)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def _zones(groups: Iterable[Described], instances: Iterable[Described]) -> tuple[Zone, ...]:
    named = {zone for group in groups for zone in group["AvailabilityZones"]}
    named |= {_attribute(one, "ecs.availability-zone") for one in instances}
    return tuple(Zone(name) for name in sorted(named - {""}))


def _instances(
    container_instances: Sequence[Described], groups: Iterable[Described]
) -> Iterator[Instance]:
    """Join what ECS and Auto Scaling know; either may not know of an instance."""
    scaled = {one["InstanceId"]: one for group in groups for one in group["Instances"]}
    for one in container_instances:
        ec2 = scaled.pop(_ec2_id(one), {})
        registered, left = one["registeredResources"], one["remainingResources"]
        yield Instance(
            id=_ec2_id(one),
            arn=one["containerInstanceArn"],
            zone=_attribute(one, "ecs.availability-zone") or ec2.get("AvailabilityZone", ""),
            kind=_attribute(one, "ecs.instance-type") or ec2.get("InstanceType", ""),
            status=one["status"],
            lifecycle=ec2.get("LifecycleState", ""),
            agent_connected=one["agentConnected"],
            cpu=_amount(registered, "CPU"),
            cpu_left=_amount(left, "CPU"),
            memory=_amount(registered, "MEMORY"),
            memory_left=_amount(left, "MEMORY"),
        )
    for name, ec2 in scaled.items():
        yield Instance(
            id=name,
            arn="",
            zone=ec2["AvailabilityZone"],
            kind=ec2.get("InstanceType", ""),
            status="",
            lifecycle=ec2["LifecycleState"],
            agent_connected=False,
            cpu=0,
            cpu_left=0,
            memory=0,
            memory_left=0,
        )


class Owners:
    """Says which task is behind a target: an instance and a host port, or a task's own address."""

    def __init__(self, tasks: Iterable[Described], ids: Mapping[str, str]) -> None:
        self._ports: dict[tuple[str, int], str] = {}
        self._addresses: dict[str, str] = {}
        for one in tasks:
            task, host = _id(one["taskArn"]), ids.get(one.get("containerInstanceArn") or "", "")
            for container in one.get("containers", ()):
                for binding in container.get("networkBindings", ()):
                    if "hostPort" in binding:
                        self._ports[host, binding["hostPort"]] = task
                for interface in container.get("networkInterfaces", ()):
                    self._addresses[interface.get("privateIpv4Address", "")] = task

    def of(self, host: str, port: int) -> str:
        """Give the id of the task; empty where none of those that live has the target."""
        return self._ports.get((host, port)) or self._addresses.get(host, "")


def _target_groups(services: Iterable[Described]) -> list[str]:
    """Name the target groups of services, also those that a blue/green deployment moves to."""
    named: dict[str, None] = {}
    for service in services:
        for one in service.get("loadBalancers", ()):
            other = (one.get("advancedConfiguration") or {}).get("alternateTargetGroupArn")
            named |= {arn: None for arn in (one.get("targetGroupArn"), other) if arn}
    return list(named)


def _version_of(task: Described) -> tuple[str, str]:
    """Give a task's service and deployment; its family and definition where it has none."""
    kind, _, name = str(task.get("group") or "").partition(":")
    revision = _id(task["taskDefinitionArn"])
    if kind == "service":
        return name, task.get("startedBy") or revision
    return revision.partition(":")[0], revision


def _amount(found: Iterable[Described], name: str) -> int:
    return next((int(one["integerValue"]) for one in found if one["name"] == name), 0)


def _attribute(one: Described, name: str) -> str:
    values = [each.get("value") for each in one.get("attributes", ()) if each["name"] == name]
    return (values[0] or "") if values else ""


def _ec2_id(one: Described) -> str:
    return one.get("ec2InstanceId") or _id(one["containerInstanceArn"])


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]


def _image(container: Described) -> str:
    """Shorten an image to its repository and the beginning of its tag, which may be a hash."""
    name, _, tag = _id(container.get("image") or "").partition(":")
    return f"{name}:{tag[:12]}" if tag else name


def _at(one: Described, key: str) -> float:
    moment = one.get(key)
    return moment.timestamp() if isinstance(moment, datetime) else 0.0
