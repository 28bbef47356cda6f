"""Auto Scaling: groups grow, shrink and are refreshed as they are told."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.acting import add_instances, tick_until, until
from tests.rehearsal.api.conftest import Served

Values = dict[str, Any]


def group(served: Served) -> Values:
    (found,) = served.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return dict(found)


def in_service(served: Served) -> list[str]:
    return [one["InstanceId"] for one in group(served)["Instances"]
            if one["LifecycleState"] == "InService"]  # fmt: skip


def test_a_group_is_as_its_template_says_and_as_it_is(served: Served) -> None:
    found = group(served)
    assert (found["MinSize"], found["MaxSize"], found["DesiredCapacity"]) == (2, 6, 2)
    assert found["AvailabilityZones"] == ["us-east-1a", "us-east-1b"]
    assert found["VPCZoneIdentifier"].count("subnet-") == 2
    assert found["InstanceMaintenancePolicy"]["MaxHealthyPercentage"] == 200
    assert {one["LifecycleState"] for one in found["Instances"]} == {"InService"}
    assert found["Tags"][0]["Key"] == "drydock:environment"
    (hook,) = served.client("autoscaling").describe_lifecycle_hooks(
        AutoScalingGroupName=found["AutoScalingGroupName"]
    )["LifecycleHooks"]
    assert hook["LifecycleHookName"] == "ecs-managed-draining-termination-hook"


def test_a_desired_capacity_is_reached_and_its_bounds_are_kept(served: Served) -> None:
    name = group(served)["AutoScalingGroupName"]
    autoscaling = served.client("autoscaling")
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
    until(lambda: len(in_service(served)) == 4)
    for wrong, words in ((7, "above max value 6"), (1, "below min value 2")):
        with pytest.raises(ClientError, match=words):
            autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=wrong)
    with pytest.raises(ClientError, match="AutoScalingGroup name not found"):
        autoscaling.set_desired_capacity(AutoScalingGroupName="other", DesiredCapacity=2)


def test_other_bounds_carry_the_desired_capacity_with_them(served: Served) -> None:
    named = {"AutoScalingGroupName": group(served)["AutoScalingGroupName"]}
    autoscaling = served.client("autoscaling")
    autoscaling.update_auto_scaling_group(**named, MinSize=3)
    assert group(served)["DesiredCapacity"] == 3
    until(lambda: len(in_service(served)) == 3)
    with pytest.raises(ClientError, match="must be greater than or equal to min bound"):
        autoscaling.update_auto_scaling_group(**named, MinSize=7)
    with pytest.raises(ClientError, match="does not change HealthCheckType"):
        autoscaling.update_auto_scaling_group(**named, HealthCheckType="ELB")
    autoscaling.update_auto_scaling_group(**named, NewInstancesProtectedFromScaleIn=True)
    assert group(served)["NewInstancesProtectedFromScaleIn"] is True


def test_an_instance_that_is_ended_is_drained_and_replaced(served: Served) -> None:
    first, second = in_service(served)
    activity = served.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=first, ShouldDecrementDesiredCapacity=False
    )["Activity"]
    assert first in activity["Description"]
    until(lambda: len(in_service(served)) == 2 and first not in in_service(served))
    assert second in in_service(served)
    until(lambda: served.described()["runningCount"] == 2)
    # Managed draining: its task was replaced before it was stopped, and nothing was killed.
    assert served.world.engine.killed == []  # type: ignore[attr-defined]
    done = served.client("autoscaling").describe_scaling_activities()["Activities"]
    assert any(first in one["Description"] for one in done)
    (gone,) = served.client("ec2").describe_instances(InstanceIds=[first])["Reservations"]
    assert gone["Instances"][0]["State"]["Name"] == "terminated"


def test_a_group_can_be_made_smaller_by_one_instance(served: Served) -> None:
    name = group(served)["AutoScalingGroupName"]
    autoscaling = served.client("autoscaling")
    first, _ = in_service(served)
    with pytest.raises(ClientError, match="desiredSize equals minSize"):
        autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=True
        )
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=1)
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=first, ShouldDecrementDesiredCapacity=True
    )
    until(lambda: first not in [one["InstanceId"] for one in group(served)["Instances"]])
    assert group(served)["DesiredCapacity"] == 1
    with pytest.raises(ClientError, match="No managed instance found"):
        autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=first, ShouldDecrementDesiredCapacity=True
        )


def test_a_refresh_replaces_every_instance_launching_first(served: Served) -> None:
    named = {"AutoScalingGroupName": group(served)["AutoScalingGroupName"]}
    autoscaling, before = served.client("autoscaling"), in_service(served)
    begun = autoscaling.start_instance_refresh(**named)["InstanceRefreshId"]
    with pytest.raises(ClientError, match="InstanceRefreshInProgress"):
        autoscaling.start_instance_refresh(**named)

    def refresh() -> Values:
        (found,) = autoscaling.describe_instance_refreshes(**named)["InstanceRefreshes"]
        return dict(found)

    assert refresh()["InstanceRefreshId"] == begun
    until(lambda: refresh()["Status"] == "Successful", seconds=20)
    assert refresh()["PercentageComplete"] == 100
    assert not set(before) & set(in_service(served))
    with pytest.raises(ClientError, match="ActiveInstanceRefreshNotFound"):
        autoscaling.cancel_instance_refresh(**named)


def test_a_refresh_that_matches_replaces_nothing_and_one_can_be_cancelled(still: Served) -> None:
    named = {"AutoScalingGroupName": group(still)["AutoScalingGroupName"]}
    autoscaling, before = still.client("autoscaling"), in_service(still)
    autoscaling.start_instance_refresh(**named, Preferences={"SkipMatching": True})

    def statuses() -> list[str]:
        found = autoscaling.describe_instance_refreshes(**named)["InstanceRefreshes"]
        return [one["Status"] for one in found]

    tick_until(still.world, lambda: statuses() == ["Successful"])
    assert in_service(still) == before
    autoscaling.start_instance_refresh(**named)
    autoscaling.cancel_instance_refresh(**named)
    assert statuses() == ["Cancelled", "Successful"]


@pytest.mark.parametrize(
    ("preference", "words"),
    [
        ({"MinHealthyPercentage": 50}, "MinHealthyPercentage 50 .*group's own, 100"),
        ({"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}, "MaxHealthyPercentage 110"),
        ({"InstanceWarmup": 7}, "InstanceWarmup 7"),
        ({"CheckpointPercentages": [50]}, "CheckpointPercentages"),
        ({"AutoRollback": True}, "AutoRollback"),
        ({"BakeTime": 60}, "BakeTime"),
    ],
)
def test_a_refresh_that_would_go_otherwise_than_asked_is_refused(
    still: Served, preference: Values, words: str
) -> None:
    named = {"AutoScalingGroupName": group(still)["AutoScalingGroupName"]}
    autoscaling = still.client("autoscaling")
    with pytest.raises(ClientError, match=f"does not play {words}"):
        autoscaling.start_instance_refresh(**named, Preferences=preference)
    assert autoscaling.describe_instance_refreshes(**named)["InstanceRefreshes"] == []


def test_a_refresh_may_name_the_preferences_that_it_has_anyway(still: Served) -> None:
    (one,) = still.world.state.groups.values()
    same = {
        "MinHealthyPercentage": one.minimum_healthy_percent,
        "MaxHealthyPercentage": one.maximum_healthy_percent,
        "InstanceWarmup": int(one.warmup_seconds),
        "AutoRollback": False,
        "StandbyInstances": "Ignore",
        "ScaleInProtectedInstances": "Refresh",
    }
    still.client("autoscaling").start_instance_refresh(
        AutoScalingGroupName=one.name, Preferences=same
    )
    assert one.refresh is not None
    assert one.refresh.protected == "Refresh"


def test_protected_instances_survive_a_scale_in(served: Served) -> None:
    name = group(served)["AutoScalingGroupName"]
    autoscaling = served.client("autoscaling")
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
    until(lambda: len(in_service(served)) == 4)
    kept = in_service(served)[:2]
    autoscaling.set_instance_protection(
        AutoScalingGroupName=name, InstanceIds=kept, ProtectedFromScaleIn=True
    )
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    until(lambda: len(group(served)["Instances"]) == 2)
    assert set(in_service(served)) == set(kept)


def test_an_instance_that_boots_cannot_be_protected(idle: Served) -> None:
    idle.world.boot_seconds = 1e6
    idle.world.tick()
    (first, *_) = group(idle)["Instances"]
    assert first["LifecycleState"] == "Pending"
    with pytest.raises(ClientError, match="is not in InService"):
        idle.client("autoscaling").set_instance_protection(
            AutoScalingGroupName=group(idle)["AutoScalingGroupName"],
            InstanceIds=[first["InstanceId"]],
            ProtectedFromScaleIn=True,
        )


def test_instances_come_fifty_a_page_and_each_once(still: Served) -> None:
    add_instances(still.world, 121)
    paginator = still.client("autoscaling").get_paginator("describe_auto_scaling_instances")
    pages = list(paginator.paginate())
    assert [len(one["AutoScalingInstances"]) for one in pages] == [50, 50, 23]
    ids = [one["InstanceId"] for page in pages for one in page["AutoScalingInstances"]]
    assert len(set(ids)) == 123
    with pytest.raises(ClientError, match="InvalidNextToken"):
        still.client("autoscaling").describe_auto_scaling_instances(NextToken="x")


def test_groups_are_found_by_their_tags(served: Served) -> None:
    ask = served.client("autoscaling").describe_auto_scaling_groups
    right = [{"Name": "tag:drydock:environment", "Values": ["sandbox"]}]
    wrong = [{"Name": "tag:drydock:environment", "Values": ["production"]}]
    assert len(ask(Filters=right)["AutoScalingGroups"]) == 1
    assert ask(Filters=wrong)["AutoScalingGroups"] == []
    assert ask(AutoScalingGroupNames=["other"])["AutoScalingGroups"] == []


def test_what_the_rehearsal_does_not_play_is_refused(served: Served) -> None:
    name = group(served)["AutoScalingGroupName"]
    with pytest.raises(ClientError, match="does not play SuspendProcesses"):
        served.client("autoscaling").suspend_processes(AutoScalingGroupName=name)
    assert served.client("autoscaling").describe_policies()["ScalingPolicies"] == []
