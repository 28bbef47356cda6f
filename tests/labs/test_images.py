"""Lab 1: what both engines were really given is told apart from what they should have been."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import templates
from labs import images
from labs.place import Place
from ops.preflight import read_environment
from rehearsal import containers
from rehearsal.engines import Engine
from tests.conftest import PROJECT
from tests.labs.pages import PAGES, Shell, commands, follow
from tests.rehearsal.conftest import build_web, task_of, usable

PAGE = PAGES / images.LAB.page
SECONDS = 300.0
# What the page leaves out: names of ECS's own, the check, the CPU of the task as a whole, which its
# proxy has a part of, and what not every machine allows.
LEFT_OUT = ("--label=", "--cpus=", "--env=", "--health-", "--ulimit=", "--pull=", "--publish=")


@pytest.fixture
def engines() -> Iterator[tuple[Engine, Engine]]:
    """Both engines, and afterwards nothing of the lab in either."""
    both = usable("docker"), usable("podman")
    forget(both)
    yield both
    forget(both)


def forget(engines: tuple[Engine, Engine]) -> None:
    """Remove the containers and images of the lab."""
    for engine in engines:
        said(engine, "rm", "--force", *images.CONTAINERS)
        for tag in (images.CHANGED, images.BUILT_BY_PODMAN, images.IMAGE):
            said(engine, "image", "rm", "--force", tag)


def said(engine: Engine, *words: str) -> str:
    """Run a command of an engine, whatever becomes of it; give what it said."""
    done = subprocess.run([engine.command, *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def place() -> Place:
    """The sandbox's settings; nobody may ask for the environment itself."""

    def connect() -> NoReturn:
        raise AssertionError("expected a lab that needs no environment")

    environment, faults = read_environment("sandbox", PROJECT)
    assert environment is not None, faults
    return Place(environment, connect)


@pytest.fixture
def image(engines: tuple[Engine, Engine], graph: templates.Graph) -> str:
    """The service's image, in Docker, under the name of the lab too."""
    said(engines[0], "tag", build_web(graph, engines[0]), images.IMAGE)
    return images.IMAGE


def shell(folder: Path) -> Shell:
    """Give a shell in a clone, in which `docker` is a client that can build."""
    client = shlex.quote(Engine("docker")._with_buildkit())
    return Shell(f'docker() {{ {client} "$@"; }}', folder=folder)


def lines(place: Place, remembered: dict[str, Any] | None = None) -> str:
    """Give what a check finds missing in what is there."""
    found = images.check(place, remembered or {})
    return "\n".join(item.words for item in found if not item.right)


@pytest.mark.engine
def test_nothing_done_passes_nothing(place: Place, engines: tuple[Engine, Engine]) -> None:
    assert engines
    items = list(images.check(place, dict(images.begin(place))))
    assert not any(item.right for item in items)
    assert "docker: container lab-web is not there: docker run --detach" in lines(place)


@pytest.mark.engine
def test_its_page_passes_it_and_cleans_up(engines: tuple[Engine, Engine], assembly: Path) -> None:
    with shell(assembly.parent) as here:
        answers = follow(PAGE, here, seconds=SECONDS, kinds=frozenset({"", "failing"}))
    whole = "\n".join(done.said for done in answers)
    assert "Lab 1 is passed." in whole
    assert "137 true" in whole
    assert "docker: container lab-web is removed." in whole
    for engine in engines:
        assert not said(engine, "ps", "--all", "--quiet", "--filter", "name=^lab-").strip()
    assert not (assembly.parent / ".build" / "labs" / "service").exists()


@pytest.mark.engine
def test_a_container_without_limits_is_told_each_one(
    place: Place, engines: tuple[Engine, Engine], image: str
) -> None:
    said(engines[0], "run", "--detach", "--name=lab-web", "--user=0", "--publish=8080", image)
    found = lines(place)
    for expected in (
        "memory of lab-web: there is no limit, so it may take all of this machine's: --memory 128m",
        "user of lab-web: it runs as root: --user 10001:10001",
        "root file system of lab-web: whoever gets in can write everywhere: --read-only",
        "capabilities of lab-web: it keeps some of root's powers: --cap-drop ALL",
        "published port of lab-web: it listens on 0.0.0.0",
        "processes of lab-web: any number may run: --pids-limit 128",
        "time to stop of lab-web: 10 s until SIGKILL: --stop-timeout 30",
    ):
        assert expected in found


