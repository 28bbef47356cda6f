"""The API of other environments than the sandbox: production, and a blue/green service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import templates
from rehearsal.api import serve
from templates import Graph
from tests.rehearsal.acting import Ticking, acting_world, steady, tick_until, until
from tests.rehearsal.api.conftest import Answered, Served


@contextmanager
def playing(graph: Graph, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[Served]:
    """Serve another environment, whose services are steady and which does not tick."""
    world = acting_world(graph, monkeypatch, name=name)
    server = serve(world, 0, say=world.say)
    try:
        with Ticking(world):
            until(lambda: steady(world))
        yield Served(world, server)
    finally:
        server.close()
        world.close()


def test_production_is_told_in_the_api_s_shapes_too(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, answered: Answered
) -> None:
    with playing(graph, monkeypatch, "production") as served:
        ecs, cluster = served.ecs, served.cluster
        found = served.described()
        assert len(found["networkConfiguration"]["awsvpcConfiguration"]["subnets"]) == 3
        ecs.describe_task_definition(taskDefinition=found["taskDefinition"])
        of_web = served.tasks(serviceName=served.service)
        tasks = ecs.describe_tasks(cluster=cluster, tasks=of_web)["tasks"]
        addresses = {
            one["value"]
            for task in tasks
            for one in task["attachments"][0]["details"]
            if one["name"] == "privateIPv4Address"
        }
        elbv2 = served.client("elbv2")
        (group,) = elbv2.describe_target_groups()["TargetGroups"]
        health = elbv2.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
        targets = {one["Target"]["Id"] for one in health["TargetHealthDescriptions"]}
        # In awsvpc a target is the task's own address.
        assert targets == addresses
        assert {one["Port"] for one in elbv2.describe_listeners()["Listeners"]} == {80, 443}
        instances = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
        ecs.describe_container_instances(cluster=cluster, containerInstances=instances)
        ecs.describe_capacity_providers(include=["TAGS"])
        served.client("cloudformation").describe_stacks()
        served.client("autoscaling").describe_auto_scaling_groups()
    assert len(answered.operations) > 9


def test_a_blue_green_deployment_moves_the_weights_of_its_rule(
    described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(templates.read(described / "variants"), monkeypatch, "bluegreen") as served:
        world, elbv2 = served.world, served.client("elbv2")
        (balancing,) = served.described()["loadBalancers"]
        rule = balancing["advancedConfiguration"]["productionListenerRule"]
        blue = balancing["targetGroupArn"]
        green = balancing["advancedConfiguration"]["alternateTargetGroupArn"]

        def weights() -> dict[str, int]:
            (found,) = elbv2.describe_rules(RuleArns=[rule])["Rules"]
            forward = found["Actions"][0]["ForwardConfig"]
            assert [one["TargetGroupArn"] for one in forward["TargetGroups"]] == [blue, green]
            return {one["TargetGroupArn"]: one["Weight"] for one in forward["TargetGroups"]}

        assert weights() == {blue: 100, green: 0}
        arn = served.ecs.update_service(
            cluster=served.cluster, service=served.service, forceNewDeployment=True
        )["service"]["currentServiceDeployment"]
        named = {"serviceDeploymentArns": [arn]}

        def stage() -> str:
            (found,) = served.ecs.describe_service_deployments(**named)["serviceDeployments"]
            return str(found.get("lifecycleStage"))

        tick_until(world, lambda: stage() == "SCALE_UP")
        assert weights() == {blue: 100, green: 0}
        tick_until(world, lambda: stage() == "BAKE_TIME")
        assert weights() == {blue: 0, green: 100}
        (found,) = served.ecs.describe_service_deployments(**named)["serviceDeployments"]
        assert found["targetServiceRevision"]["requestedProductionTrafficWeight"] == 100
        assert found["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"] == 0
        tick_until(world, lambda: stage() == "CLEAN_UP")
        with pytest.raises(served.ecs.exceptions.ConflictException):
            served.ecs.stop_service_deployment(serviceDeploymentArn=arn)
        tick_until(world, lambda: steady(world))
        assert weights() == {blue: 0, green: 100}
        health = elbv2.describe_target_health(TargetGroupArn=green)["TargetHealthDescriptions"]
        assert {one["TargetHealth"]["State"] for one in health} == {"healthy"}
        arn = served.ecs.update_service(
            cluster=served.cluster, service=served.service, forceNewDeployment=True
        )["service"]["currentServiceDeployment"]
        # Before anything was looked at.
        assert weights() == {blue: 0, green: 100}
        tick_until(world, lambda: weights() == {blue: 100, green: 0})
        served.ecs.stop_service_deployment(serviceDeploymentArn=arn)
        assert weights() == {blue: 100, green: 0}
        tick_until(world, lambda: weights() == {blue: 0, green: 100})
