"""A snapshot has what the API tells, read in as few calls as its limits allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops.aws import Aws
from ops.watch.finding import SOON_SECONDS, Finder, Found, find
from ops.watch.read import Reader, Versions
from ops.watch.snapshot import Snapshot, changes, phase_of
from tests.conftest import Values
from tests.ops.world import World

ARN = "arn:aws:ecs:us-east-1:123456789012"
GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1"
MOMENT = datetime(2026, 11, 25, tzinfo=UTC)
# What an operation may be asked at once.
LIMITS = {"describe_tasks": 100, "describe_container_instances": 100, "describe_services": 10}
KEYS = {"describe_tasks": "tasks", "describe_container_instances": "containerInstances",
        "describe_services": "services"}  # fmt: skip


class Account:
    """Answers like ECS, in pages and with its limits, of whatever a test puts in it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.tasks: dict[str, Values] = {}
        self.instances: dict[str, Values] = {}
        self.services: dict[str, Values] = {}
        self.health: dict[str, list[Values]] = {}
        self.groups: list[Values] = []
        self.found = Found("boats", ("group",), ("balancer",), {"Web": "web"})
        self.seconds = 0.0

    def reader(self, **options: Any) -> Reader:  # noqa: ANN401
        clients = SimpleNamespace(ecs=self, elbv2=self, autoscaling=self)
        finder = Finder(lambda: self.found, now=lambda: self.seconds, begin=lambda work: work())
        return Reader(cast(Aws, clients), finder, now=lambda: self.seconds, **options)

    def get_paginator(self, operation: str) -> Any:  # noqa: ANN401
        def listed(desiredStatus: str = "", **_: object) -> Iterator[Values]:  # noqa: N803
            if operation == "describe_auto_scaling_groups":
                self.calls.append(operation)
                yield {"AutoScalingGroups": self.groups}
                return
            key = {"list_tasks": "taskArns", "list_services": "serviceArns",
                   "list_container_instances": "containerInstanceArns"}[operation]  # fmt: skip
            many = {"list_tasks": self.tasks, "list_services": self.services,
                    "list_container_instances": self.instances}[operation]  # fmt: skip
            arns = [
                arn
                for arn, one in many.items()
                if not desiredStatus or one["desiredStatus"] == desiredStatus
            ]
            for start in range(0, max(1, len(arns)), 100):
                self.calls.append(operation)
                yield {key: arns[start : start + 100]}

        return SimpleNamespace(paginate=listed)

    def __getattr__(self, operation: str) -> Callable[..., Values]:
        key = KEYS[operation]

        def describe(**asked: Any) -> Values:  # noqa: ANN401
            self.calls.append(operation)
            assert asked["cluster"] == "boats"
            assert 0 < len(asked[key]) <= LIMITS[operation]
            many: dict[str, Values] = getattr(self, key.replace("containerInstances", "instances"))
            return {key: [many[arn] for arn in asked[key] if arn in many], "failures": []}

        return describe

    def describe_target_health(self, *, TargetGroupArn: str) -> Values:  # noqa: N803
        return {"TargetHealthDescriptions": self.health.get(TargetGroupArn, [])}

    def add_instance(self, name: str, **changes: object) -> str:
        arn = f"{ARN}:container-instance/boats/{name}"
        resources = [{"name": "CPU", "integerValue": 2048}, {"name": "MEMORY", "integerValue": 900}]
        left = [{"name": "CPU", "integerValue": 1792}, {"name": "MEMORY", "integerValue": 772}]
        attributes = {"ecs.availability-zone": "us-east-1a", "ecs.instance-type": "t3.small"}
        self.instances[arn] = {
            "containerInstanceArn": arn,
            "ec2InstanceId": f"i-{name}",
            "status": "ACTIVE",
            "agentConnected": True,
            "registeredResources": resources,
            "remainingResources": left,
            "attributes": [{"name": key, "value": one} for key, one in attributes.items()],
            **changes,
        }
        return arn

    def add_task(self, name: str, on: str | None, **changes: Any) -> str:  # noqa: ANN401
        arn = f"{ARN}:task/boats/{name}"
        self.tasks[arn] = {
            "taskArn": arn,
            "taskDefinitionArn": f"{ARN}:task-definition/web:3",
            "containerInstanceArn": on,
            "group": "service:Web",
            "startedBy": "ecs-svc/1",
            "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING",
            "healthStatus": "HEALTHY",
            "availabilityZone": "us-east-1a",
            "createdAt": MOMENT,
            "containers": [{"image": "x.test/web:0123456789abcdef"}],
            **changes,
        }
        return arn

    def add_service(self, name: str = "Web", *deployments: str, **changes: object) -> None:
        arn = f"{ARN}:service/boats/{name}"
        self.services[arn] = {
            "serviceName": name,
            "status": "ACTIVE",
            "desiredCount": 2,
            "runningCount": 2,
            "pendingCount": 0,
            "loadBalancers": [{"targetGroupArn": GROUP}],
            "events": [],
            "deployments": [
                {
                    "id": one,
                    "status": "PRIMARY",
                    "taskDefinition": f"{ARN}:task-definition/web:3",
                    "desiredCount": 2,
                    "runningCount": 2,
                    "pendingCount": 0,
                    "rolloutState": "COMPLETED",
                    "createdAt": MOMENT.replace(minute=minute),
                }
                for minute, one in enumerate(deployments)
            ],
            **changes,
        }


