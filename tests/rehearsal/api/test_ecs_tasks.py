"""Tasks: placed by the scheduler, run by the agent, stopped when asked."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.acting import add_instances, tick_until, until
from tests.rehearsal.api.conftest import Served

QUICK = {"Delay": 0, "MaxAttempts": 400}


def test_a_task_runs_with_its_overrides_and_is_stopped(served: Served) -> None:
    ecs = served.ecs
    served.register("job", command=["sleep", "9"], environment=[{"name": "A", "value": "1"}])
    override = {
        "name": "main",
        "command": ["echo", "hello"],
        "environment": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
        "cpu": 64,
        "memory": 48,
    }
    (task,) = ecs.run_task(
        cluster=served.cluster,
        taskDefinition="job",
        overrides={"containerOverrides": [override]},
        startedBy="me",
        tags=[{"key": "a", "value": "b"}],
    )["tasks"]
    named = {"cluster": served.cluster, "tasks": [task["taskArn"]]}
    ecs.get_waiter("tasks_running").wait(**named, WaiterConfig=QUICK)
    ran = served.agent.running[task["taskArn"].rpartition("/")[2]]
    (definition,) = ran.definition["ContainerDefinitions"]
    assert definition["Command"] == ["echo", "hello"]
    assert {one["Name"]: one["Value"] for one in definition["Environment"]} == {"A": "2", "B": "3"}
    assert (definition["Cpu"], definition["Memory"]) == (64, 48)
    (found,) = ecs.describe_tasks(**named, include=["TAGS"])["tasks"]
    assert found["overrides"]["containerOverrides"] == [override]
    assert (found["startedBy"], found["group"]) == ("me", "family:job")
    assert found["tags"] == [{"key": "a", "value": "b"}]
    assert abs(found["createdAt"].timestamp() - time.time()) < 60
    ecs.stop_task(cluster=served.cluster, task=task["taskArn"], reason="enough")
    ecs.get_waiter("tasks_stopped").wait(**named, WaiterConfig=QUICK)
    (found,) = ecs.describe_tasks(**named, include=["TAGS"])["tasks"]
    assert (found["stopCode"], found["stoppedReason"]) == ("UserInitiated", "enough")
    assert found["tags"] == []
    assert found["containers"][0]["exitCode"] == 143
    assert found["startedAt"] <= found["stoppingAt"] <= found["stoppedAt"]
    assert (ran.id, "enough") in served.agent.stopped


def test_a_stopped_task_is_forgotten_after_an_hour_with_its_tags(still: Served) -> None:
    ecs, world = still.ecs, still.world
    still.register("job")
    wanted = {
        "cluster": still.cluster,
        "taskDefinition": "job",
        "tags": [{"key": "a", "value": "b"}],
        "clientToken": "once",
    }
    (task,) = ecs.run_task(**wanted)["tasks"]
    arn, task_id = task["taskArn"], task["taskArn"].rpartition("/")[2]
    tick_until(world, lambda: still.agent.running.get(task_id))
    still.agent.stop(task_id, "it ends by itself")
    tick_until(world, lambda: task_id not in world.state.tasks)
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "a", "value": "b"}]
    path = f"{still.endpoint}/v4/{task_id}-main/taskWithTags"
    with urllib.request.urlopen(path, timeout=10) as answer:
        assert json.load(answer)["TaskTags"] == {"a": "b"}
    for one in world.state.stopped:
        one.stopped_at = -1e9
    world.tick()
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        ecs.list_tags_for_resource(resourceArn=arn)
    (failure,) = ecs.describe_tasks(cluster=still.cluster, tasks=[arn])["failures"]
    assert failure["reason"] == "MISSING"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(path, timeout=10)


def test_stopping_a_task_of_a_service_has_it_replaced(served: Served) -> None:
    (first, *_) = before = served.tasks(serviceName=served.service)
    served.ecs.stop_task(cluster=served.cluster, task=first)
    until(lambda: first in served.tasks(serviceName=served.service, desiredStatus="STOPPED"))
    until(lambda: served.described()["runningCount"] == 2)
    after = served.tasks(serviceName=served.service)
    assert first not in after
    assert len(set(after) - set(before)) == 1


def test_a_task_that_fits_nowhere_fails_for_each_instance_in_ecs_words(served: Served) -> None:
    served.register("big", memory=100_000)
    found = served.ecs.run_task(cluster=served.cluster, taskDefinition="big", launchType="EC2")
    assert found["tasks"] == []
    instances = served.ecs.list_container_instances(cluster=served.cluster)
    assert {(one["arn"], one["reason"]) for one in found["failures"]} == {
        (arn, "RESOURCE:MEMORY") for arn in instances["containerInstanceArns"]
    }


@pytest.mark.parametrize(
    ("container", "constraints", "reason"),
    [
        ({"cpu": 50_000}, [], "RESOURCE:CPU"),
        ({"portMappings": [{"containerPort": 80, "hostPort": 22}]}, [], "RESOURCE:PORTS"),
        ({}, [{"type": "memberOf", "expression": "attribute:stack == blue"}], "ATTRIBUTE"),
    ],
)
def test_each_thing_that_lacks_has_its_word(
    served: Served, container: dict[str, object], constraints: list[dict[str, str]], reason: str
) -> None:
    served.register("lacking", **container)
    found = served.ecs.run_task(
        cluster=served.cluster,
        taskDefinition="lacking",
        launchType="EC2",
        placementConstraints=constraints,
    )
    assert {one["reason"] for one in found["failures"]} == {reason}


def test_some_of_a_call_may_run_and_the_rest_fail(served: Served) -> None:
    served.register("distinct")
    found = served.ecs.run_task(
        cluster=served.cluster,
        taskDefinition="distinct",
        launchType="EC2",
        count=3,
        placementConstraints=[{"type": "distinctInstance"}],
    )
    assert len(found["tasks"]) == 2
    assert len(found["failures"]) == 2


def test_with_a_capacity_provider_a_task_waits_for_an_instance(served: Served) -> None:
    served.register("wide", cpu=2048)
    (provider,) = (one.provider for one in served.world.state.groups.values())
    found = served.ecs.run_task(
        cluster=served.cluster,
        taskDefinition="wide",
        count=2,
        capacityProviderStrategy=[{"capacityProvider": provider}],
    )
    assert found["failures"] == []
    assert {one["lastStatus"] for one in found["tasks"]} == {"PROVISIONING"}
    arns = [one["taskArn"] for one in found["tasks"]]
    # Managed scaling takes AWS's minutes.
    served.ecs.get_waiter("tasks_running").wait(
        cluster=served.cluster, tasks=arns, WaiterConfig={"Delay": 0.05, "MaxAttempts": 400}
    )
    tasks = served.ecs.describe_tasks(cluster=served.cluster, tasks=arns)["tasks"]
    assert len({one["containerInstanceArn"] for one in tasks}) == 2


def test_a_task_starts_on_the_instance_that_is_named_and_fails_on_one_that_is_not_there(
    served: Served,
) -> None:
    served.register("here")
    (first, *_) = served.ecs.list_container_instances(cluster=served.cluster)[
        "containerInstanceArns"
    ]
    found = served.ecs.start_task(
        cluster=served.cluster, taskDefinition="here", containerInstances=[first, "0" * 32]
    )
    assert [one["containerInstanceArn"] for one in found["tasks"]] == [first]
    assert [one["reason"] for one in found["failures"]] == ["MISSING"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"taskDefinition": "nothing"}, r"TaskDefinition not found\."),
        ({"count": 11}, "between 1 and 10"),
        ({"cluster": "default"}, r"ClusterNotFoundException.*Cluster not found\."),
        ({"launchType": "FARGATE"}, "UnsupportedFeatureException.*FARGATE"),
        (
            {"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "x"}]},
            "Specifying both a launch type and capacity provider strategy is not supported",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "other"}]}},
            "Override for container named other is not a container in the TaskDefinition",
        ),
        (
            {"placementConstraints": [{"type": "memberOf", "expression": "("}]},
            "Invalid placement constraint expression",
        ),
        (
            {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}},
            "Network Configuration is not valid for the given networkMode",
        ),
        ({"enableExecuteCommand": True}, "UnsupportedFeatureException.*ExecuteCommand"),
    ],
)
def test_what_cannot_run_is_refused_in_words(
    served: Served, asked: dict[str, object], words: str
) -> None:
    served.register("job")
    wanted = {"cluster": served.cluster, "taskDefinition": "job", **asked}
    with pytest.raises(ClientError, match=words):
        served.ecs.run_task(**wanted)
    assert served.tasks(family="job") == []


@pytest.mark.parametrize(
    ("container", "task", "words"),
    [
        ({"privileged": True}, {}, "Privileged: refused"),
        ({}, {"pidMode": "host"}, "PidMode: refused"),
        ({}, {"networkMode": "host"}, "NetworkMode: refused"),
        ({"linuxParameters": {"devices": [{"hostPath": "/dev/kvm"}]}}, {}, "Devices: refused"),
    ],
)
def test_what_must_not_run_on_this_machine_is_registered_and_refused_when_run(
    served: Served, container: dict[str, object], task: dict[str, object], words: str
) -> None:
    served.ecs.register_task_definition(
        family="wild",
        containerDefinitions=[{"name": "main", "image": "small:1", "memory": 32, **container}],
        **task,
    )
    with pytest.raises(ClientError, match=words):
        served.ecs.run_task(cluster=served.cluster, taskDefinition="wild")


def test_tasks_come_a_hundred_a_page_and_each_once(still: Served) -> None:
    add_instances(still.world, 12)
    still.register("tiny", memory=8)
    for _ in range(25):
        still.ecs.run_task(cluster=still.cluster, taskDefinition="tiny", count=10, launchType="EC2")
    pages = list(still.ecs.get_paginator("list_tasks").paginate(cluster=still.cluster))
    assert [len(one["taskArns"]) for one in pages] == [100, 100, 54]
    arns = [arn for one in pages for arn in one["taskArns"]]
    assert len(set(arns)) == 254
    found = still.ecs.describe_tasks(cluster=still.cluster, tasks=arns[:100])
    assert [one["taskArn"] for one in found["tasks"]] == arns[:100]
    with pytest.raises(ClientError, match=r"taskIds can have at most 100 items\."):
        still.ecs.describe_tasks(cluster=still.cluster, tasks=arns[:101])
    with pytest.raises(ClientError, match="Invalid token"):
        still.ecs.list_tasks(cluster=still.cluster, nextToken="bm9uc2Vuc2U=")


def test_tasks_are_listed_by_what_they_are(served: Served) -> None:
    served.register("job")
    (task,) = served.ecs.run_task(
        cluster=served.cluster, taskDefinition="job", startedBy="me", launchType="EC2"
    )["tasks"]
    arn, instance = task["taskArn"], task["containerInstanceArn"]
    assert served.tasks(startedBy="me") == served.tasks(family="job") == [arn]
    there = served.tasks(containerInstance=instance)
    assert arn in there
    found = served.ecs.describe_tasks(cluster=served.cluster, tasks=served.tasks())["tasks"]
    on = {one["taskArn"] for one in found if one["containerInstanceArn"] == instance}
    assert set(there) == on < {one["taskArn"] for one in found}
    assert arn not in served.tasks(serviceName=served.service)
    assert served.tasks(desiredStatus="PENDING") == []
    assert served.tasks(launchType="FARGATE") == []
    with pytest.raises(ClientError, match="ServiceNotFoundException"):
        served.tasks(serviceName="nobody")


def test_unknown_tasks_are_missing_and_what_is_no_id_is_refused(served: Served) -> None:
    unknown = "0123456789abcdef" * 2
    found = served.ecs.describe_tasks(cluster=served.cluster, tasks=[unknown])
    assert [one["reason"] for one in found["failures"]] == ["MISSING"]
    with pytest.raises(ClientError, match=r"The referenced task was not found\."):
        served.ecs.stop_task(cluster=served.cluster, task=unknown)
    for wrong, words in (("x" * 37, "taskId longer than 36"), ("nonsense", "should be one of")):
        with pytest.raises(ClientError, match=words):
            served.ecs.describe_tasks(cluster=served.cluster, tasks=[wrong])


def test_protected_tasks_survive_a_scale_in(served: Served) -> None:
    served.ecs.update_service(cluster=served.cluster, service=served.service, desiredCount=4)
    until(lambda: served.described()["runningCount"] == 4)
    kept = served.tasks(serviceName=served.service)[:2]
    named = {"cluster": served.cluster, "tasks": kept}
    protected = served.ecs.update_task_protection(
        **named, protectionEnabled=True, expiresInMinutes=60
    )["protectedTasks"]
    assert all(one["protectionEnabled"] and one["expirationDate"] for one in protected)
    served.ecs.update_service(cluster=served.cluster, service=served.service, desiredCount=2)
    until(lambda: served.described()["runningCount"] == 2)
    # Where both are in one zone, rebalancing brings a third for a moment.
    assert set(kept) <= set(served.tasks(serviceName=served.service))
    served.ecs.update_task_protection(**named, protectionEnabled=False)
    found = served.ecs.get_task_protection(**named)["protectedTasks"]
    assert not any(one["protectionEnabled"] for one in found)


def test_only_tasks_of_services_can_be_protected(served: Served) -> None:
    served.register("job")
    (task,) = served.ecs.run_task(cluster=served.cluster, taskDefinition="job")["tasks"]
    found = served.ecs.update_task_protection(
        cluster=served.cluster, tasks=[task["taskArn"]], protectionEnabled=True
    )
    assert [one["reason"] for one in found["failures"]] == ["TASK_NOT_VALID"]


def test_a_task_in_awsvpc_has_an_interface_and_no_bindings(served: Served) -> None:
    served.ecs.register_task_definition(
        family="own",
        networkMode="awsvpc",
        containerDefinitions=[
            {
                "name": "main",
                "image": "small:1",
                "memory": 32,
                "portMappings": [{"containerPort": 80}],
            }
        ],
    )
    with pytest.raises(ClientError, match="Network Configuration must be provided"):
        served.ecs.run_task(cluster=served.cluster, taskDefinition="own")
    (task,) = served.ecs.run_task(
        cluster=served.cluster,
        taskDefinition="own",
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    )["tasks"]
    named = {"cluster": served.cluster, "tasks": [task["taskArn"]]}
    served.ecs.get_waiter("tasks_running").wait(**named, WaiterConfig=QUICK)
    (found,) = served.ecs.describe_tasks(**named)["tasks"]
    (interface,) = found["attachments"]
    details = {one["name"]: one["value"] for one in interface["details"]}
    (container,) = found["containers"]
    assert container["networkBindings"] == []
    assert container["networkInterfaces"][0]["privateIpv4Address"] == details["privateIPv4Address"]
