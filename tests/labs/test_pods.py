"""Lab 10: a Pod with a sidecar is told from one without, and written manifests from edited ones."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

import templates
from labs import pods
from labs.__main__ import main
from labs.kubernetes.command import document
from labs.place import Place
from ops.preflight import read_environment
from rehearsal.engines import Engine
from rehearsal.images import build_environment
from tests.conftest import PROJECT, copy_project, until
from tests.labs.pages import PAGES, Shell, follow
from tests.labs.playing import KINDS
from tests.rehearsal.conftest import usable

PAGE = PAGES / pods.LAB.page
POD = "sandbox-web"
SECONDS = 120.0


@pytest.fixture
def place() -> Place:
    """The sandbox's settings; nobody may ask for the environment itself."""

    def connect() -> NoReturn:
        raise AssertionError("expected a lab that needs no environment")

    environment, faults = read_environment("sandbox", PROJECT)
    assert environment is not None, faults
    return Place(environment, connect)


@pytest.fixture
def folder(assembly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which only the templates are, and the commands run."""
    (tmp_path / pods.ASSEMBLY).symlink_to(assembly)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def podman() -> Iterator[Engine]:
    """Podman, in which no Pod of the lab is, before and after."""
    engine = usable("podman")
    remove()
    yield engine
    remove()


def remove() -> None:
    said(*pods.REMOVE, POD)
    for volume in said("volume", "ls", "--quiet").split():
        if volume.startswith(f"{POD}-"):
            said("volume", "rm", "--force", volume)


def said(*words: str) -> str:
    """Run a command of Podman's, whatever becomes of it; give what it prints."""
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    return done.stdout


def write(*more: str) -> None:
    """Write manifests as the page does."""
    given = ["kubernetes", "sandbox", *more, "--output", str(pods.FOLDER)]
    assert main(given) == 0


def write_all(port: int = 8081) -> Path:
    write()
    write("--pod", "web", "--port", str(port))
    return pods.FOLDER / f"{pods.POD_FILE}.yaml"


def lines(place: Place, remembered: dict[str, Any]) -> tuple[list[str], str]:
    """Give what a check finds right, and all that it finds missing."""
    items = list(pods.check(place, remembered))
    right = [item.words for item in items if item.right]
    return right, "\n".join(item.words for item in items if not item.right)


@pytest.fixture
def none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for a Podman that has nothing."""
    monkeypatch.setattr(pods, "_podman", lambda *words: "4.3.1" if words == ("version",) else None)


@pytest.mark.usefixtures("folder", "none_runs")
def test_nothing_done_passes_nothing_and_says_what_to_do(place: Place) -> None:
    right, missing = lines(place, dict(pods.begin(place)))
    assert right == []
    for expected in (
        ".build/kubernetes/web.yaml: is not there: python -m labs kubernetes sandbox --output",
        ".build/kubernetes/web-pod.yaml: is not there: python -m labs kubernetes sandbox --pod web",
        "Pod sandbox-web: is not there: podman kube play .build/kubernetes/web-pod.yaml",
    ):
        assert expected in missing


@pytest.mark.usefixtures("folder")
def test_the_pod_of_the_deployment_is_told_from_the_one_for_podman(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ("pod", "inspect", "web-pod-0")
    monkeypatch.setattr(
        pods, "_podman", lambda *words: {("version",): "4.3.1", other: '{"Id": "1"}'}.get(words)
    )
    _, missing = lines(place, dict(pods.begin(place)))
    assert (
        "Pod sandbox-web: is not there: podman kube play .build/kubernetes/web-pod.yaml; Pod "
        "web-pod-0 is of web.yaml, for a cluster: podman kube down .build/kubernetes/web.yaml first"
    ) in missing


@pytest.mark.usefixtures("none_runs")
def test_without_templates_it_says_how_to_write_them(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    right, missing = lines(place, dict(pods.begin(place)))
    assert right == []
    assert missing.endswith("write the templates with: make synth")


@pytest.mark.usefixtures("folder", "none_runs")
def test_manifests_that_were_edited_or_are_old_are_not_those_of_the_templates(
    place: Place,
) -> None:
    write_all(8099)
    right, _ = lines(place, dict(pods.begin(place)) | {"files": {}})
    assert [words.rpartition("/")[2].partition(":")[0] for words in right] == [
        "quotes.yaml", "web.yaml", "web-pod.yaml",
    ]  # fmt: skip
    before = dict(pods.begin(place))
    right, missing = lines(place, before)
    assert right == []
    assert "web.yaml: is from before the lab's start; write it again" in missing
    path = pods.FOLDER / "web.yaml"
    path.write_text(path.read_text("utf-8").replace("memory: 128Mi", "memory: 512Mi"), "utf-8")
    _, missing = lines(place, before)
    assert "web.yaml: was edited, or is of older templates than those in cdk.out" in missing


@pytest.mark.usefixtures("folder", "none_runs")
def test_a_pod_s_manifest_that_nobody_can_read_is_told(place: Place) -> None:
    write_all().write_text("- [", encoding="utf-8")
    _, missing = lines(place, {"files": {}, "pod": None})
    assert "web-pod.yaml: was edited" in missing


@pytest.mark.usefixtures("folder")
def test_containers_that_are_no_pod_s_or_of_an_older_image_are_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all()
    apart = {
        "Id": "new",
        "ImageName": "localhost/sandbox-web:older",
        "State": {"Running": True, "Status": "running"},
        "HostConfig": {"NetworkMode": "bridge"},
        "Mounts": [],
    }
    # Stands in for Podman, which plays no Pod like this one.
    monkeypatch.setattr(pods, "_podman", lambda *_: json.dumps([apart]))
    _, missing = lines(place, {"files": {}, "pod": None})
    for expected in (
        "sandbox-web-web: is of the image localhost/sandbox-web:older, and the manifest says ",
        "the containers have networks of their own: bridge, bridge",
        "the containers do not share a volume at /identity",
        "Pod sandbox-web: publishes no port, so nobody can ask it",
    ):
        assert expected in missing


@pytest.mark.usefixtures("folder", "none_runs")
def test_reset_removes_what_was_written_and_leaves_what_was_there(place: Place) -> None:
    write()
    before = dict(pods.begin(place))
    write("--pod", "web")
    assert list(pods.reset(place, before)) == [".build/kubernetes/web-pod.yaml is removed."]
    assert sorted(path.name for path in pods.FOLDER.iterdir()) == ["quotes.yaml", "web.yaml"]


@pytest.mark.engine
@pytest.mark.usefixtures("folder")
def test_a_pod_without_the_sidecar_and_one_from_before_are_told(
    place: Place, podman: Engine, graph: templates.Graph
) -> None:
    build_environment(graph, "sandbox", podman)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    path = write_all(port)
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    alone = copy.deepcopy(whole)
    alone["spec"]["containers"].pop()
    alone["spec"]["containers"][0]["resources"]["limits"]["memory"] = "256Mi"
    other = path.with_name("alone.yml")
    other.write_text(document([alone]), encoding="utf-8")
    said("kube", "play", str(other))
    remembered: dict[str, Any] = {"files": {}, "pod": None}
    _, missing = lines(place, remembered)
    assert "sandbox-web-web: runs with memory 268435456, and the manifest says 134217728" in missing
    assert "sandbox-web-identify: is not in the Pod, the sidecar: this Pod was not made" in missing
    assert '/identity says "task": "' in missing or "does not say who answers" in missing
    remembered = dict(pods.begin(place)) | {"files": {}}
    _, missing = lines(place, remembered)
    assert (
        "Pod sandbox-web: is from before the lab's start: podman pod rm --force --time 60"
        in missing
    )
    said(*pods.REMOVE, POD)
    with socket.create_server(("127.0.0.1", port)):
        said("kube", "play", str(path))
        _, missing = lines(place, remembered)
    assert "sandbox-web-web: was never started; podman start sandbox-web-web says why" in missing
    said(*pods.REMOVE, POD)
    said("kube", "play", str(path))
    until(lambda: not lines(place, remembered)[1], seconds=30)
    right, _ = lines(place, remembered)
    for name in ("web", "identify"):
        assert f"sandbox-web-{name}: runs, held in as the manifest says" in right
    assert "both containers share a network, that of the Pod's infra container" in right
    assert "both share volume sandbox-web-identify, which only the sidecar writes" in right
    said("pod", "stop", "--time", "1", POD)
    _, missing = lines(place, remembered)
    assert "sandbox-web-web: is exited, and is looked at while it runs; podman logs" in missing
    done = list(pods.reset(place, remembered))
    assert "Pod sandbox-web is removed." in done
    assert not [one for one in said("volume", "ls", "--quiet").split() if one.startswith(POD)]


@pytest.mark.engine
@pytest.mark.usefixtures("podman")
def test_its_page_passes_it_and_cleans_up(tmp_path: Path) -> None:
    # Its own clone, since the page synthesizes, and others read what is shared.
    clone = copy_project(tmp_path / "clone")
    progress = tmp_path / "progress"
    prelude = (
        # What is installed is, and a clone of the tests has only links to it.
        'make() { command make --old-file=.venv/ready --old-file=.venv-awscli/ready "$@"; }\n'
        'python() { if [ "$1 $2" = "-m labs" ] && [ "$3" != kubernetes ]\n'
        f'then command python "$@" --progress={progress}; else command python "$@"; fi; }}'
    )
    with Shell(prelude, folder=clone, environment=dict(os.environ)) as shell:
        answers = follow(PAGE, shell, seconds=SECONDS, kinds=KINDS)
    whole = "\n".join(one.said for one in answers)
    assert "Lab 10 is passed." in whole
    identities = [json.loads(one.said)["task"] for one in answers if '"hostname"' in one.said]
    assert identities[-1] == f"pod/{POD}"
    assert '"event": "stopped"' in whole
    assert "Lab 10 is forgotten" in whole
    assert not said("pod", "ls", "--quiet", "--filter", f"name=^{POD}$").strip()
    assert list((clone / pods.FOLDER).iterdir()) == []