@pytest.fixture
def account() -> Account:
    return Account()


def test_many_are_described_in_as_few_calls_as_there_may_be(account: Account) -> None:
    hosts = [account.add_instance(f"{one:03}") for one in range(150)]
    for one in range(250):
        account.add_task(f"{one:03}", hosts[one % 150])
    for one in range(25):
        account.add_service(f"Web{one}", f"ecs-svc/{one}")
    snapshot = account.reader().read()
    assert (len(snapshot.instances), len(snapshot.tasks), len(snapshot.services)) == (150, 250, 25)
    assert account.calls.count("list_tasks") == 3 + 1
    assert account.calls.count("describe_tasks") == 3
    assert account.calls.count("describe_container_instances") == 2
    assert account.calls.count("describe_services") == 3
    ecs = [one for one in account.calls if one != "describe_auto_scaling_groups"]
    assert snapshot.calls == len(ecs)


def test_a_target_is_the_tasks_that_has_the_instances_port(account: Account) -> None:
    account.add_service()
    host = account.add_instance("1")
    account.add_task("a", host, containers=[{"networkBindings": [{"hostPort": 20000}]}])
    account.add_task("b", host, containers=[{"networkBindings": [{"hostPort": 20001}]}])
    account.health[GROUP] = [
        {"Target": {"Id": "i-1", "Port": port}, "TargetHealth": {"State": state}}
        for port, state in ((20000, "healthy"), (20001, "draining"), (20002, "draining"))
    ]
    snapshot = account.reader().read()
    assert [one.task for one in snapshot.targets] == ["a", "b", ""]
    assert {one.id: (one.target, one.phase) for one in snapshot.tasks} == {
        "a": ("healthy", "running"),
        "b": ("draining", "draining"),
    }


def test_a_target_by_address_is_the_tasks_that_has_it(account: Account) -> None:
    account.add_service()
    interfaces = [{"privateIpv4Address": "10.0.0.7"}]
    account.add_task("a", account.add_instance("1"), containers=[{"networkInterfaces": interfaces}])
    account.health[GROUP] = [
        {"Target": {"Id": "10.0.0.7", "Port": 8080}, "TargetHealth": {"State": "initial"}}
    ]
    (task,) = account.reader().read().tasks
    assert task.target == "initial"


def test_the_targets_that_a_blue_green_deployment_moves_to_are_read_too(account: Account) -> None:
    advanced = {"alternateTargetGroupArn": GROUP.replace("/web/", "/green/")}
    both = [{"targetGroupArn": GROUP, "advancedConfiguration": advanced}]
    account.add_service(loadBalancers=both)
    account.health[advanced["alternateTargetGroupArn"]] = [
        {"Target": {"Id": "i-1", "Port": 1}, "TargetHealth": {"State": "healthy"}}
    ]
    (target,) = account.reader().read().targets
    assert target.group == "green"


