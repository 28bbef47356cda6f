"""Lab 9: a service is changed alone, and a move is proved by who answered during it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from labs import microservices
from tests.conftest import copy_project, until
from tests.labs.pages import PAGES, follow
from tests.labs.playing import KINDS, Course, quick_waiters
from tests.rehearsal.conftest import usable
from tests.rehearsal.playing import Played

pytestmark = pytest.mark.engine

PAGE = PAGES / microservices.LAB.page
SECONDS = 180.0
SPEED = 20.0


@pytest.fixture(scope="module")
def project(assembly: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which the page's commands may change the settings."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    shutil.copytree(assembly, folder / "cdk.out")
    return folder


@pytest.fixture(scope="module")
def played(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The sandbox by its own templates, as the page deploys it again."""
    engine = usable("docker")
    state = tmp_path_factory.mktemp("state")
    found = Played(state, project / "cdk.out", engine.name, speed=SPEED)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    found.suspend_scaling()
    yield found
    found.down()


@pytest.fixture
def course(played: Played, tmp_path: Path) -> Course:
    """The course about that sandbox."""
    for name in ("web", "quotes"):
        dataclasses.replace(played, of=name).settle()
    return Course(played, tmp_path / "progress", quick_waiters(tmp_path / "waiters"))


def answers(*names: str, status: int = 200) -> str:
    """Lines as the page's loop writes them."""
    return "".join(json.dumps({"service": name}) + f" {status}\n" for name in names)


def test_a_rollout_of_both_and_a_move_at_once_are_named(course: Course) -> None:
    course.start(9)
    played, notes = course.played, course.progress / "sandbox"
    web, quotes = played.service, dataclasses.replace(played, of="quotes")
    move = notes / microservices.MOVE
    for text, expected in (
        (answers(*["monolith"] * 20, *[web] * 20), "move.txt: all moved at once; give web a part"),
        (answers(*[web] * 40), "40 of 40 answers are web's; ask from before the first weight"),
        (answers("monolith", web) * 20 + answers(web, status=502), "failed 1 times 502"),
        (answers("monolith", web, *["monolith"] * 30), "the last one web's; they are of monolith"),
    ):
        move.write_text(text, encoding="utf-8")
        assert expected in course.run("check", 9).said
    ecs = played.client("ecs")
    for name in (web, quotes.service):
        ecs.update_service(cluster=played.cluster, service=name, forceNewDeployment=True)
    played.settle()
    quotes.settle()
    words = "quotes was rolled out, and so were tasks of web"
    until(lambda: words in course.run("check", 9).said, seconds=20)
    done = course.run("check", 9)
    assert done.code == 1
    assert "no check has seen quotes at zero tasks; it has 4 now" in done.said
    quotes.scale(3)
    assert f"{quotes.service} wants 2 tasks again" in course.run("reset", 9).said


def test_its_page_passes_it(course: Course, project: Path) -> None:
    with dataclasses.replace(course.shell(), folder=project) as shell:
        said = [done.said for done in follow(PAGE, shell, seconds=SECONDS, kinds=KINDS)]
    whole = "\n".join(said)
    assert "Lab 9 is passed." in whole
    assert '"quotes": "degraded"' in whole or '"quotes":"degraded"' in whole
    assert "none failed" in whole
    services = course.played.client("ecs").list_services(cluster=course.played.cluster)
    assert not [one for one in services["serviceArns"] if "Monolith" in one]
