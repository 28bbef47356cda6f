"""An image's tag changes with what it is made of, and with nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from aws_cdk import App, Stack

import stacks.service
from tests.conftest import PROJECT, Values
from tests.variants import FAST

SERVICES = ("web", "quotes", "monolith")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied = tmp_path / "service"
    shutil.copytree(PROJECT / "service", copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(stacks.service, "SOURCES", copied)
    return copied


def tags(context: Values) -> dict[str, str]:
    stack = Stack(App(context=context), "Stack")
    return {
        name: stacks.service.image(stack, name, name=name, architecture="x86_64").asset_hash
        for name in SERVICES
    }


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        ("web/app.py", {"web", "monolith"}),
        ("web/page.html", {"web", "monolith"}),
        ("quotes/collection.py", {"quotes", "monolith"}),
        ("quotes/openapi.json", {"quotes", "monolith"}),
        ("monolith/app.py", {"monolith"}),
        ("dock/serve.py", {"web", "quotes", "monolith"}),
        ("web/Dockerfile", {"web"}),
        ("quotes/requirements.txt", {"quotes"}),
        ("monolith/requirements.txt", {"monolith"}),
        ("web/requirements.in", set()),
        ("web/Dockerfile.dockerignore", set()),
        ("dock/__pycache__/app.cpython-313.pyc", set()),
        ("README.md", set()),
    ],
)
def test_a_change_makes_new_tags_only_for_the_images_that_it_is_in(
    sources: Path, context: Values, changed: str, new: set[str]
) -> None:
    before = tags(context)
    path = sources / changed
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    after = tags(context)
    assert {name for name in SERVICES if before[name] != after[name]} == new


@pytest.mark.parametrize("name", SERVICES)
def test_the_staged_context_holds_all_that_its_dockerfile_copies(
    tmp_path: Path, context: Values, name: str
) -> None:
    app = App(outdir=str(tmp_path / "out"), context=context, **FAST)
    asset = stacks.service.image(Stack(app, "Stack"), "Image", name=name, architecture="arm64")
    app.synth()
    (staged,) = (tmp_path / "out").glob(f"asset.{asset.asset_hash}")
    text = (staged / name / "Dockerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert list(staged.glob(source)), source
    packages = {path.parent.name for path in staged.glob("*/*.py")}
    assert packages == {"dock", name} | ({"web", "quotes"} if name == "monolith" else set())
    other = [path for path in staged.rglob("*") if path.suffix in (".in", ".pyc", ".dockerignore")]
    assert other == []


def test_the_three_dockerfiles_differ_in_what_they_copy_and_run_only() -> None:
    """The base, the build and the hardening are one; mended in one alone, they would not be."""
    texts = []
    for name in SERVICES:
        text = (PROJECT / "service" / name / "Dockerfile").read_text(encoding="utf-8")
        text = re.sub(r"^COPY (?!--from).*\n", "", text, flags=re.MULTILINE)
        texts.append(text.replace(f'"{name}"', '"NAME"').replace(f"/{name}/", "/NAME/"))
    assert texts[0] == texts[1] == texts[2]
