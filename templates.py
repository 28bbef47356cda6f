"""Reads synthesized CloudFormation into a graph: stacks, resources, references, dependencies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

# What JSON and YAML can hold; a template's values have no narrower type until they are resolved.
Value = Any
NO_VALUE = "AWS::NoValue"
_SUBSTITUTED = re.compile(r"\$\{([^!][^}]*)\}")
_REMOVED = object()


class TemplateError(ValueError):
    """Says in which file, and where in it, what stands that cannot be read, and what should."""


class Unresolved(str):
    """A text in which at least one placeholder is left, as in `arn:aws:ecs:${AWS::Region}:*`.

    A placeholder's inside is the key that `known` would need to have for it.
    """

    __slots__ = ()


def is_true(value: Value) -> bool:
    """Say whether a resolved property is true; CloudFormation takes the word for it too."""
    return value in (True, "true")


@dataclass(frozen=True)
class Reference:
    """One resource naming another: where it does, and the other's attribute (None for a Ref)."""

    path: str
    stack: str
    logical_id: str
    attribute: str | None = None
    export: str | None = None


@dataclass(frozen=True)
class Resource:
    """One resource as its template has it; `stack` is the display name, like Sandbox/Web."""

    stack: str
    logical_id: str
    type: str
    properties: Mapping[str, Value]
    depends_on: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Stack:
    """One stack: CloudFormation's name for it (Sandbox-Web) and the CDK's (Sandbox/Web)."""

    name: str
    display_name: str
    path: Path
    template: Mapping[str, Value]
    resources: Mapping[str, Resource]
    region: str | None = None
    asset_manifest: Path | None = None
    depends_on: tuple[str, ...] = ()

    def of_type(self, kind: str) -> tuple[Resource, ...]:
        """Give the resources of one type, in the template's order."""
        return tuple(resource for resource in self.resources.values() if resource.type == kind)

    def assets(self) -> Mapping[str, Value]:
        """Read the asset manifest: `files` and `dockerImages` by their hashes."""
        if self.asset_manifest is None:
            return {}
        return _mapping(_load(self.asset_manifest), f"{self.asset_manifest}", "an asset manifest")


