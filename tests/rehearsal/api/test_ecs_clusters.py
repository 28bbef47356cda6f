"""The cluster, its capacity provider, and everything's tags."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.api.conftest import Served


def test_the_cluster_tells_what_is_in_it(served: Served) -> None:
    found = served.ecs.describe_clusters(
        clusters=[served.cluster, "other"],
        include=["STATISTICS", "SETTINGS", "TAGS", "CONFIGURATIONS"],
    )
    (cluster,) = found["clusters"]
    assert (cluster["registeredContainerInstancesCount"], cluster["runningTasksCount"]) == (2, 4)
    assert cluster["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    assert cluster["configuration"]["executeCommandConfiguration"]["logging"] == "OVERRIDE"
    statistics = {one["name"]: one["value"] for one in cluster["statistics"]}
    assert statistics["runningEC2TasksCount"] == "4"
    assert [one["reason"] for one in found["failures"]] == ["MISSING"]
    # As on AWS, nothing named is the cluster called default.
    assert served.ecs.describe_clusters()["failures"][0]["arn"].endswith("cluster/default")
    with pytest.raises(ClientError, match=r"ClusterNotFoundException.*Cluster not found\."):
        served.ecs.list_tasks()


def test_a_second_cluster_is_not_played_and_the_first_is_not_deleted(served: Served) -> None:
    with pytest.raises(ClientError, match=r"UnsupportedFeatureException.*second cluster"):
        served.ecs.create_cluster(clusterName="other")
    with pytest.raises(ClientError, match="ClusterContainsContainerInstancesException"):
        served.ecs.delete_cluster(cluster=served.cluster)


def test_a_provider_s_settings_change_how_the_group_is_scaled(served: Served) -> None:
    (provider,) = served.ecs.describe_capacity_providers()["capacityProviders"]
    managed = provider["autoScalingGroupProvider"]
    assert managed["managedScaling"]["targetCapacity"] == 100
    assert managed["autoScalingGroupArn"].endswith(next(iter(served.world.state.groups)))
    served.ecs.update_capacity_provider(
        name=provider["name"],
        autoScalingGroupProvider={
            "managedScaling": {"targetCapacity": 50},
            "managedDraining": "DISABLED",
        },
    )
    (group,) = served.world.state.groups.values()
    assert group.scaling is not None
    assert (group.scaling.target, group.drains) == (50, False)
    served.ecs.update_capacity_provider(
        name=provider["name"],
        autoScalingGroupProvider={"managedScaling": {"status": "DISABLED"}},
    )
    assert group.scaling is None
    failures = served.ecs.describe_capacity_providers(capacityProviders=["other"])["failures"]
    assert [one["reason"] for one in failures] == ["MISSING"]


def test_everything_that_has_an_arn_has_tags(served: Served) -> None:
    (provider,) = served.ecs.describe_capacity_providers()["capacityProviders"]
    (instance, *_) = served.ecs.list_container_instances(cluster=served.cluster)[
        "containerInstanceArns"
    ]
    service = served.described()
    arns = [service["clusterArn"], service["serviceArn"], service["taskDefinition"],
            provider["capacityProviderArn"], instance, served.tasks()[0]]  # fmt: skip
    for arn in arns:
        before = served.ecs.list_tags_for_resource(resourceArn=arn)["tags"]
        served.ecs.tag_resource(resourceArn=arn, tags=[{"key": "added", "value": "1"}])
        served.ecs.tag_resource(resourceArn=arn, tags=[{"key": "added", "value": "2"}])
        after = served.ecs.list_tags_for_resource(resourceArn=arn)["tags"]
        assert [one for one in after if one not in before] == [{"key": "added", "value": "2"}]
        served.ecs.untag_resource(resourceArn=arn, tagKeys=["added", "never"])
        assert served.ecs.list_tags_for_resource(resourceArn=arn)["tags"] == before
    many = [{"key": f"k{number}", "value": "v"} for number in range(40)]
    served.ecs.tag_resource(resourceArn=arns[0], tags=many)
    more = [{"key": f"m{number}", "value": "v"} for number in range(40)]
    with pytest.raises(ClientError, match="at most 50 tags"):
        served.ecs.tag_resource(resourceArn=arns[0], tags=more)
    for wrong, words in (
        (service["serviceArn"] + "x", "ResourceNotFoundException"),
        ("arn:aws:s3:::bucket", "Invalid identifier"),
    ):
        with pytest.raises(ClientError, match=words):
            served.ecs.list_tags_for_resource(resourceArn=wrong)
