"""Every resource has an id, references resolve, and nothing is passed by in silence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import templates
from rehearsal.stacks import Stacks
from templates import Graph, TemplateError


def stacks_of(graph: Graph, environment: str = "sandbox") -> Stacks:
    found = Stacks(environment, region="us-east-1", address="127.0.0.1:8080")
    found.update(graph)
    return found


def changed(assembly: Path, to: Path, stack: str, old: str, new: str) -> Graph:
    """Copy an assembly with a text in one stack's template replaced."""
    shutil.copytree(assembly, to)
    (path,) = to.glob(f"assembly-Sandbox/Sandbox{stack}????????.template.json")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return templates.read(to)


def test_the_url_leads_to_this_machine(graph: Graph) -> None:
    outputs = stacks_of(graph).records["Sandbox-Ingress"].outputs
    assert outputs["Url"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_what_is_played_names_nothing_that_is_unknown(graph: Graph, environment: str) -> None:
    stacks = stacks_of(graph, environment)
    for kind in (
        "AWS::ECS::Service", "AWS::ECS::TaskDefinition", "AWS::ECS::CapacityProvider",
        "AWS::AutoScaling::AutoScalingGroup", "AWS::EC2::LaunchTemplate",
        "AWS::ElasticLoadBalancingV2::Listener", "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::CloudWatch::Alarm",
    ):  # fmt: skip
        for resource in stacks.of_type(kind):
            properties = graph.properties(resource, known=stacks.known)
            assert "${" not in json.dumps(properties), resource.logical_id


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_every_type_that_is_not_played_has_its_consequence(graph: Graph, environment: str) -> None:
    found = stacks_of(graph, environment).not_played()
    assert "AWS::Budgets::Budget" in found
    assert [kind for kind, why in found.items() if why == "unknown here"] == []


def test_a_type_that_nobody_knows_is_named(assembly: Path, tmp_path: Path) -> None:
    graph = changed(
        assembly, tmp_path / "out", "Cluster", '"AWS::Budgets::Budget"', '"AWS::Nobody::Knows"'
    )
    assert stacks_of(graph).not_played()["AWS::Nobody::Knows"] == "unknown here"


def test_ids_are_the_same_each_time(graph: Graph) -> None:
    assert stacks_of(graph).known == stacks_of(graph).known


def test_a_task_definition_has_a_new_revision_only_when_it_changed(
    graph: Graph, assembly: Path, tmp_path: Path
) -> None:
    stacks = stacks_of(graph)
    found = stacks.of_type("AWS::ECS::TaskDefinition")
    (definition, other) = sorted(found, key=lambda one: one.stack, reverse=True)
    first, others = stacks.physical(definition), stacks.physical(other)
    stacks.update(graph)
    assert stacks.physical(definition) == first
    stacks.update(changed(assembly, tmp_path / "out", "Web", '"KEEP_ALIVE_SECONDS"', '"ANOTHER"'))
    assert stacks.physical(definition) == f"{first[:-1]}2"
    assert stacks.physical(other) == others


def test_a_launch_template_has_a_new_version_only_when_it_changed(
    graph: Graph, assembly: Path, tmp_path: Path
) -> None:
    stacks = stacks_of(graph)
    (key,) = (key for key in stacks.known if key.endswith(".LatestVersionNumber"))
    stacks.update(graph)
    assert stacks.known[key] == "1"
    other = changed(assembly, tmp_path / "out", "Cluster", "20261113-kernel", "20270101-kernel")
    stacks.update(other)
    assert stacks.known[key] == "2"


def test_an_environment_that_there_is_not_is_said(graph: Graph) -> None:
    with pytest.raises(TemplateError, match="staging: expected an environment, one of production"):
        stacks_of(graph, "staging")