@dataclass(frozen=True)
class Graph:
    """Every stack by its display name, in an order in which they can be deployed."""

    stacks: Mapping[str, Stack]

    def stack(self, display_name: str) -> Stack:
        """Give a stack; raise TemplateError naming those that there are."""
        if display_name not in self.stacks:
            raise TemplateError(
                f"{display_name}: expected a stack, one of {', '.join(self.stacks) or 'none'}"
            )
        return self.stacks[display_name]

    def environment(self, name: str) -> tuple[Stack, ...]:
        """Give the stacks of an environment, by its name in the settings (sandbox, any case).

        Raises TemplateError naming the environments that there are.
        """
        prefix = f"{name.lower()}/"
        found = tuple(one for key, one in self.stacks.items() if key.lower().startswith(prefix))
        if not found:
            there = sorted({key.partition("/")[0].lower() for key in self.stacks})
            raise TemplateError(
                f"{name}: expected an environment, one of {', '.join(there) or 'none'}"
            )
        return found

    def resources(self, kind: str | None = None) -> Iterator[Resource]:
        """Give the resources of every stack, or those of one type."""
        for stack in self.stacks.values():
            yield from stack.resources.values() if kind is None else stack.of_type(kind)

    def references(self, resource: Resource) -> tuple[Reference, ...]:
        """Give the resources that its properties name, through exports of other stacks too.

        An import that no stack here exports refers to something deployed by others: it is left
        out, and stays a placeholder where it is resolved.
        """
        stack = self.stacks[resource.stack]
        where = f"{stack.path}: {resource.logical_id}"
        return tuple(self._references(resource.properties, stack, "Properties", where, None))

    def resolve(
        self, value: Value, *, stack: str, known: Mapping[str, Value] | None = None
    ) -> Value:
        """Evaluate the intrinsic functions in a value of that stack as far as is possible.

        `known` gives what only a deployment has: pseudo parameters ("AWS::AccountId"), and by
        CloudFormation's stack name parameters, Refs and attributes ("Sandbox-Cluster.Cluster1A2B",
        "Sandbox-Cluster.Cluster1A2B.Arn"). What is missing stays as `${...}` with that key inside,
        and makes the text around it an `Unresolved`.

        Fn::Base64 gives the text itself: encoded, its placeholders could not be read, and every
        reader here would decode it.
        """
        resolved = _Resolver(self, self.stack(stack), known or {}).resolve(value)
        return Unresolved(f"${{{NO_VALUE}}}") if resolved is _REMOVED else resolved

    def properties(
        self, resource: Resource, *, known: Mapping[str, Value] | None = None
    ) -> dict[str, Value]:
        """Give a resource's properties, resolved."""
        resolved: dict[str, Value] = self.resolve(
            resource.properties, stack=resource.stack, known=known
        )
        return resolved

    def exported(self, name: str) -> tuple[Stack, Value] | None:
        """Give the stack that exports under that name, and the value before it is resolved."""
        for stack in self.stacks.values():
            for output in (stack.template.get("Outputs") or {}).values():
                export = (output.get("Export") or {}).get("Name")
                if export is not None and _Resolver(self, stack, {}).resolve(export) == name:
                    return stack, output["Value"]
        return None

    def _references(
        self, value: Value, stack: Stack, path: str, where: str, export: str | None
    ) -> Iterator[Reference]:
        inside: Iterator[tuple[object, Value]] = iter(())
        if isinstance(value, Mapping):
            for name in _names(value, f"{where}.{path}"):
                logical_id, _, attribute = name.partition(".")
                if logical_id in stack.resources:
                    yield Reference(path, stack.display_name, logical_id, attribute or None, export)
                elif not logical_id.startswith("AWS::") and logical_id not in _parameters(stack):
                    raise TemplateError(
                        f"{where}.{path}: expected a resource or parameter of the stack, "
                        f"got {logical_id!r}"
                    )
            if "Fn::ImportValue" in value:
                yield from self._imported(value["Fn::ImportValue"], stack, path)
            inside = iter(value.items())
        elif isinstance(value, list):
            inside = iter(enumerate(value))
        for key, inner in inside:
            yield from self._references(inner, stack, f"{path}.{key}", where, export)

    def _imported(self, argument: Value, stack: Stack, path: str) -> Iterator[Reference]:
        name = _Resolver(self, stack, {}).resolve(argument)
        if found := self.exported(name):
            exporter, value = found
            where = f"{exporter.path}: the export {name}"
            yield from self._references(value, exporter, path, where, name)


def read(path: Path) -> Graph:
    """Read a cloud assembly's directory (cdk.out), or one template in JSON or YAML.

    Raises TemplateError for what is not one.
    """
    if path.is_dir():
        found = list(_assembly(path))
    elif path.is_file():
        template = _load(path)
        if not isinstance(template, Mapping) or "Resources" not in template:
            raise TemplateError(f"{path}: expected a template with Resources")
        name = path.name.split(".")[0]
        found = [_stack(name, name, path, template)]
    else:
        raise TemplateError(
            f"{path}: expected a cloud assembly's directory or a template, got none"
        )
    graph = Graph(_in_order(found))
    for resource in graph.resources():
        graph.references(resource)
    return graph


