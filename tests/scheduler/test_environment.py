"""What an environment's templates declare is what is scheduled."""

from __future__ import annotations

from pathlib import Path

import pytest

import templates
from scheduler import environment
from scheduler.environment import Environment, definition_of, task_definition
from scheduler.model import (
    BLUE_GREEN,
    CANARY,
    LINEAR,
    ROLLING,
    Breaker,
    Constraint,
    Shift,
    Strategy,
)
from tests.scheduler.clusters import TASK


@pytest.fixture(scope="module")
def graph(assembly: Path) -> templates.Graph:
    return templates.read(assembly)


@pytest.fixture(scope="module")
def sandbox(graph: templates.Graph) -> Environment:
    return environment.read(graph, "sandbox")


@pytest.fixture(scope="module")
def production(graph: templates.Graph) -> Environment:
    return environment.read(graph, "production")


def test_the_sandboxes_hosts_are_as_declared(sandbox: Environment) -> None:
    (group,) = sandbox.make_groups()
    assert group.zones == ("us-east-1a", "us-east-1b")
    assert (group.minimum, group.maximum, group.desired) == (2, 6, 2)
    (kind,) = group.kinds
    # 1913 MiB were seen, less 128 for the agent; 256 ports; of three interfaces the host has one.
    assert (kind.name, kind.cpu, kind.memory) == ("t3.small", 2048, 1785)
    assert (kind.dynamic_ports, kind.interfaces) == (256, 2)
    assert kind.attributes["ecs.cpu-architecture"] == "x86_64"
    assert group.scaling is not None
    assert group.scaling.target == 100
    assert (group.drains, group.protects, group.drains_on_notice) == (True, False, True)
    assert (group.minimum_healthy_percent, group.maximum_healthy_percent) == (100, 200)


def test_the_productions_hosts_trunk_are_protected_and_have_a_spare(
    production: Environment,
) -> None:
    (group,) = production.make_groups()
    assert [kind.name for kind in group.kinds] == ["m7g.large", "m6g.large"]
    assert {kind.interfaces for kind in group.kinds} == {10}
    assert {kind.attributes["ecs.cpu-architecture"] for kind in group.kinds} == {"arm64"}
    assert group.scaling is not None
    assert group.scaling.target == 90
    assert group.protects
    assert len(group.zones) == 3


def test_a_service_is_as_declared(sandbox: Environment) -> None:
    _, service = sandbox.services
    definition, task = service.definition, service.definition.task_definition
    # The task's own numbers, with those of Service Connect's proxy, and not the container's.
    assert (task.cpu, task.memory, task.dynamic_ports, task.interfaces) == (512, 192, 1, 0)
    assert task.has_health_check
    assert (definition.minimum_healthy_percent, definition.maximum_percent) == (100, 200)
    assert definition.strategies == (
        Strategy("spread", "attribute:ecs.availability-zone"),
        Strategy("binpack", "MEMORY"),
    )
    assert definition.breaker == Breaker("COUNT", 3, rollback=True)
    assert definition.rebalancing
    assert len(definition.alarms) == 2
    assert (definition.grace_seconds, definition.alarm_rollback) == (60, True)
    assert (service.desired, service.minimum, service.maximum) == (2, 2, 6)
    assert {one.metric: one.target for one in service.policies} == {
        "ECSServiceAverageCPUUtilization": 60,
        "ALBRequestCountPerTarget": 600,
    }


def test_seconds_of_checks_and_of_leaving_come_from_the_target_group(sandbox: Environment) -> None:
    _, service = sandbox.services
    assert (service.check_seconds, service.deregistration_seconds) == (10, 30)


def test_an_awsvpc_task_has_an_interface_and_no_host_ports(production: Environment) -> None:
    service, _ = production.services
    task = service.definition.task_definition
    assert (task.interfaces, task.dynamic_ports, task.host_ports) == (1, 0, frozenset())


def test_groups_are_made_anew_each_time(sandbox: Environment) -> None:
    (one,), (other,) = sandbox.make_groups(), sandbox.make_groups()
    one.lost_zones.add("us-east-1a")
    assert not other.lost_zones


def test_another_content_of_the_launch_template_is_another_version(
    sandbox: Environment, production: Environment
) -> None:
    (one,), (again,), (other,) = (
        sandbox.make_groups(), sandbox.make_groups(), production.make_groups()
    )  # fmt: skip
    assert one.template == again.template != other.template