@pytest.mark.engine
def test_a_kill_is_no_stop_and_no_end_at_a_limit(
    place: Place, engines: tuple[Engine, Engine], image: str
) -> None:
    for name in ("lab-stop", "lab-oom"):
        said(engines[0], "run", "--detach", f"--name={name}", "--memory=128m", image)
        said(engines[0], "kill", name)
    found = lines(place)
    assert "docker: lab-stop was killed (137) before it had finished" in found
    assert "lab-oom ended with exit code 137 and OOMKilled False, not killed by the kernel" in found


@pytest.mark.engine
def test_what_was_there_before_proves_nothing(
    place: Place, engines: tuple[Engine, Engine], image: str
) -> None:
    said(engines[0], "run", "--name=lab-stop", image, "true")
    before = dict(images.begin(place))
    assert "lab-stop is from before the lab's start" in lines(place, before)


TAKES = ["python", "-c", 'b"x" * (256 << 20)']


@pytest.mark.parametrize(
    ("engine", "version", "limit", "command", "told", "expected"),
    [
        ("docker", "", 128, TAKES, True, ""),
        ("podman", "4.3.1", 128, TAKES, False, ""),
        ("podman", "5.2.0", 128, TAKES, True, ""),
        ("podman", "5.2.0", 128, TAKES, False, "not killed by the kernel at its limit"),
        ("podman", None, 128, TAKES, False, "not killed by the kernel at its limit"),
        ("docker", "4.3.1", 128, TAKES, False, "not killed by the kernel at its limit"),
        ("podman", "4.3.1", 4096, TAKES, False, "lab-oom may have 4096 MiB, so that taking 256"),
        ("podman", "4.3.1", 128, ["sleep", "99"], False, "its command (sleep 99) takes no 256 MiB"),
        ("docker", "", 128, ["sleep", "99"], True, "its command (sleep 99) takes no 256 MiB"),
    ],
)
def test_only_what_takes_more_than_its_limit_met_it(
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    version: str | None,
    limit: int,
    command: list[str],
    told: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(images, "_ask", lambda *_: version)
    found = images._greedy(
        engine,
        {
            "State": {"Running": False, "Status": "exited", "ExitCode": 137, "OOMKilled": told},
            "HostConfig": {"Memory": limit * images.MIB},
            "Config": {"Cmd": command},
        },
    )
    assert found.right is (expected == "")
    assert (expected or "met its limit and was killed") in found.words


def test_an_image_that_was_changed_before_proves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {
        images.IMAGE: {"Id": "sha256:1", "RootFS": {"Layers": ["base", "one"]}},
        images.CHANGED: {"Id": "sha256:2", "RootFS": {"Layers": ["base", "two"]}},
    }

    def inspected(_engine: str, kind: str, name: str) -> dict[str, Any] | None:
        return there.get(name) if kind == "image" else None

    monkeypatch.setattr(images, "_inspect", inspected)
    before = dict(images.begin(place))
    first = next(iter(images.check(place, before)))
    assert (first.right, "lab-web:changed is from before the lab's start" in first.words) == (
        False, True,
    )  # fmt: skip
    there[images.CHANGED] = {"Id": "sha256:3", "RootFS": {"Layers": ["base", "three"]}}
    assert next(iter(images.check(place, before))).right


def test_the_page_s_options_are_those_of_the_task_definition(graph: templates.Graph) -> None:
    task = task_of(graph, "Sandbox")
    run = containers.run(task.definition, "web", agent=task.agent)
    wanted = {one for one in run.options if not one.startswith(LEFT_OUT)}
    runs = [
        shlex.split(one.text.replace("\\\n", " "))
        for one in commands(PAGE)
        if "run --detach --name lab-web " in one.text
    ]
    assert [words[0] for words in runs] == ["docker", "podman"]
    for words in runs:
        given = " ".join(words[2:-1]).replace(" --", "\n--").splitlines()
        ours = {one.replace(" ", "=", 1) for one in given}
        assert ours - {"--detach", "--name=lab-web", "--publish=127.0.0.1::8080"} == wanted