def _assembly(directory: Path) -> Iterator[Stack]:
    manifest = directory / "manifest.json"
    if not manifest.is_file():
        raise TemplateError(
            f"{directory}: expected a cloud assembly with a manifest.json; write one: make synth"
        )
    artifacts = _mapping(
        _mapping(_load(manifest), f"{manifest}", "a manifest").get("artifacts", {}),
        f"{manifest}: artifacts", "a mapping",
    )  # fmt: skip
    stacks = {
        key: artifact
        for key, artifact in artifacts.items()
        if artifact["type"] == "aws:cloudformation:stack"
    }
    # The display name of a stack in a Stage is "Sandbox/Web (Sandbox-Web)".
    display_names = {
        key: artifact.get("displayName", key).split(" ")[0] for key, artifact in stacks.items()
    }
    for key, artifact in stacks.items():
        dependencies = artifact.get("dependencies", [])
        manifests = [
            directory / artifacts[name]["properties"]["file"]
            for name in dependencies
            if name in artifacts and artifacts[name]["type"] == "cdk:asset-manifest"
        ]
        path = directory / artifact["properties"]["templateFile"]
        region = artifact.get("environment", "").rpartition("/")[2]
        yield _stack(
            artifact["properties"].get("stackName", key),
            display_names[key],
            path,
            _mapping(_load(path), f"{path}", "a template"),
            region=None if region in {"", "unknown-region"} else region,
            asset_manifest=manifests[0] if manifests else None,
            depends_on=tuple(display_names[name] for name in dependencies if name in stacks),
        )
    for artifact in artifacts.values():
        if artifact["type"] == "cdk:cloud-assembly":
            yield from _assembly(directory / artifact["properties"]["directoryName"])


def _stack(
    name: str,
    display_name: str,
    path: Path,
    template: Mapping[str, Value],
    *,
    region: str | None = None,
    asset_manifest: Path | None = None,
    depends_on: tuple[str, ...] = (),
) -> Stack:
    resources = {}
    found = _mapping(template.get("Resources", {}), f"{path}: Resources", "a mapping")
    for logical_id, body in found.items():
        where = f"{path}: {logical_id}"
        body = _mapping(body, where, "a resource")
        if not isinstance(body.get("Type"), str):
            raise TemplateError(f"{where}.Type: expected a text, got {body.get('Type')!r}")
        depends = body.get("DependsOn", [])
        depends = (depends,) if isinstance(depends, str) else tuple(depends)
        for other in depends:
            if other not in found:
                raise TemplateError(
                    f"{where}.DependsOn: expected a resource of the stack, got {other!r}"
                )
        resources[logical_id] = Resource(
            stack=display_name,
            logical_id=logical_id,
            type=body["Type"],
            properties=_mapping(body.get("Properties", {}), f"{where}.Properties", "a mapping"),
            depends_on=depends,
            metadata=_mapping(body.get("Metadata", {}), f"{where}.Metadata", "a mapping"),
        )
    return Stack(
        name=name,
        display_name=display_name,
        path=path,
        template=template,
        resources=resources,
        region=region,
        asset_manifest=asset_manifest,
        depends_on=depends_on,
    )


def _in_order(stacks: Sequence[Stack]) -> dict[str, Stack]:
    by_name = {stack.display_name: stack for stack in stacks}
    sorter = TopologicalSorter({name: stack.depends_on for name, stack in by_name.items()})
    try:
        return {name: by_name[name] for name in sorter.static_order()}
    except CycleError as error:
        raise TemplateError(
            f"expected an order in which to deploy, got a circle: {' -> '.join(error.args[1])}"
        ) from error


def _names(value: Mapping[str, Value], where: str) -> Iterator[str]:
    """Give what an intrinsic function names: `Id`, or `Id.Attribute`; nothing for other maps."""
    if "Ref" in value and len(value) == 1:
        yield _text(value["Ref"], f"{where}.Ref")
    elif "Fn::GetAtt" in value:
        yield _attribute(value["Fn::GetAtt"], where)
    elif "Fn::Sub" in value:
        text, own = _sub(value["Fn::Sub"], where)
        yield from (name for name in _SUBSTITUTED.findall(text) if name not in own)


def _attribute(argument: Value, where: str) -> str:
    if isinstance(argument, str) and "." in argument:
        return argument
    if isinstance(argument, list) and len(argument) > 1 and isinstance(argument[0], str):
        # The attribute may itself be a Ref; the resource that is named may not.
        return ".".join(part if isinstance(part, str) else "*" for part in argument)
    raise TemplateError(
        f"{where}.Fn::GetAtt: expected a logical id and an attribute, got {argument!r}"
    )