def test_versions_are_lettered_by_their_age_and_keep_their_letters(account: Account) -> None:
    account.add_service("Web", "ecs-svc/1", "ecs-svc/2")
    host = account.add_instance("1")
    account.add_task("a", host, startedBy="ecs-svc/2")
    account.add_task("b", host, startedBy="ecs-svc/1")
    reader = account.reader()
    assert [one.letter for one in reader.read().tasks] == ["B", "A"]
    account.add_service("Web", "ecs-svc/2", "ecs-svc/3")
    account.add_task("c", host, startedBy="ecs-svc/3")
    snapshot = reader.read()
    assert [one.letter for one in snapshot.tasks] == ["B", "A", "C"]
    assert [one.letter for one in snapshot.deployments] == ["B", "C"]


def test_the_next_reader_of_a_cluster_goes_on_with_its_letters(account: Account) -> None:
    versions = Versions()
    account.add_service("Web", "ecs-svc/1", "ecs-svc/2")
    account.reader(versions=versions).read()
    account.add_service("Web", "ecs-svc/2")
    (running,) = account.reader(versions=versions).read().deployments
    assert running.letter == "B"
    # Another cluster, which may well have the same names.
    account.add_service("Web", "ecs-svc/8", "ecs-svc/9")
    reader = account.reader(versions=versions)
    assert [one.letter for one in reader.read().deployments] == ["A", "B"]
    # A reader that goes on keeps them, also of what came while nobody looked.
    account.add_service("Web", "ecs-svc/10")
    assert [one.letter for one in reader.read().deployments] == ["C"]


def test_neighbouring_versions_never_look_alike() -> None:
    versions = Versions()
    found = [versions.of("web", str(one)) for one in range(30)]
    assert [one[0] for one in found[:3]] == ["A", "B", "C"]
    for (_, before), (_, after) in pairwise(found):
        assert before != after
    assert versions.of("other", "1")[1] not in {found[0][1], found[1][1]}


def test_a_stopped_task_is_described_once_and_told_with_its_reason(account: Account) -> None:
    account.add_task(
        "a", account.add_instance("1"), lastStatus="STOPPED", desiredStatus="STOPPED",
        stoppedReason="Essential container in task exited", stopCode="EssentialContainerExited",
        stoppedAt=MOMENT, containers=[{"exitCode": 137, "reason": "OutOfMemoryError"}],
    )  # fmt: skip
    reader = account.reader()
    for _ in range(3):
        snapshot = reader.read()
        assert snapshot.tasks == ()
        (stopped,) = snapshot.stopped
        assert stopped.reason == "Essential container in task exited; OutOfMemoryError"
        assert stopped.exit == "137"
    assert account.calls.count("describe_tasks") == 1
    account.tasks.clear()
    assert reader.read().stopped == ()


def test_an_instance_that_boots_is_there_before_ecs_knows_it(account: Account) -> None:
    account.add_instance("1")
    instances = [
        {"InstanceId": "i-1", "AvailabilityZone": "us-east-1a", "LifecycleState": "InService"},
        {"InstanceId": "i-2", "AvailabilityZone": "us-east-1b", "LifecycleState": "Pending"},
    ]
    account.groups = [{"AvailabilityZones": ["us-east-1a", "us-east-1b", "us-east-1c"],
                       "Instances": instances}]  # fmt: skip
    snapshot = account.reader().read()
    found = {one.id: (one.status, one.lifecycle, one.cpu_left) for one in snapshot.instances}
    assert found == {"i-1": ("ACTIVE", "InService", 1792), "i-2": ("", "Pending", 0)}
    # A zone that has lost all that it had is still a zone.
    assert [one.name for one in snapshot.zones] == ["us-east-1a", "us-east-1b", "us-east-1c"]


def test_the_groups_are_read_as_seldom_as_is_asked(account: Account) -> None:
    reader = account.reader(groups_every=5)
    reader.read()
    reader.read()
    assert account.calls.count("describe_auto_scaling_groups") == 1


