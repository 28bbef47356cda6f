"""An image is built from its asset once, and every departure from the asset is said."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from rehearsal.__main__ import main
from rehearsal.engines import Engine, EngineError, Processes
from rehearsal.images import Asset, assets, build, build_environment
from templates import Graph, Stack, TemplateError

OTHER = "linux/arm64" if platform.machine() == "x86_64" else "linux/amd64"


class Recorded(Engine):
    """An engine that has these images and builds nothing."""

    def __init__(self, *there: str) -> None:
        super().__init__("docker")
        self.there = there
        self.built: list[tuple[Path, tuple[str, ...]]] = []

    def has_image(self, tag: str) -> bool:
        return tag in self.there

    def build(self, directory: Path, *, tags: Any, options: Any = ()) -> None:  # noqa: ANN401
        self.built.append((directory, (*tags, *options)))


def stack_with(tmp_path: Path, **source: object) -> Stack:
    manifest = tmp_path / "web.assets.json"
    destinations = {"here": {"repositoryName": "sandbox-web", "imageTag": "abc"}}
    image = {"source": {"directory": "asset.abc"} | source, "destinations": destinations}
    manifest.write_text(json.dumps({"dockerImages": {"abc": image}}))
    return Stack("Sandbox-Web", "Sandbox/Web", tmp_path / "t.json", {}, {}, asset_manifest=manifest)


def test_the_tag_is_the_repository_and_the_hash_of_the_task_definition(graph: Graph) -> None:
    for name in ("Sandbox/Web", "Sandbox/Quotes", "Production/Web", "Production/Quotes"):
        stack = graph.stack(name)
        (asset,) = assets(stack)
        (task,) = stack.of_type("AWS::ECS::TaskDefinition")
        (container,) = graph.properties(task)["ContainerDefinitions"]
        assert asset.tags == (container["Image"].partition("/")[2],)
        assert (asset.directory / str(asset.file)).is_file()


def test_a_stack_without_images_has_none(graph: Graph) -> None:
    assert list(assets(graph.stack("Sandbox/Network"))) == []


def test_everything_that_an_asset_says_reaches_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/a/bundle.pem")
    (asset,) = assets(
        stack_with(
            tmp_path,
            dockerFile="Dockerfile.web",
            dockerBuildArgs={"A": "b"},
            dockerBuildTarget="final",
        )
    )
    engine = Recorded()
    build(engine, asset)
    folder = tmp_path / "asset.abc"
    options = ("sandbox-web:abc", f"--file={folder / 'Dockerfile.web'}", "--target=final")
    more = ("--build-arg=A=b", "--secret=id=ca,src=/a/bundle.pem")
    assert engine.built == [(folder, options + more)]


def test_without_a_certificate_file_there_is_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    engine = Recorded()
    build(engine, Asset(tmp_path, ("web:abc",)))
    assert engine.built == [(tmp_path, ("web:abc",))]


def test_an_image_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    engine = Recorded("web:abc")
    build(engine, Asset(tmp_path, ("web:abc",)))
    assert engine.built == []


def test_another_architecture_is_built_natively_and_reported(tmp_path: Path) -> None:
    said: list[str] = []
    engine, asset = Recorded(), Asset(tmp_path, ("web:abc",), platform=OTHER)
    build(engine, asset, say=said.append)
    assert asset.departure.startswith("web:abc: built for linux/")
    assert asset.departure.endswith(f"this machine's, and not for {OTHER}")
    assert asset.departure in said
    assert not any("--platform" in option for _, options in engine.built for option in options)


def test_what_of_an_asset_is_not_understood_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"abc\.source\.dockerBuildSsh: expected only "):
        list(assets(stack_with(tmp_path, dockerBuildSsh="default")))


def test_without_an_engine_an_asset_stands_for_its_image(graph: Graph, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    tags = build_environment(graph, "sandbox", processes)
    assert [tag.partition(":")[0] for tag in tags] == ["sandbox-quotes", "sandbox-web"]
    for tag in tags:
        assert processes.has_image(tag)
        assert processes.image(tag).id.startswith("sha256:")


def test_the_command_says_which_environments_there_are(
    assembly: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "choose", lambda _: Recorded())
    assert main(["image", "staging", "--assembly", str(assembly)]) == 1
    said = capsys.readouterr()
    assert said.err == "staging: expected an environment, one of production, sandbox\n"
    assert said.out == ""


def test_the_command_prints_the_tags_and_nothing_else(
    assembly: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "choose", lambda _: Recorded())
    assert main(["image", "--assembly", str(assembly)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["sandbox-quotes", "sandbox-web"]


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "podman"
    assert Engine(str(absent)).name == "podman"
    with pytest.raises(EngineError, match=r"expected a container engine, got none: .*is not"):
        Engine.choose(str(absent))


def test_the_engine_is_the_one_that_cdk_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\necho '{}'\n")
    podman.chmod(0o755)
    monkeypatch.setenv("CDK_DOCKER", str(podman))
    assert Engine.choose().command == str(podman)


def test_a_client_without_buildkit_gives_way_to_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = "if [ $1 = --version ]; then echo 'Docker version 28.2.2'; else exit 1; fi"
    having = "if [ $1 = --version ]; then echo 'Docker version 20.10.24'; else echo $0; fi"
    folders = []
    for name, does in (("new", lacking), ("old", having)):
        docker = tmp_path / name / "docker"
        docker.parent.mkdir()
        docker.write_text(f"#!/bin/sh\n{does}\n")
        docker.chmod(0o755)
        folders.append(str(docker.parent))
    monkeypatch.setenv("PATH", ":".join([*folders, "/usr/bin", "/bin"]))
    Engine("docker").build(tmp_path, tags=["web:abc"])
    with pytest.raises(EngineError, match="expected BuildKit, to build with"):
        Engine(str(tmp_path / "new" / "docker")).build(tmp_path, tags=["web:abc"])