def _sub(argument: Value, where: str) -> tuple[str, Mapping[str, Value]]:
    if isinstance(argument, list) and len(argument) == 2:
        text, own = argument
        return _text(text, f"{where}.Fn::Sub"), _mapping(own, f"{where}.Fn::Sub", "a mapping")
    return _text(argument, f"{where}.Fn::Sub"), {}


def _parameters(stack: Stack) -> Mapping[str, Value]:
    return stack.template.get("Parameters") or {}


class _Resolver:
    """Evaluates the values of one stack."""

    def __init__(self, graph: Graph, stack: Stack, known: Mapping[str, Value]) -> None:
        self._graph = graph
        self._stack = stack
        self._known = known
        self._where = str(stack.path)
        self._functions: Mapping[str, Callable[[Value], Value]] = {
            "Ref": lambda name: self._named(_text(name, f"{self._where}: Ref")),
            "Fn::GetAtt": lambda argument: self._named(_attribute(argument, self._where)),
            "Fn::Sub": self._substitute,
            "Fn::Join": self._join,
            "Fn::Base64": self.resolve,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::FindInMap": self._find_in_map,
            "Fn::If": self._if,
            "Fn::ImportValue": self._import,
        }

    def resolve(self, value: Value) -> Value:
        if isinstance(value, list):
            items = [self.resolve(item) for item in value]
            return [item for item in items if item is not _REMOVED]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in self._functions:
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                return self._left(f"{name} {self._said(self.resolve(argument))}")
        entries = {key: self.resolve(inner) for key, inner in value.items()}
        return {key: inner for key, inner in entries.items() if inner is not _REMOVED}

    def _named(self, name: str) -> Value:
        if name == NO_VALUE:
            return _REMOVED
        if name.startswith("AWS::"):
            own = {"AWS::StackName": self._stack.name, "AWS::Region": self._stack.region}
            return self._known.get(name) or own.get(name) or self._left(name)
        key = f"{self._stack.name}.{name}"
        parameter = _parameters(self._stack).get(name)
        # The default of an SSM parameter type is where the value stands, not the value.
        if key not in self._known and parameter and "::" not in parameter.get("Type", ""):
            return parameter.get("Default", Unresolved(f"${{{key}}}"))
        return self._left(key)

    def _left(self, key: str) -> Value:
        return self._known[key] if key in self._known else Unresolved(f"${{{key}}}")

    def _substitute(self, argument: Value) -> Value:
        text, own = _sub(argument, self._where)
        parts: list[Value] = []
        end = 0
        for match in _SUBSTITUTED.finditer(text):
            name = match[1]
            parts += [text[end : match.start()].replace("${!", "${")]
            parts += [self.resolve(own[name]) if name in own else self._named(name)]
            end = match.end()
        return _joined("", [*parts, text[end:].replace("${!", "${")])

    def _join(self, argument: Value) -> Value:
        separator, items = self._arguments("Fn::Join", argument, 2)
        if isinstance(items, Unresolved):
            return self._left(f"Fn::Join {items}")
        return _joined(separator, items)

    def _select(self, argument: Value) -> Value:
        index, items = self._arguments("Fn::Select", argument, 2)
        if isinstance(items, Unresolved) or isinstance(index, Unresolved):
            return self._left(f"Fn::Select {index} {items}")
        if not str(index).isdecimal() or not 0 <= int(index) < len(items):
            raise TemplateError(
                f"{self._where}: Fn::Select: expected an index below {len(items)}, got {index!r}"
            )
        return items[int(index)]

    def _split(self, argument: Value) -> Value:
        separator, text = self._arguments("Fn::Split", argument, 2)
        # What stands for a placeholder may hold the separator too, so that no part is certain.
        if isinstance(text, Unresolved):
            return self._left(f"Fn::Split {separator} {text}")
        return _text(text, f"{self._where}: Fn::Split").split(separator)

    def _find_in_map(self, argument: Value) -> Value:
        name, first, second, *_ = arguments = self._arguments("Fn::FindInMap", argument, 3)
        if any(isinstance(part, Unresolved) for part in arguments):
            return self._left(f"Fn::FindInMap {name} {first} {second}")
        try:
            return self.resolve(self._stack.template["Mappings"][name][first][second])
        except (KeyError, TypeError) as error:
            raise TemplateError(
                f"{self._where}: Fn::FindInMap: expected a key of Mappings, "
                f"got {name}.{first}.{second}"
            ) from error

    def _if(self, argument: Value) -> Value:
        if not isinstance(argument, list) or len(argument) != 3:
            raise TemplateError(f"{self._where}: Fn::If: expected 3 arguments, got {argument!r}")
        name, yes, no = argument
        holds = self._condition({"Condition": name})
        if holds is None:
            return self._left(f"Fn::If {name}")
        return self.resolve(yes if holds else no)

    def _condition(self, condition: Value) -> bool | None:
        """Say whether it holds; None where that depends on what is not known."""
        ((name, argument),) = _mapping(condition, self._where, "a condition").items()
        if name == "Condition":
            conditions = self._stack.template.get("Conditions") or {}
            if argument not in conditions:
                raise TemplateError(f"{self._where}: expected a condition, got {argument!r}")
            return self._condition(conditions[argument])
        if name == "Fn::Equals":
            left, right = (self.resolve(side) for side in argument)
            if isinstance(left, Unresolved) or isinstance(right, Unresolved):
                return True if left == right else None
            return bool(str(left) == str(right))
        inner = [self._condition(part) for part in argument]
        if name == "Fn::Not":
            return None if inner[0] is None else not inner[0]
        decisive = {"Fn::And": False, "Fn::Or": True}.get(name)
        if decisive is None:
            raise TemplateError(f"{self._where}: expected a condition function, got {name!r}")
        if decisive in inner:
            return decisive
        return None if None in inner else not decisive

    def _import(self, argument: Value) -> Value:
        name = self.resolve(argument)
        found = self._graph.exported(name)
        if found is None:
            return self._left(f"Fn::ImportValue {name}")
        exporter, value = found
        return _Resolver(self._graph, exporter, self._known).resolve(value)

    def _arguments(self, name: str, argument: Value, count: int) -> list[Value]:
        if not isinstance(argument, list) or len(argument) < count:
            raise TemplateError(
                f"{self._where}: {name}: expected {count} arguments, got {argument!r}"
            )
        return [self.resolve(part) for part in argument]

    @staticmethod
    def _said(value: Value) -> str:
        return value if isinstance(value, str) else json.dumps(value)


def _joined(separator: str, items: Sequence[Value]) -> str:
    text = separator.join(_plain(item) for item in items if item is not _REMOVED)
    return Unresolved(text) if any(isinstance(item, Unresolved) for item in items) else text


def _plain(value: Value) -> str:
    # As CloudFormation writes them, and JSON does.
    return value if isinstance(value, str) else json.dumps(value)


class _Loader(yaml.SafeLoader):
    """YAML as CloudFormation reads it: short forms of the functions, and dates as texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Value:
    value: Value = None
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def _load(path: Path) -> Value:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
        return yaml.load(text, _Loader)  # noqa: S506 - derives from SafeLoader
    except OSError as error:
        raise TemplateError(f"{path}: expected a file, got: {error.strerror}") from error
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise TemplateError(f"{path}: expected JSON or YAML, got: {said}") from error


def _mapping(value: Value, where: str, expected: str) -> Mapping[str, Value]:
    if not isinstance(value, Mapping):
        raise TemplateError(f"{where}: expected {expected}, got {value!r}")
    return value


def _text(value: Value, where: str) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{where}: expected a text, got {value!r}")
    return value
