"""Task definitions: stored as CloudFormation spells them, given back as the API does."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import ListShape, Shape, StructureShape

from rehearsal.api import wire
from rehearsal.api.shapes import from_cloudformation, to_cloudformation
from tests.rehearsal.api.conftest import Served

Values = dict[str, Any]
FULL: Values = {
    "family": "full",
    "networkMode": "bridge",
    "cpu": "256",
    "memory": "512",
    "volumes": [
        {"name": "scratch", "dockerVolumeConfiguration": {"scope": "task", "labels": {"a-B": "c"}}},
        {
            "name": "shared",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-1",
                "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
            },
        },
    ],
    "containerDefinitions": [
        {
            "name": "main",
            "image": "small:1",
            "memory": 64,
            "portMappings": [{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}],
            "environment": [{"name": "lower", "value": "kept"}],
            "dockerLabels": {"com.example.lower-case": "Kept"},
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "g", "awslogs-stream-prefix": "p"},
            },
            "linuxParameters": {"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": True},
            "healthCheck": {"command": ["CMD", "true"], "interval": 10},
        }
    ],
}


def test_a_definition_comes_back_as_it_was_registered(served: Served) -> None:
    answer = served.ecs.register_task_definition(**FULL, tags=[{"key": "team", "value": "blue"}])
    found = served.ecs.describe_task_definition(taskDefinition="full", include=["TAGS"])
    assert found["tags"] == answer["tags"] == [{"key": "team", "value": "blue"}]
    definition = found["taskDefinition"]
    for name in ("family", "networkMode", "cpu", "memory", "volumes"):
        assert definition[name] == FULL[name]
    (container,) = definition["containerDefinitions"]
    for name, value in FULL["containerDefinitions"][0].items():
        assert container[name] == value
    # What ECS fills in.
    assert (container["cpu"], container["essential"], container["mountPoints"]) == (0, True, [])
    assert (definition["revision"], definition["status"]) == (1, "ACTIVE")


def test_a_definition_is_kept_as_cloudformation_spells_it(served: Served) -> None:
    arn = served.ecs.register_task_definition(**FULL)["taskDefinition"]["taskDefinitionArn"]
    kept = served.world.definitions[arn].properties
    (container,) = kept["ContainerDefinitions"]
    assert container["DockerLabels"] == {"com.example.lower-case": "Kept"}
    assert container["LogConfiguration"]["Options"]["awslogs-group"] == "g"
    efs = kept["Volumes"][1]["EFSVolumeConfiguration"]
    assert efs["FilesystemId"] == "fs-1"
    assert efs["AuthorizationConfig"]["IAM"] == "ENABLED"


def test_the_template_s_definition_is_given_in_the_api_s_types(served: Served) -> None:
    now = served.described()["taskDefinition"]
    definition = served.ecs.describe_task_definition(taskDefinition=now)["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    assert container["memoryReservation"] == 96
    assert container["portMappings"] == [{"containerPort": 8080, "hostPort": 0, "protocol": "tcp"}]
    assert container["readonlyRootFilesystem"] is True
    # Registered again it says the same: nothing is lost on the way.
    kept = {"family", "networkMode", "containerDefinitions", "volumes", "runtimePlatform"}
    again = served.ecs.register_task_definition(
        **{name: one for name, one in definition.items() if name in kept}
    )["taskDefinition"]
    assert again["containerDefinitions"] == definition["containerDefinitions"]
    assert again["revision"] == definition["revision"] + 1


def test_every_registration_is_a_revision_and_the_family_names_the_newest(served: Served) -> None:
    first, second = served.register("twice"), served.register("twice")
    assert (first[-2:], second[-2:]) == (":1", ":2")
    family = {"taskDefinition": "twice"}
    assert served.ecs.describe_task_definition(**family)["taskDefinition"]["revision"] == 2
    gone = served.ecs.deregister_task_definition(taskDefinition=second)["taskDefinition"]
    assert gone["status"] == "INACTIVE"
    assert gone["deregisteredAt"]
    assert served.ecs.describe_task_definition(**family)["taskDefinition"]["revision"] == 1
    with pytest.raises(ClientError, match="revision must be specified"):
        served.ecs.deregister_task_definition(**family)


def test_a_revision_of_the_api_leaves_the_template_s_own_as_it_is(served: Served) -> None:
    now = served.described()["taskDefinition"]
    served.register(now.rpartition("/")[2].partition(":")[0])
    with served.world.lock:
        served.world.apply(served.world.graph)
    assert served.described()["taskDefinition"] == now
    assert len(served.described()["deployments"]) == 1


def test_only_inactive_revisions_are_deleted(served: Served) -> None:
    first, second = served.register("gone"), served.register("gone")
    served.ecs.deregister_task_definition(taskDefinition=first)
    found = served.ecs.delete_task_definitions(taskDefinitions=[first, second, "gone:9"])
    assert [one["status"] for one in found["taskDefinitions"]] == ["DELETE_IN_PROGRESS"]
    reasons = {one["arn"]: one["reason"] for one in found["failures"]}
    assert "still in ACTIVE status" in reasons[second]
    with pytest.raises(ClientError, match="1 to 10"):
        served.ecs.delete_task_definitions(taskDefinitions=[first] * 11)


def test_definitions_and_families_come_a_hundred_a_page_and_each_once(still: Served) -> None:
    for number in range(103):
        still.register(f"family-{number}")
    still.register("family-7")
    paginate = still.ecs.get_paginator("list_task_definitions").paginate
    pages = list(paginate())
    assert [len(one["taskDefinitionArns"]) for one in pages] == [100, 6]
    arns = [arn for one in pages for arn in one["taskDefinitionArns"]]
    assert len(set(arns)) == 106
    back = [arn for one in paginate(sort="DESC") for arn in one["taskDefinitionArns"]]
    assert back == arns[::-1]
    only = [
        arn[-2:] for one in paginate(familyPrefix="family-7") for arn in one["taskDefinitionArns"]
    ]
    assert only == [":1", ":2"]
    families = [
        one
        for page in still.ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix="family-"
        )
        for one in page["families"]
    ]
    assert len(set(families)) == len(families) == 103


def test_families_are_listed_by_whether_anything_can_run_from_them(served: Served) -> None:
    served.ecs.deregister_task_definition(taskDefinition=served.register("old"))
    served.register("new")

    def families(**status: str) -> list[str]:
        found = served.ecs.list_task_definition_families(**status)["families"]
        return [one for one in found if one in {"old", "new"}]

    assert families() == ["new", "old"]
    assert families(status="ACTIVE") == ["new"]
    assert families(status="INACTIVE") == ["old"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "a b"}, "Family contains invalid characters"),
        ({"containerDefinitions": []}, "1 to 10 containers"),
        ({"containerDefinitions": [{"name": "a", "image": "b"}]},
         "Invalid setting for container 'a'. At least one of 'memory' or 'memoryReservation'"),
        ({"containerDefinitions": [{"name": "a", "image": "b", "memory": 8}] * 2}, "unique"),
        ({"containerDefinitions": [{"name": "a", "memory": 8}]}, "image should not be null"),
        ({"containerDefinitions": [{"name": "a", "image": "b", "memory": 8, "essential": False}]},
         "must be essential"),
        ({"cpu": "half"}, "must be a whole number"),
        ({"placementConstraints": [{"type": "memberOf", "expression": "(("}]},
         "Invalid placement constraint"),
    ],
)  # fmt: skip
def test_what_ecs_would_not_register_is_refused(served: Served, change: Values, words: str) -> None:
    whole = {
        "family": "small",
        "containerDefinitions": [{"name": "a", "image": "b", "memory": 8}],
        **change,
    }
    with pytest.raises(ClientError, match=words.replace("'", "'")):
        served.ecs.register_task_definition(**whole)
    with pytest.raises(ClientError, match=r"Unable to describe task definition\."):
        served.ecs.describe_task_definition(taskDefinition="small")


@pytest.mark.parametrize(
    ("kind", "operation", "beside"),
    [
        ("AWS::ECS::TaskDefinition", "RegisterTaskDefinition", {"trustedExecutionConfiguration"}),
        ("AWS::ECS::Service", "CreateService", {"clientToken", "deregistrationDelay"}),
    ],
)
def test_every_member_is_respelled_as_cloudformation_s_schema_has_it(
    kind: str, operation: str, beside: set[str]
) -> None:
    schema = _schema(kind)
    shape = wire.model("ecs").operation_model(operation).input_shape
    assert shape is not None
    assert _unknown(schema, schema, shape) == beside


def test_respelling_there_and_back_loses_nothing() -> None:
    shape = wire.model("ecs").operation_model("RegisterTaskDefinition").input_shape
    assert shape is not None
    assert from_cloudformation(shape, to_cloudformation(shape, FULL)) == FULL


def test_texts_of_a_template_become_numbers_and_flags() -> None:
    shape = wire.model("ecs").shape_for("ContainerDefinition")
    found = from_cloudformation(
        shape, {"Name": "a", "Cpu": "128", "Essential": "false", "Beyond": 1}
    )
    assert found == {"name": "a", "cpu": 128, "essential": False}


def _schema(kind: str) -> Values:
    linter = find_spec("cfnlint")
    assert linter is not None
    folder = Path(linter.origin or "").parent / "data" / "schemas" / "resources"
    for path in folder.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        if f'"{kind}"' in text:
            found: Values = json.loads(text)
            if found["typeName"] == kind:
                return found
    raise AssertionError(kind)


def _unknown(schema: Values, root: Values, shape: Shape) -> set[str]:
    """Name the members whose spelling the schema does not know."""
    while "$ref" in schema:
        node: Values = root
        for part in schema["$ref"].split("/")[1:]:
            node = node[part]
        schema = node
    if isinstance(shape, ListShape):
        return _unknown(schema.get("items", {}), root, shape.member)
    if not isinstance(shape, StructureShape):
        return set()
    found: set[str] = set()
    for name, member in shape.members.items():
        (spelled,) = to_cloudformation(shape, {name: _empty(member)})
        properties = schema.get("properties", {})
        if spelled in properties:
            found |= _unknown(properties[spelled], root, member)
        else:
            found.add(name)
    return found


def _empty(shape: Shape) -> Any:  # noqa: ANN401 - JSON
    if isinstance(shape, StructureShape):
        return {}
    return [] if isinstance(shape, ListShape) else "1"
