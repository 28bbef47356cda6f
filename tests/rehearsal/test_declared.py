"""What a template declares and nobody plays is named."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from rehearsal.declared import Declared, left_out
from rehearsal.stacks import Stacks
from templates import Graph


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"ServiceConnectConfiguration": {"LogConfiguration": {}}}, None),
        ({"ServiceConnectConfiguration": {"LogConfiguration": {"A": "b"}}}, "LogConfiguration"),
        ({"ServiceConnectConfiguration": {"Services": [{"Tls": {"A": "b"}}]}}, "Tls"),
        ({"VolumeConfigurations": [{"Name": "data"}]}, "VolumeConfigurations"),
        ({"SchedulingStrategy": "DAEMON"}, "daemon"),
        ({"LoadBalancers": [{}, {}]}, "LoadBalancers"),
        ({"DeploymentConfiguration": {"LifecycleHooks": [{}]}}, "hooks"),
        ({"DeploymentController": {"Type": "EXTERNAL"}}, "EXTERNAL"),
        ({"CapacityProviderStrategy": [{}, {}]}, "CapacityProviderStrategy"),
    ],
)
def test_what_of_a_service_is_left_out_is_named(
    properties: dict[str, Any], said: str | None
) -> None:
    if said is None:
        assert left_out("web", properties, {}) == []
        return
    (line,) = left_out("web", properties, {})
    assert line.startswith("web: ")
    assert said in line


def test_scheduled_actions_are_named() -> None:
    (line,) = left_out("web", {}, {"ScheduledActions": [{"Schedule": "cron(0 19 ? * * *)"}]})
    assert "scheduled actions" in line


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_of_both_environments_only_the_proxys_log_is_left_out(
    graph: Graph, environment: str
) -> None:
    said = {
        "AWS::ECS::Service": ["web: LogConfiguration of Service Connect is not played"],
        "AWS::ApplicationAutoScaling::ScalableTarget": [],
    }
    stacks = Stacks(environment, region="us-east-1", address="127.0.0.1:8080")
    stacks.update(graph)
    for kind, left in said.items():
        for resource in stacks.of_type(kind):
            properties = graph.properties(resource, known=stacks.known)
            assert left_out("web", properties, properties) == left


def test_a_second_launch_template_with_other_settings_of_the_agent_is_named(graph: Graph) -> None:
    for user_data, number in ((None, 0), ("echo ECS_RESERVED_MEMORY=1 > /etc/ecs/ecs.config", 1)):
        changed = copy.deepcopy(graph)
        stack = changed.stack("Sandbox/Cluster")
        (template,) = stack.of_type("AWS::EC2::LaunchTemplate")
        data = dict(template.properties["LaunchTemplateData"])
        if user_data is not None:
            data["UserData"] = user_data
        assert isinstance(stack.resources, dict)
        stack.resources["Other"] = replace(
            template, logical_id="Other", properties={"LaunchTemplateData": data}
        )
        stacks = Stacks("sandbox", region="us-east-1", address="127.0.0.1:8080")
        stacks.update(changed)
        lines = Declared(changed, stacks).agents_left_out()
        assert len(lines) == number
        assert all("its agent's settings are not played" in line for line in lines)
