"""python -m labs kubernetes ENVIRONMENT: writes its services as Kubernetes manifests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import templates
from labs.kubernetes.environment import KUBERNETES, translate
from labs.kubernetes.notes import KINDS, Note
from labs.kubernetes.sidecar import pod_of
from labs.verbs import Verb

Manifest = dict[str, Any]

# Beside the rehearsal, which takes 8080.
PORT = 8081


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("environment", metavar="ENVIRONMENT", help="like sandbox")
    parser.add_argument("--assembly", type=Path, default=Path("cdk.out"), metavar="DIRECTORY",
                        help="the synthesized templates (cdk.out)")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIRECTORY",
                        help="write a file for each service there, not to stdout")  # fmt: skip
    parser.add_argument("--pod", metavar="SERVICE",
                        help="only its Pod, with a sidecar, for podman kube play")  # fmt: skip
    parser.add_argument("--port", type=_port, default=PORT, metavar="PORT",
                        help=f"where that Pod answers on 127.0.0.1 ({PORT})")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Translate, and only then write."""
    try:
        environment = translate(templates.read(options.assembly), options.environment)
        notes = [*environment.notes, *(one for each in environment.services for one in each.notes)]
        files: dict[str, Sequence[Manifest]] = {
            each.name: each.manifests for each in environment.services
        }
        if options.pod is not None:
            service = environment.service(options.pod)
            name = f"{environment.name}-{service.name}"
            pod, podman = pod_of(service, name=name, port=options.port)
            files, notes = {f"{service.name}-pod": [pod]}, list(podman)
        written = _write(options.output, files)
    except (templates.TemplateError, OSError) as error:
        _say(str(error))
        return 1
    for line in explain(notes):
        _say(line)
    for path in written:
        _say(f"{path} is written, for Kubernetes {KUBERNETES[1]} to {KUBERNETES[0]}.")
    return 0


def explain(notes: Iterable[Note]) -> list[str]:
    """Lay out notes by their kinds, a line each."""
    lines: list[str] = []
    found = list(notes)
    for kind in KINDS:
        those = [f"  {one}" for one in found if one.kind == kind]
        lines += [f"{kind}:", *those] if those else []
    return lines


def document(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Give manifests as one YAML text."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=100, explicit_start=True)


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: nothing by reference, and lines as lines."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _lines)


def _write(directory: Path | None, files: Mapping[str, Sequence[Manifest]]) -> list[Path]:
    if directory is None:
        sys.stdout.write("".join(document(manifests) for manifests in files.values()))
        return []
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, manifests in files.items():
        path = directory / f"{name}.yaml"
        path.write_text(document(manifests), encoding="utf-8")
        written.append(path)
    return written


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


VERB = Verb("write an environment's services as Kubernetes manifests", configure, run)
