"""Checks values against botocore's shapes, and respells them between ECS's API and CloudFormation.

CloudFormation names what the API names, with a capital first, but for the few members below: they
are all that differ between botocore's model of RegisterTaskDefinition and CreateService and the
schemas of AWS::ECS::TaskDefinition and AWS::ECS::Service in cfn-lint 1.58.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from botocore.model import ListShape, MapShape, Shape, StructureShape

SPELLED: Mapping[str, str] = {
    "efsVolumeConfiguration": "EFSVolumeConfiguration",
    "fsxWindowsFileServerVolumeConfiguration": "FSxWindowsFileServerVolumeConfiguration",
    "iam": "IAM",
    "placementStrategy": "PlacementStrategies",
    "properties": "ProxyConfigurationProperties",
    "s3filesVolumeConfiguration": "S3FilesVolumeConfiguration",
}
# Of EFS alone; FSx has the same member, which CloudFormation spells as the rule says.
_EFS = {"fileSystemId": "FilesystemId"}
_BITS = {"integer": 31, "long": 63}

Kind = Literal["type", "unknown", "missing", "value"]


@dataclass(frozen=True)
class Problem:
    """What of a value does not fit its shape: where it stands, what it is, what was expected."""

    kind: Kind
    where: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"{self.where or 'the whole'}: expected {self.expected}, got {self.value!r:.100}"


def problems(shape: Shape, value: object, where: str = "") -> Iterator[Problem]:
    """Give everything in a value that its shape does not allow."""
    match shape:
        case StructureShape():
            yield from _structure(shape, value, where)
        case ListShape():
            if not isinstance(value, list | tuple):
                yield Problem("type", where, value, "a list")
                return
            yield from _length(shape, len(value), value, where)
            for index, one in enumerate(value):
                yield from problems(shape.member, one, f"{where}.{index + 1}.member")
        case MapShape():
            if not isinstance(value, Mapping):
                yield Problem("type", where, value, "a map")
                return
            for key, one in value.items():
                yield from problems(shape.key, key, f"{where}.key")
                yield from problems(shape.value, one, f"{where}.{key}")
        case _:
            yield from _scalar(shape, value, where)


def _structure(shape: StructureShape, value: object, where: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem("type", where, value, "a structure")
        return
    for name, one in value.items():
        inside = f"{where}.{name}" if where else str(name)
        if name not in shape.members:
            yield Problem("unknown", inside, one, "a parameter that there is")
        elif one is not None:
            yield from problems(shape.members[name], one, inside)
    for name in shape.required_members:
        if value.get(name) is None:
            inside = f"{where}.{name}" if where else name
            yield Problem("missing", inside, None, "a value")


def _scalar(shape: Shape, value: object, where: str) -> Iterator[Problem]:
    kind = shape.type_name
    expected = {
        "string": "a string", "character": "a string", "boolean": "true or false",
        "integer": "an integer", "long": "an integer", "float": "a number", "double": "a number",
        "timestamp": "a time", "blob": "bytes",
    }[kind]  # fmt: skip
    if not _is_of(kind, value):
        yield Problem("type", where, value, expected)
        return
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        words = f"one of [{', '.join(allowed)}]"
        yield Problem("value", where, value, words)
    if isinstance(value, str):
        yield from _length(shape, len(value), value, where)
    elif isinstance(value, int | float) and kind != "timestamp":
        yield from _length(shape, value, value, where)


def _is_of(kind: str, value: object) -> bool:
    if kind in {"string", "character"}:
        return isinstance(value, str)
    if kind == "blob":
        return isinstance(value, bytes)
    if kind == "timestamp" and isinstance(value, datetime):
        return True
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    if kind in _BITS:
        return isinstance(value, int) and -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]
    return isinstance(value, int | float) and math.isfinite(value)


def _length(shape: Shape, size: float, value: object, where: str) -> Iterator[Problem]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield Problem("value", where, value, f"{low} or more")
    if high is not None and size > high:
        yield Problem("value", where, value, f"{high} or less")


def to_cloudformation(shape: Shape, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Respell a value of the API; the keys of maps stay as they are."""
    if isinstance(shape, StructureShape):
        return {
            _spelled(shape, name): to_cloudformation(shape.members[name], one)
            for name, one in value.items()
            if one is not None and name in shape.members
        }
    if isinstance(shape, ListShape):
        return [to_cloudformation(shape.member, one) for one in value]
    return value


def from_cloudformation(shape: Shape, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Respell a value of a template, with the API's types; what the API does not know is left out.

    CloudFormation takes texts for numbers and flags.
    """
    if isinstance(shape, StructureShape):
        return {
            name: from_cloudformation(member, value[spelled])
            for name, member in shape.members.items()
            if value.get(spelled := _spelled(shape, name)) is not None
        }
    if isinstance(shape, ListShape):
        return [from_cloudformation(shape.member, one) for one in _listed(value)]
    if isinstance(shape, MapShape):
        return {str(key): from_cloudformation(shape.value, one) for key, one in value.items()}
    kind = shape.type_name
    if kind in _BITS:
        return int(value)
    if kind in {"float", "double"}:
        return float(value)
    if kind == "boolean":
        return value in (True, "true")
    return str(value)


def _listed(value: Any) -> Sequence[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list | tuple) else [value]


def _spelled(shape: StructureShape, name: str) -> str:
    if shape.name == "EFSVolumeConfiguration" and name in _EFS:
        return _EFS[name]
    return SPELLED.get(name) or name[0].upper() + name[1:]