def test_an_unknown_environment_is_refused_with_those_that_there_are(
    graph: templates.Graph,
) -> None:
    with pytest.raises(
        templates.TemplateError,
        match="staging: expected an environment, one of production, sandbox",
    ):
        environment.read(graph, "staging")


def test_the_hard_limit_counts_where_nothing_is_reserved() -> None:
    made = task_definition(
        {
            "ContainerDefinitions": [
                {"Memory": 300, "MemoryReservation": 100, "Cpu": 10},
                {"Memory": 50},
            ]
        },
        "t",
    )
    assert (made.cpu, made.memory) == (10, 150)
    assert not made.has_health_check


def test_a_host_port_is_one_of_its_protocols() -> None:
    mappings = [{"HostPort": 80}, {"HostPort": "80", "Protocol": "udp"}, {"ContainerPort": 1}]
    made = task_definition({"ContainerDefinitions": [{"PortMappings": mappings}]}, "t")
    assert (made.host_ports, made.dynamic_ports) == (frozenset({(80, "tcp"), (80, "udp")}), 1)


def test_a_size_of_the_task_goes_before_those_of_its_containers() -> None:
    made = task_definition(
        {"Cpu": "512", "Memory": "1024", "ContainerDefinitions": [{"Cpu": 1, "Memory": 2}]}, "t"
    )
    assert (made.cpu, made.memory) == (512, 1024)


@pytest.mark.parametrize("essential", [False, "false"])
def test_only_an_essential_containers_check_counts(essential: object) -> None:
    check = {"HealthCheck": {"Command": ["CMD", "true"]}, "Essential": essential}
    assert not task_definition({"ContainerDefinitions": [check]}, "t").has_health_check


@pytest.mark.parametrize(
    ("configuration", "shift"),
    [
        ({}, Shift(ROLLING)),
        ({"BakeTimeInMinutes": 3}, Shift(ROLLING, bake_seconds=180)),
        ({"Strategy": "BLUE_GREEN", "BakeTimeInMinutes": 5}, Shift(BLUE_GREEN, bake_seconds=300)),
        (
            {
                "Strategy": "CANARY",
                "BakeTimeInMinutes": 5,
                "CanaryConfiguration": {"CanaryPercent": 10, "CanaryBakeTimeInMinutes": 2},
            },
            Shift(CANARY, 10, 120, 300),
        ),
        ({"Strategy": "CANARY"}, Shift(CANARY, 5, 600, 0)),
        (
            {
                "Strategy": "LINEAR",
                "LinearConfiguration": {"StepPercent": 25, "StepBakeTimeInMinutes": 1},
            },
            Shift(LINEAR, 25, 60, 0),
        ),
        ({"Strategy": "LINEAR"}, Shift(LINEAR, 10, 360, 0)),
    ],
)
def test_a_strategy_is_read_with_awss_defaults(
    configuration: dict[str, object], shift: Shift
) -> None:
    made = definition_of({"DeploymentConfiguration": configuration}, "web", TASK)
    assert made.shift == shift


def test_what_is_not_declared_has_the_defaults_of_ecs() -> None:
    made = definition_of({}, "web", TASK)
    assert (made.minimum_healthy_percent, made.maximum_percent) == (100, 200)
    assert (made.breaker, made.alarms, made.provider, made.target_groups) == (None, (), None, ())
    assert made.rebalancing, "on, unless a service says otherwise"
    off = definition_of({"AvailabilityZoneRebalancing": "DISABLED"}, "web", TASK)
    assert not off.rebalancing


def test_a_second_target_group_is_the_alternate_one() -> None:
    balancer = {
        "TargetGroupArn": "blue",
        "AdvancedConfiguration": {"AlternateTargetGroupArn": "green"},
    }
    made = definition_of(
        {
            "LoadBalancers": [balancer],
            "PlacementConstraints": [{"Type": "distinctInstance"}],
            "PlacementStrategies": [{"Type": "random"}],
        },
        "web",
        TASK,
    )
    assert made.target_groups == ("blue", "green")
    assert made.constraints == (Constraint("distinctInstance"),)
    assert made.strategies == (Strategy("random"),)
