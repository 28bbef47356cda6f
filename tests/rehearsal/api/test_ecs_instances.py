"""Container instances: drained, named, told of what they have left."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.acting import add_instances, steady, until
from tests.rehearsal.api.conftest import Served


def _instances(served: Served) -> list[str]:
    found: list[str] = served.ecs.list_container_instances(cluster=served.cluster)[
        "containerInstanceArns"
    ]
    return found


def test_draining_an_instance_moves_its_tasks_and_active_lets_them_come_again(
    served: Served,
) -> None:
    (first, *_) = _instances(served)
    moved = served.tasks(containerInstance=first)
    assert moved
    (changed,) = served.ecs.update_container_instances_state(
        cluster=served.cluster, containerInstances=[first], status="DRAINING"
    )["containerInstances"]
    assert changed["status"] == "DRAINING"
    until(lambda: not served.tasks(containerInstance=first))
    until(lambda: served.described()["runningCount"] == 2)
    listed = served.ecs.list_container_instances(cluster=served.cluster, status="DRAINING")
    assert listed["containerInstanceArns"] == [first]
    served.ecs.update_container_instances_state(
        cluster=served.cluster, containerInstances=[first], status="ACTIVE"
    )
    # Zone rebalancing brings one back.
    until(lambda: served.tasks(containerInstance=first))


def test_an_instance_tells_what_tasks_have_left_of_it(served: Served) -> None:
    (found, *_) = served.ecs.describe_container_instances(
        cluster=served.cluster, containerInstances=_instances(served)
    )["containerInstances"]
    # One of web and one of quotes, each with Service Connect's proxy.
    registered = {one["name"]: one for one in found["registeredResources"]}
    remaining = {one["name"]: one for one in found["remainingResources"]}
    assert registered["CPU"]["integerValue"] - remaining["CPU"]["integerValue"] == 512 + 384
    assert registered["MEMORY"]["integerValue"] - remaining["MEMORY"]["integerValue"] == 192 + 160
    new = set(remaining["PORTS"]["stringSetValue"]) - set(registered["PORTS"]["stringSetValue"])
    assert new == {"20000", "20001"}
    attributes = {one["name"]: one.get("value") for one in found["attributes"]}
    assert attributes["ecs.instance-type"] == "t3.small"
    assert found["runningTasksCount"] == 2
    assert found["ec2InstanceId"].startswith("i-")


def test_a_hundred_instances_make_a_page_and_each_comes_once(still: Served) -> None:
    add_instances(still.world, 123)
    pages = list(
        still.ecs.get_paginator("list_container_instances").paginate(cluster=still.cluster)
    )
    assert [len(one["containerInstanceArns"]) for one in pages] == [100, 25]
    arns = [arn for one in pages for arn in one["containerInstanceArns"]]
    assert len(set(arns)) == 125
    with pytest.raises(ClientError, match="instanceIds can have at most 100 items"):
        still.ecs.describe_container_instances(cluster=still.cluster, containerInstances=arns[:101])
    with pytest.raises(ClientError, match="instanceIds can have at most 10 items"):
        still.ecs.update_container_instances_state(
            cluster=still.cluster, containerInstances=arns[:11], status="DRAINING"
        )
    paged = still.ecs.get_paginator("list_attributes").paginate(
        cluster=still.cluster, targetType="container-instance", attributeName="ecs.instance-type"
    )
    attributes = [one for page in paged for one in page["attributes"]]
    assert len({one["targetId"] for one in attributes}) == len(attributes) == 125


def test_an_instance_is_found_by_an_expression_over_its_attributes(served: Served) -> None:
    (first, _) = _instances(served)
    attribute = {"name": "stack", "value": "blue", "targetId": first}
    served.ecs.put_attributes(cluster=served.cluster, attributes=[attribute])
    wanted = {"cluster": served.cluster, "filter": "attribute:stack == blue"}
    assert served.ecs.list_container_instances(**wanted)["containerInstanceArns"] == [first]
    served.register("blue")
    (task,) = served.ecs.run_task(
        cluster=served.cluster,
        taskDefinition="blue",
        placementConstraints=[{"type": "memberOf", "expression": "attribute:stack == blue"}],
    )["tasks"]
    assert task["containerInstanceArn"] == first
    served.ecs.delete_attributes(cluster=served.cluster, attributes=[attribute])
    assert served.ecs.list_container_instances(**wanted)["containerInstanceArns"] == []
    for name, words in (("ecs.ami-id", "can be set"), ("x", "TargetNotFound")):
        target = first if name != "x" else "0" * 32
        with pytest.raises(ClientError, match=words):
            served.ecs.put_attributes(
                cluster=served.cluster, attributes=[{"name": name, "targetId": target}]
            )


def test_no_instance_takes_an_eleventh_attribute(served: Served) -> None:
    (first, _) = _instances(served)
    ten = [{"name": f"n{number}", "targetId": first} for number in range(10)]
    served.ecs.put_attributes(cluster=served.cluster, attributes=ten)
    with pytest.raises(ClientError, match="AttributeLimitExceededException"):
        served.ecs.put_attributes(
            cluster=served.cluster, attributes=[{"name": "more", "targetId": first}]
        )


def test_a_deregistered_instance_is_gone_from_the_cluster_and_its_tasks_are_replaced(
    served: Served,
) -> None:
    (first, _) = _instances(served)
    named = {"cluster": served.cluster, "containerInstance": first}
    with pytest.raises(ClientError, match="Found running tasks on the instance"):
        served.ecs.deregister_container_instance(**named)
    gone = served.ecs.deregister_container_instance(**named, force=True)["containerInstance"]
    assert gone["status"] == "INACTIVE"
    assert first not in _instances(served)
    until(lambda: steady(served.world))
    assert not served.tasks(containerInstance=first)
    assert served.described()["runningCount"] == 2
    # EC2 still has it: who deregisters an instance does not terminate it.
    assert len(served.client("ec2").describe_instances()["Reservations"]) >= 2


def test_instances_that_are_not_there_are_missing(served: Served) -> None:
    found = served.ecs.describe_container_instances(
        cluster=served.cluster, containerInstances=["0" * 32]
    )
    assert [one["reason"] for one in found["failures"]] == ["MISSING"]
    with pytest.raises(ClientError, match=r"should be one of \[ACTIVE, DRAINING\]"):
        served.ecs.update_container_instances_state(
            cluster=served.cluster, containerInstances=["0" * 32], status="REGISTERING"
        )


def test_an_instance_that_boots_is_not_in_the_cluster_yet(idle: Served) -> None:
    idle.world.boot_seconds = 1e6
    idle.world.tick()
    assert len(idle.client("ec2").describe_instances()["Reservations"]) == 2
    assert _instances(idle) == []
