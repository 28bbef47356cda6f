"""Builds the images of an environment's Docker assets, as `cdk deploy` does, but keeps them."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.engines import Runtime
from templates import Graph, Stack, TemplateError, Value

ARCHITECTURES = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
}
# What of an asset's source is understood; with anything else the image would be another.
# Source: aws-cdk-cli, cloud-assembly-schema, lib/assets/docker-image-asset.ts, read 2026-11-24.
_UNDERSTOOD = {"directory", "dockerFile", "dockerBuildArgs", "dockerBuildTarget", "platform"}


@dataclass(frozen=True)
class Asset:
    """An image to be built: from where, for which platform, and under which tags."""

    directory: Path
    tags: tuple[str, ...]
    platform: str | None = None
    file: str | None = None
    arguments: Mapping[str, str] | None = None
    target: str | None = None

    @property
    def departure(self) -> str:
        """How its image here departs from the one that AWS would run; empty where it does not."""
        here = ARCHITECTURES.get(platform.machine().lower(), "unknown")
        if self.platform in (None, here):
            return ""
        return f"{self.tags[0]}: built for {here}, this machine's, and not for {self.platform}"


def assets(stack: Stack) -> Iterator[Asset]:
    """Give the images of a stack's asset manifest; raise TemplateError for what is not understood.

    A tag is `<repository>:<hash>`, as in ECR but without its registry.
    """
    manifest = stack.asset_manifest
    if manifest is None:
        return
    for key, image in stack.assets().get("dockerImages", {}).items():
        where = f"{manifest}: dockerImages.{key}"
        source: Mapping[str, Value] = image["source"]
        for beyond in sorted(set(source) - _UNDERSTOOD):
            raise TemplateError(
                f"{where}.source.{beyond}: expected only {', '.join(sorted(_UNDERSTOOD))}"
            )
        destinations = image["destinations"].values()
        tags = sorted({f"{one['repositoryName']}:{one['imageTag']}" for one in destinations})
        yield Asset(
            directory=(manifest.parent / source["directory"]).resolve(),
            tags=tuple(tags),
            platform=source.get("platform"),
            file=source.get("dockerFile"),
            arguments=source.get("dockerBuildArgs"),
            target=source.get("dockerBuildTarget"),
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - progress, for people


def build(engine: Runtime, asset: Asset, *, say: Callable[[str], None] = _say) -> None:
    """Build an image, for this machine's architecture, unless it is there.

    Where SSL_CERT_FILE is set, the build sees that file as the secret `ca`: behind a proxy that
    re-signs TLS, a package index is unreachable without it, and the image never holds it.
    """
    if asset.departure:
        say(asset.departure)
    if all(engine.has_image(tag) for tag in asset.tags):
        say(f"{asset.tags[0]} is there; nothing to build.")
        return
    options = []
    if asset.file:
        options.append(f"--file={asset.directory / asset.file}")
    if asset.target:
        options.append(f"--target={asset.target}")
    options += [f"--build-arg={key}={value}" for key, value in (asset.arguments or {}).items()]
    options += authority()
    say(f"Building {asset.tags[0]} with {engine.name}.")
    engine.build(asset.directory, tags=asset.tags, options=options)


def authority() -> list[str]:
    """Give the option by which a build sees SSL_CERT_FILE as its secret `ca`, where that is set."""
    found = os.environ.get("SSL_CERT_FILE")
    return [f"--secret=id=ca,src={found}"] if found else []


def build_environment(
    graph: Graph, environment: str, engine: Runtime, *, say: Callable[[str], None] = _say
) -> list[str]:
    """Build every image of an environment (its name in the settings, like sandbox); give the tags.

    Raises TemplateError where the assembly has no such environment.
    """
    found = _of_environment(graph, environment)
    for asset in found:
        build(engine, asset, say=say)
    return [tag for asset in found for tag in asset.tags]


def departures(graph: Graph, environment: str) -> list[str]:
    """Say how each image of an environment departs from the one that AWS would run."""
    found = (asset.departure for asset in _of_environment(graph, environment))
    return [line for line in found if line]


def _of_environment(graph: Graph, environment: str) -> list[Asset]:
    return [asset for stack in graph.environment(environment) for asset in assets(stack)]