def test_an_environment_without_a_group_shows_nobody_elses_instances(account: Account) -> None:
    account.found = replace(account.found, groups=())
    others = {"InstanceId": "i-9", "AvailabilityZone": "us-east-1a", "LifecycleState": "InService"}
    account.groups = [{"AvailabilityZones": ["us-east-1a"], "Instances": [others]}]
    snapshot = account.reader().read()
    assert (snapshot.instances, snapshot.zones) == ((), ())
    assert "describe_auto_scaling_groups" not in account.calls


def test_what_a_deploy_adds_is_shown_and_nothing_is_forgotten_for_it(account: Account) -> None:
    account.found = replace(account.found, groups=(), labels={})
    account.add_service("Web", "ecs-svc/1", "ecs-svc/2")
    account.add_task("a", None, lastStatus="STOPPED", desiredStatus="STOPPED", stoppedAt=MOMENT)
    account.groups = [{"AvailabilityZones": ["us-east-1a"], "Instances": []}]
    reader = account.reader()
    before = reader.read()
    assert ([one.label for one in before.services], before.zones) == (["Web"], ())
    account.found = replace(account.found, groups=("group",), labels={"Web": "web"})
    account.add_service("Web", "ecs-svc/2")
    account.seconds = SOON_SECONDS
    reader.read()
    snapshot = reader.read()
    assert [one.label for one in snapshot.services] == ["web"]
    assert [one.name for one in snapshot.zones] == ["us-east-1a"]
    assert [one.letter for one in snapshot.deployments] == ["B"]
    assert [one.id for one in snapshot.stopped] == ["a"]
    assert account.calls.count("describe_tasks") == 1


def test_events_come_oldest_first_also_those_of_one_moment(account: Account) -> None:
    newest_first = [{"id": one, "createdAt": MOMENT, "message": one} for one in ("b", "a")]
    account.add_service(events=newest_first)
    assert [one.id for one in account.reader().read().events] == ["a", "b"]


def test_a_task_of_no_service_is_told_by_its_family(account: Account) -> None:
    account.add_task("a", account.add_instance("1"), group="family:web", startedBy=None)
    (task,) = account.reader().read().tasks
    assert (task.service, task.deployment) == ("web", "web:3")


@pytest.mark.parametrize(
    ("status", "desired", "target", "placed", "phase"),
    [
        ("PROVISIONING", "RUNNING", "", False, "waiting"),
        ("PENDING", "RUNNING", "", True, "starting"),
        ("ACTIVATING", "RUNNING", "initial", True, "starting"),
        ("RUNNING", "RUNNING", "healthy", True, "running"),
        ("RUNNING", "STOPPED", "healthy", True, "draining"),
        ("DEACTIVATING", "STOPPED", "draining", True, "draining"),
        ("STOPPING", "STOPPED", "", True, "stopping"),
        ("DEPROVISIONING", "STOPPED", "", True, "stopping"),
    ],
)
def test_each_status_is_a_phase(
    status: str, desired: str, target: str, placed: bool, phase: str
) -> None:
    assert phase_of(status=status, desired=desired, target=target, placed=placed) == phase


def test_only_what_has_changed_is_sent(account: Account) -> None:
    host = account.add_instance("1")
    gone = account.add_task("a", host)
    other = account.add_task("b", host)
    account.add_task("c", host)
    reader = account.reader()
    before = reader.read().records()
    del account.tasks[gone]
    account.tasks[other]["lastStatus"] = "STOPPING"
    changed, left = changes(before, reader.read().records())
    assert (list(changed), left) == (["task:b"], ["task:a"])
    assert changes({}, before) == (before, [])


def test_a_cluster_of_motos_is_read(world: World) -> None:
    world.make_environment()
    finder = Finder(lambda: find(world.aws, world.environment), now=lambda: 0.0)
    snapshot = Reader(world.aws, finder, now=lambda: 0.0).read()
    assert isinstance(snapshot, Snapshot)
    (service,) = snapshot.services
    assert (service.label, service.desired) == ("web", 2)
    # Instances of the group that no agent has registered.
    assert [one.status for one in snapshot.instances] == ["", ""]
