"""Templates are read whole, and what cannot be known before a deployment stays visible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import templates
from templates import Graph, Reference, TemplateError, Unresolved, read


def graph_of(path: Path, template: Mapping[str, Any]) -> Graph:
    file = path / "one.template.json"
    file.write_text(json.dumps({"Resources": {}, **template}))
    return read(file)


@pytest.fixture
def resolved(tmp_path: Path) -> Any:  # noqa: ANN401 - a function of every kind of value
    """Resolves a value in a template with those sections."""

    def resolve(value: object, known: Mapping[str, Any] | None = None, **sections: object) -> Any:  # noqa: ANN401
        return graph_of(tmp_path, sections).resolve(value, stack="one", known=known)

    return resolve


@pytest.fixture(scope="session")
def graph(assembly: Path) -> Graph:
    return read(assembly)


@pytest.mark.parametrize("name", ["sandbox", "Sandbox"])
def test_an_environments_stacks_are_found_by_its_name(graph: Graph, name: str) -> None:
    found = [stack.display_name for stack in graph.environment(name)]
    assert set(found) == {one for one in graph.stacks if one.startswith("Sandbox/")}


def test_an_unknown_environment_is_refused_with_those_that_there_are(
    graph: Graph, tmp_path: Path
) -> None:
    # "sand" begins as one of them does.
    with pytest.raises(TemplateError, match=r"^sand: expected .*, one of production, sandbox$"):
        graph.environment("sand")
    with pytest.raises(TemplateError, match=r"^sandbox: expected an environment, one of one$"):
        graph_of(tmp_path, {}).environment("sandbox")


def test_every_stack_of_both_environments_is_read(graph: Graph) -> None:
    names = {"Network", "Registry", "Cluster", "Ingress", "Quotes", "Web"}
    assert set(graph.stacks) == {f"{env}/{n}" for env in ("Sandbox", "Production") for n in names}
    web = graph.stack("Sandbox/Web")
    assert web.name == "Sandbox-Web"
    assert web.region == "us-east-1"
    assert len(web.of_type("AWS::ECS::TaskDefinition")) == 1
    assert len(web.assets()["dockerImages"]) == 1


def test_stacks_come_in_an_order_that_can_be_deployed(graph: Graph) -> None:
    seen: set[str] = set()
    for name, stack in graph.stacks.items():
        assert set(stack.depends_on) <= seen, name
        seen.add(name)
    assert {"Sandbox/Registry", "Sandbox/Cluster"} <= set(graph.stack("Sandbox/Web").depends_on)


def test_an_import_leads_to_the_resource_that_is_exported(graph: Graph) -> None:
    (service,) = graph.stack("Sandbox/Web").of_type("AWS::ECS::Service")
    (found,) = (one for one in graph.references(service) if one.path == "Properties.Cluster")
    assert found.stack == "Sandbox/Cluster"
    assert found.export is not None
    target = graph.stack(found.stack).resources[found.logical_id]
    assert target.type == "AWS::ECS::Cluster"


def test_an_import_is_resolved_to_what_its_resource_would_give(graph: Graph) -> None:
    (service,) = graph.stack("Sandbox/Web").of_type("AWS::ECS::Service")
    (cluster,) = graph.stack("Sandbox/Cluster").of_type("AWS::ECS::Cluster")
    key = f"Sandbox-Cluster.{cluster.logical_id}"
    placeholder = graph.properties(service)["Cluster"]
    assert placeholder == f"${{{key}}}"
    assert isinstance(placeholder, Unresolved)
    assert graph.properties(service, known={key: "web-cluster"})["Cluster"] == "web-cluster"


def test_no_placeholder_hides_what_known_would_have_to_have(graph: Graph) -> None:
    # Whatever a resource of ours refers to is either known or stands, by name, in its text.
    for resource in graph.resources():
        text = json.dumps(graph.properties(resource))
        for found in graph.references(resource):
            if found.path.startswith("Properties.UserData"):
                continue
            assert found.logical_id in text, f"{resource.logical_id}.{found.path}"


def test_user_data_can_be_read_in_the_clear(graph: Graph) -> None:
    (template,) = graph.stack("Sandbox/Cluster").of_type("AWS::EC2::LaunchTemplate")
    text = graph.properties(template)["LaunchTemplateData"]["UserData"]
    assert text.startswith("#!/bin/bash\n")
    assert "ECS_TASK_PIDS_LIMIT=" in text


KNOWN = {"AWS::Region": "eu-north-1", "AWS::AccountId": "111122223333"}
BUCKET = {"Bucket": {"Type": "AWS::S3::Bucket"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "AWS::Region"}, "eu-north-1"),
        ({"Ref": "AWS::StackName"}, "one"),
        ({"Ref": "AWS::Partition"}, "${AWS::Partition}"),
        ({"Ref": "Size"}, "small"),
        ({"Ref": "Bucket"}, "${one.Bucket}"),
        ({"Ref": "Image"}, "${one.Image}"),
        ({"Fn::GetAtt": ["Bucket", "Arn"]}, "${one.Bucket.Arn}"),
        ({"Fn::GetAtt": "Bucket.Arn"}, "${one.Bucket.Arn}"),
        ({"Fn::Join": ["-", ["a", {"Ref": "AWS::Region"}, 1]]}, "a-eu-north-1-1"),
        ({"Fn::Join": ["", ["arn:", {"Ref": "Bucket"}]]}, "arn:${one.Bucket}"),
        ({"Fn::Sub": "${AWS::Region}/${Size}/${!Literal}"}, "eu-north-1/small/${Literal}"),
        ({"Fn::Sub": ["${Own}:${Bucket.Arn}", {"Own": 5}]}, "5:${one.Bucket.Arn}"),
        ({"Fn::Base64": {"Fn::Sub": "x${AWS::Region}"}}, "xeu-north-1"),
        ({"Fn::Select": [1, ["a", "b"]]}, "b"),
        ({"Fn::Select": ["0", {"Fn::Split": ["/", "a/b"]}]}, "a"),
        ({"Fn::Split": ["/", "a/b"]}, ["a", "b"]),
        (
            {"Fn::Select": [1, {"Fn::Split": ["/", {"Ref": "Bucket"}]}]},
            "${Fn::Select 1 ${Fn::Split / ${one.Bucket}}}",
        ),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Size"}, "Memory"]}, 512),
        ({"Fn::If": ["IsSmall", "yes", "no"]}, "yes"),
        ({"Fn::If": ["IsNot", "yes", "no"]}, "no"),
        ({"Fn::If": ["IsBoth", "yes", "no"]}, "no"),
        ({"Fn::If": ["IsEither", "yes", "no"]}, "yes"),
        ({"Fn::If": ["Depends", "yes", "no"]}, "${Fn::If Depends}"),
        ({"Fn::ImportValue": "elsewhere"}, "${Fn::ImportValue elsewhere}"),
        ({"Fn::GetAZs": ""}, "${Fn::GetAZs }"),
        ({"A": {"Ref": "AWS::NoValue"}, "B": [{"Ref": "AWS::NoValue"}, 1]}, {"B": [1]}),
        ({"Fn::Join": [",", ["a", {"Ref": "AWS::NoValue"}]]}, "a"),
        ({"Plain": [True, None, 1.5]}, {"Plain": [True, None, 1.5]}),
    ],
)
def test_functions_are_evaluated_as_far_as_can_be(
    resolved: Any,  # noqa: ANN401
    value: object,
    expected: object,
) -> None:
    small = {"Fn::Equals": [{"Ref": "Size"}, "small"]}
    found = resolved(
        value,
        known=KNOWN,
        Resources=BUCKET,
        Parameters={
            "Size": {"Type": "String", "Default": "small"},
            "Image": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/a/path"},
        },
        Mappings={"Sizes": {"small": {"Memory": 512}}},
        Conditions={
            "IsSmall": small,
            "IsNot": {"Fn::Not": [{"Condition": "IsSmall"}]},
            "IsBoth": {"Fn::And": [{"Condition": "IsNot"}, {"Condition": "Depends"}]},
            "IsEither": {"Fn::Or": [{"Condition": "Depends"}, {"Condition": "IsSmall"}]},
            "Depends": {"Fn::Equals": [{"Ref": "AWS::Partition"}, "aws"]},
        },
    )
    assert found == expected
    if isinstance(found, str):
        left = "${" in found and "${Literal}" not in found
        assert isinstance(found, Unresolved) is left


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text().filter(lambda key: not key.startswith(("Fn::", "Ref"))), inner)
    ),
    max_leaves=20,
)


@given(value=PLAIN)
def test_what_holds_no_function_is_left_as_it_is(value: object) -> None:
    stack = templates.Stack("one", "one", Path("one.json"), {}, {})
    assert Graph({"one": stack}).resolve(value, stack="one") == value


@given(parts=st.lists(st.text(alphabet="ab/-") | st.just({"Ref": "AWS::AccountId"})))
def test_joining_and_splitting_agree_once_everything_is_known(parts: list[Any]) -> None:
    graph = Graph({"one": templates.Stack("one", "one", Path("one.json"), {}, {})})
    joined = {"Fn::Join": [",", parts]}
    split = graph.resolve({"Fn::Split": [",", joined]}, stack="one", known=KNOWN)
    whole = [KNOWN["AWS::AccountId"] if isinstance(one, dict) else one for one in parts]
    assert split == (whole or [""])
    unknown = graph.resolve(joined, stack="one")
    assert isinstance(unknown, Unresolved) is any(isinstance(one, dict) for one in parts)


def test_yaml_with_short_forms_says_the_same_as_json(tmp_path: Path) -> None:
    written = tmp_path / "short.yaml"
    written.write_text(
        "AWSTemplateFormatVersion: 2010-09-09\n"
        "Resources:\n"
        "  Bucket: {Type: AWS::S3::Bucket}\n"
        "  Policy:\n"
        "    Type: AWS::S3::BucketPolicy\n"
        "    DependsOn: Bucket\n"
        "    Properties:\n"
        "      Bucket: !Ref Bucket\n"
        "      Arn: !GetAtt Bucket.Arn\n"
        "      All: !Sub '${Bucket.Arn}/*'\n"
        "      Name: !Join ['-', [a, !Select [0, [b]]]]\n"
        "      Since: 2012-10-17\n"
    )
    graph = read(written)
    policy = graph.stack("short").resources["Policy"]
    assert policy.depends_on == ("Bucket",)
    assert policy.properties["Since"] == "2012-10-17"
    assert policy.properties["Arn"] == {"Fn::GetAtt": ["Bucket", "Arn"]}
    assert graph.references(policy) == (
        Reference("Properties.Bucket", "short", "Bucket"),
        Reference("Properties.Arn", "short", "Bucket", "Arn"),
        Reference("Properties.All", "short", "Bucket", "Arn"),
    )
    assert graph.properties(policy)["All"] == "${short.Bucket.Arn}/*"
    assert graph.properties(policy)["Name"] == "a-b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "one.json: expected JSON or YAML, got: "),
        ("[]", "one.json: expected a template with Resources"),
        ('{"artifacts": {}}', "one.json: expected a template with Resources"),
        ('{"Resources": []}', "one.json: Resources: expected a mapping, got []"),
        ('{"Resources": {"A": 1}}', "one.json: A: expected a resource, got 1"),
        ('{"Resources": {"A": {}}}', "one.json: A.Type: expected a text, got None"),
        (
            '{"Resources": {"A": {"Type": "X", "DependsOn": "B"}}}',
            "one.json: A.DependsOn: expected a resource of the stack, got 'B'",
        ),
        (
            '{"Resources": {"A": {"Type": "X", "Properties": {"P": [{"Ref": "B"}]}}}}',
            "one.json: A.Properties.P.0: expected a resource or parameter of the stack, got 'B'",
        ),
        (
            '{"Resources": {"A": {"Type": "X", "Properties": {"P": {"Fn::GetAtt": ["A"]}}}}}',
            "one.json: A.Properties.P.Fn::GetAtt: expected a logical id and an attribute, "
            "got ['A']",
        ),
    ],
)
def test_a_bad_template_is_refused_with_the_place_and_the_expectation(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(TemplateError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{tmp_path}/{said}")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"Fn::Select": [5, ["a"]]}, "Fn::Select: expected an index below 1, got 5"),
        (
            {"Fn::FindInMap": ["A", "b", "c"]},
            "Fn::FindInMap: expected a key of Mappings, got A.b.c",
        ),
        ({"Fn::If": ["A", 1]}, "Fn::If: expected 3 arguments, got ['A', 1]"),
        ({"Fn::If": ["A", 1, 2]}, "expected a condition, got 'A'"),
        ({"Fn::Join": "a"}, "Fn::Join: expected 2 arguments, got 'a'"),
    ],
)
def test_a_function_that_cannot_be_is_refused(
    resolved: Any,  # noqa: ANN401
    value: object,
    said: str,
) -> None:
    with pytest.raises(TemplateError, match=r"one\.template\.json: ") as refused:
        resolved(value)
    assert str(refused.value).endswith(said)


def test_what_is_no_assembly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"expected a cloud assembly with a manifest\.json"):
        read(tmp_path)
    with pytest.raises(TemplateError, match="expected a cloud assembly's directory or a template"):
        read(tmp_path / "absent")


def test_an_unknown_stack_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="two: expected a stack, one of one"):
        graph_of(tmp_path, {}).stack("two")


def test_stacks_in_a_circle_are_refused(tmp_path: Path) -> None:
    stack = {"type": "aws:cloudformation:stack", "properties": {"templateFile": "t.json"}}
    artifacts = {
        "A": stack | {"dependencies": ["B"]},
        "B": stack | {"dependencies": ["A"]},
    }
    (tmp_path / "t.json").write_text("{}")
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
    with pytest.raises(TemplateError, match="expected an order in which to deploy, got a circle"):
        read(tmp_path)
