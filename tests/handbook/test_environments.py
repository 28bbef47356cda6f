"""What a diagram shows is in the templates, and what changes there changes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import templates
from handbook.drawing import Picture, sentences, svg
from handbook.environments import deploy, pictures, request, stacks
from tests.conftest import Assembly, Template, Values

ENVIRONMENTS = ["Sandbox", "Production"]
STACKS = ["Network", "Registry", "Cluster", "Ingress", "Web", "Quotes"]
OF_BALANCERS = "AWS::ElasticLoadBalancingV2::"


def node(picture: Picture, title: str) -> Any:  # noqa: ANN401 - a Node, or the test fails
    (found,) = [one for one in picture.nodes if one.title == title]
    return found


def arrows(picture: Picture) -> set[tuple[str, str]]:
    titles = {one.key: one.title for one in picture.nodes}
    return {(titles[one.start], titles[one.end]) for one in picture.edges}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_stacks_stand_on_what_the_manifest_says(
    graph: templates.Graph, synthesized: Assembly, environment: str
) -> None:
    manifest = json.loads(
        (synthesized.directory / f"assembly-{environment}" / "manifest.json").read_text("utf-8")
    )["artifacts"]
    names = {
        key: one["displayName"].split(" ")[0].partition("/")[2]
        for key, one in manifest.items()
        if one["type"] == "aws:cloudformation:stack"
    }
    drawn = stacks(graph, environment)
    assert {one.title for one in drawn.nodes} == set(names.values()) == set(STACKS)
    assert arrows(drawn) == {
        (name, names[other])
        for key, name in names.items()
        for other in manifest[key]["dependencies"]
        if other in names
    }
    for name in STACKS:
        resources = synthesized.stack(f"{environment}/{name}").body["Resources"]
        assert node(drawn, name).tag == f"{len(resources)} resources"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_numbers_and_zones_of_a_requests_path_are_the_templates(
    graph: templates.Graph, synthesized: Assembly, environment: str
) -> None:
    def stack(name: str) -> Template:
        return synthesized.stack(f"{environment}/{name}")

    drawn = request(graph, environment)
    subnets = stack("Network").all("AWS::EC2::Subnet")
    private = {
        (one["AvailabilityZone"], one["CidrBlock"])
        for one in subnets
        if {"Key": "aws-cdk:subnet-type", "Value": "Private"} in one["Tags"]
    }
    assert len(private) == {"Sandbox": 2, "Production": 3}[environment]
    (frame,) = drawn.frames
    by_key = {one.key: one for one in drawn.nodes}
    shown = {(by_key[key].title, by_key[key].lines[-1].removeprefix("in ")) for key in frame.keys}
    assert shown == private
    group = stack("Cluster").one("AWS::AutoScaling::AutoScalingGroup")
    assert f": {group['MinSize']} to {group['MaxSize']} of " in frame.title
    for one in group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]:
        assert one["InstanceType"] in frame.title
    count = stack("Web").one("AWS::ApplicationAutoScaling::ScalableTarget")
    service = node(drawn, "Service Web")
    assert f"{count['MinCapacity']} to {count['MaxCapacity']} tasks" in service.lines
    mode = stack("Web").one("AWS::ECS::TaskDefinition")["NetworkMode"]
    assert f"network mode {mode}" in service.lines
    listeners = stack("Ingress").all(f"{OF_BALANCERS}Listener")
    titles = {f"Listener {one['Protocol']} {one['Port']}" for one in listeners}
    assert titles == {one.title for one in drawn.nodes if one.title.startswith("Listener")}
    rule = stack("Web").one(f"{OF_BALANCERS}ListenerRule")
    target = stack("Web").one(f"{OF_BALANCERS}TargetGroup")
    taking = "Listener HTTPS 443" if environment == "Production" else "Listener HTTP 80"
    assert {
        ("Load balancer", taking),
        (taking, f"Rule {rule['Priority']}"),
        (f"Rule {rule['Priority']}", "Target group"),
        ("Target group", "Service Web"),
        *(("Service Web", zone) for zone, _ in private),
    } <= arrows(drawn)
    asked = f"asks {target['HealthCheckPath']} every {target['HealthCheckIntervalSeconds']} s"
    assert asked in node(drawn, "Target group").lines
    ports = "port 8080" if mode == "awsvpc" else "ports 20000-20255"
    assert {one.says for one in drawn.edges if one.start == service.key} == {ports}
    firewalls = len(stack("Ingress").resources("AWS::WAFv2::WebACLAssociation"))
    assert [one.title for one in drawn.nodes].count("Firewall") == firewalls


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_image_flows_as_the_asset_manifest_says(
    graph: templates.Graph, synthesized: Assembly, environment: str
) -> None:
    drawn = deploy(graph, environment)
    registry = synthesized.stack(f"{environment}/Registry")
    repository = next(
        one
        for one in registry.all("AWS::ECR::Repository")
        if one["RepositoryName"].endswith("-web")
    )
    role = registry.one("AWS::IAM::Role")
    stored, pusher = f"Repository {repository['RepositoryName']}", f"Role {role['RoleName']}"
    assert {
        ("Source of web", "cdk deploy"),
        ("cdk deploy", pusher),
        (pusher, stored),
        (stored, "Task definition of web"),
        (stored, "Container instances"),
        ("cdk deploy", "CloudFormation"),
        ("Task definition of web", "Service Web"),
        ("Service Web", "Target group"),
        ("Service Web", "Container instances"),
    } <= arrows(drawn)
    assert "the tag is the source's hash" in node(drawn, "Source of web").lines
    how = synthesized.stack(f"{environment}/Web").one("AWS::ECS::Service")[
        "DeploymentConfiguration"
    ]
    least, most = how["MinimumHealthyPercent"], how["MaximumPercent"]
    assert f"{least} to {most} per cent of the tasks" in node(drawn, "Service Web").lines


def test_whatever_is_synthesized_can_be_drawn(variants: Assembly, added: Assembly) -> None:
    for assembly in (variants, added):
        for one in pictures(templates.read(assembly.directory)):
            assert svg(one)
            assert sentences(one)
    drawn = request(templates.read(added.directory), "Sandbox")
    assert len([one for one in drawn.nodes if one.title.startswith("Rule ")]) == 2
    assert len(drawn.frames) == 1


Change = Callable[[Values], None]


def changed(assembly: Assembly, to: Path, stack: str, kind: str, change: Change) -> templates.Graph:
    """Read the assembly with the properties of one kind of resource of the sandbox changed."""
    shutil.copytree(assembly.directory, to, dirs_exist_ok=True)
    (path,) = (to / "assembly-Sandbox").glob(f"Sandbox{stack}????????.template.json")
    body = json.loads(path.read_text("utf-8"))
    for resource in body["Resources"].values():
        if resource["Type"] == kind:
            change(resource["Properties"])
    path.write_text(json.dumps(body), encoding="utf-8")
    return templates.read(to)


@pytest.mark.parametrize(
    ("stack", "kind", "change", "picture"),
    [
        ("Network", "AWS::EC2::Subnet", {"AvailabilityZone": "eu-west-1z"}, request),
        ("Cluster", "AWS::AutoScaling::AutoScalingGroup", {"MaxSize": "41"}, request),
        ("Ingress", f"{OF_BALANCERS}Listener", {"Port": 4141}, request),
        ("Web", f"{OF_BALANCERS}ListenerRule", {"Priority": 41}, request),
        ("Web", f"{OF_BALANCERS}TargetGroup", {"HealthCheckPath": "/forty-one"}, request),
        ("Web", "AWS::ApplicationAutoScaling::ScalableTarget", {"MinCapacity": 41}, request),
        ("Ingress", "AWS::EC2::SecurityGroupIngress", {"ToPort": 20041}, request),
        ("Web", "AWS::ECS::Service", {"DeploymentConfiguration": {"Strategy": "LINEAR"}}, deploy),
        ("Registry", "AWS::ECR::Repository", {"ImageTagMutability": "MUTABLE"}, deploy),
        ("Registry", "AWS::IAM::Role", {"RoleName": "somebody-else"}, deploy),
    ],
)
def test_a_changed_template_changes_the_picture(
    graph: templates.Graph, synthesized: Assembly, tmp_path: Path, stack: str, kind: str,
    change: Values, picture: Callable[[templates.Graph, str], Picture],
) -> None:  # fmt: skip
    after = changed(
        synthesized, tmp_path, stack, kind, lambda properties: properties.update(change)
    )
    was, now = picture(graph, "Sandbox"), picture(after, "Sandbox")
    assert svg(now) != svg(was)
    for value in change.values():
        if kind != "AWS::IAM::Role" and isinstance(value, str | int):
            assert str(value).lower() in " ".join(sentences(now)).lower()


def test_a_resource_that_nothing_names_any_more_loses_its_arrow(
    graph: templates.Graph, synthesized: Assembly, tmp_path: Path
) -> None:
    kind = "AWS::ECS::Service"
    after = changed(synthesized, tmp_path, "Web", kind, lambda one: one.pop("LoadBalancers"))
    arrow = ("Target group", "Service Web")
    assert arrow in arrows(request(graph, "Sandbox"))
    assert arrow not in arrows(request(after, "Sandbox"))
    after = changed(synthesized, tmp_path, "Web", kind, lambda one: one.pop("TaskDefinition"))
    with pytest.raises(
        templates.TemplateError, match=r"expected one AWS::ECS::TaskDefinition, got 0"
    ):
        request(after, "Sandbox")
