"""The course is whole: pages have their parts, their commands are run, and terms are explained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from labs import course
from labs.__main__ import main
from labs.lab import Lab
from labs.progress import Progress, Record
from ops.environment import Failed
from tests.conftest import PROJECT
from tests.labs.pages import PAGES, Shell, commands

PARTS = [
    "What you will be able to do",
    "Goal",
    "What to do",
    "What to watch for",
    "Questions",
    "Where the rehearsal differs from AWS",
    "What it costs on AWS",
    "Clean up",
]
GLOSSARY = (PAGES / "glossary.md").read_text(encoding="utf-8")
TERM = re.compile(r"^## (.+)\n\n.{20,} \[AWS: (.+)\]\((.+)\)\n", re.MULTILINE)
AWS_PAGE = re.compile(r"https://docs\.aws\.amazon\.com/[\w./-]+\.html")
MINUTES = 60
# What the line before a block has, by the block's mark.
MARKS = {"failing": "fails?|missing", "rehearsal": "rehearsal", "account": "account|AWS"}


def text(lab: Lab) -> str:
    return (PAGES / lab.page).read_text(encoding="utf-8")


def by_number(lab: Lab) -> str:
    return f"lab {lab.number}"


@pytest.mark.parametrize("lab", course.LABS, ids=by_number)
def test_a_page_has_every_part_in_its_order(lab: Lab) -> None:
    headings = re.findall(r"^## (.+)", text(lab), re.MULTILINE)
    assert [one for one in headings if one in PARTS] == PARTS
    assert re.search(rf"^\*\*Minutes:\*\* {lab.minutes}\b", text(lab), re.MULTILINE)


@pytest.mark.parametrize("lab", course.LABS, ids=by_number)
def test_a_page_begins_checks_and_cleans_up_by_its_own_number(lab: Lab) -> None:
    found = [one.text for one in commands(PAGES / lab.page)]
    for verb in ("start", "check", "reset"):
        assert f"python -m labs {verb} {lab.number}" in found
    others = {one for line in found for one in re.findall(r"-m labs (?!shell)\w+ (\d+)", line)}
    assert others == {str(lab.number)}


@pytest.mark.parametrize("lab", course.LABS, ids=by_number)
def test_a_block_that_is_not_for_everybody_says_so_in_words(lab: Lab) -> None:
    # A reader sees no more of a block's mark than its first word.
    lines = [line.strip() for line in text(lab).splitlines()]
    for number, line in enumerate(lines):
        marked = re.fullmatch(r"```console (\w+)", line)
        # The whole of lab 11 is about an account.
        if marked and not (lab.number == 11 and marked[1] == "account"):
            before = [one for one in lines[:number] if one][-1]
            place = f"{lab.page}:{number + 1}: {before}"
            assert re.search(MARKS[marked[1]], before), place
            assert before.endswith(":"), place


@pytest.mark.parametrize("lab", course.LABS, ids=by_number)
def test_the_test_of_a_lab_runs_its_page(lab: Lab) -> None:
    module = lab.begin.__module__.rpartition(".")[2]
    test = (PROJECT / "tests" / "labs" / f"test_{module}.py").read_text(encoding="utf-8")
    assert re.search(rf"follow\((\w+, )*(PAGE\b|PAGES / |\"{lab.page}\")", test)
    assert f"{module}.LAB.page" in test or lab.page in test


@pytest.mark.parametrize("lab", course.LABS, ids=by_number)
def test_hints_are_there_and_say_something(lab: Lab) -> None:
    assert len(lab.hints) >= 2
    assert all(len(one) > 40 for one in lab.hints)


def test_the_minimum_path_is_four_labs_in_an_hour() -> None:
    path = [lab for lab in course.LABS if lab.is_minimum]
    assert len(path) == 4
    assert sum(lab.minutes for lab in path) <= MINUTES
    readme = (PAGES / "README.md").read_text(encoding="utf-8")
    for lab in course.LABS:
        row = rf"{lab.number}\. \[{re.escape(lab.title)}\]\({lab.page}\) \| {lab.minutes} \|"
        found = re.search(rf"^\| {row} (.*)\|$", readme, re.MULTILINE)
        assert found, f"lab {lab.number} in docs/labs/README.md"
        assert bool(found[1].strip()) is lab.is_minimum


def test_the_list_shows_every_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", f"--progress={tmp_path}"]) == 0
    out = capsys.readouterr().out
    pages = {path.name for path in PAGES.glob("[0-9]*.md")}
    assert pages == set(re.findall(r"docs/labs/(\S+)", out))


def test_every_term_leads_to_a_page_of_awss() -> None:
    terms = TERM.findall(GLOSSARY)
    assert len(terms) == GLOSSARY.count("\n## ") > 30
    for term, said, link in terms:
        assert term == said
        assert AWS_PAGE.fullmatch(link), f"{term}: {link}"
    names = [term.lower() for term, _, _ in terms]
    assert names == sorted(set(names))


def test_every_term_that_a_page_links_is_in_the_glossary() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", term.lower()).replace(" ", "-")
        for term, _, _ in TERM.findall(GLOSSARY)
    }
    for page in PAGES.glob("*.md"):
        for anchor in re.findall(r"glossary\.md#([^)]*)\)", page.read_text(encoding="utf-8")):
            assert anchor in anchors, f"{page.name}: {anchor}"


def test_what_is_remembered_is_whole_or_named(tmp_path: Path) -> None:
    progress = Progress("sandbox", tmp_path)
    assert progress.read(4) is None
    progress.write(4, Record("a cluster", {"tasks": ["one"]}, hints=1))
    kept = progress.read(4)
    assert kept is not None
    assert (kept.cluster, kept.remembered, kept.hints) == ("a cluster", {"tasks": ["one"]}, 1)
    for damaged in ("{", "[]", json.dumps({"cluster": "", "remembered": 3})):
        progress.path(4).write_text(damaged, encoding="utf-8")
        with pytest.raises(Failed, match=re.escape(f"{progress.path(4)}: expected what")):
            progress.read(4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "4"], "lab 4 was not started; start it with: python -m labs start 4"),
        (["hint", "4"], "lab 4 was not started"),
        (["reset", "4"], "lab 4 was not started; there is nothing to put back"),
        (["start", "99"], "lab 99: expected one of"),
        (["list", "nowhere"], "'nowhere': no such environment"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    progress = tmp_path / "progress"
    assert main([*arguments, f"--progress={progress}", f"--state={tmp_path}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert not progress.exists()


def test_a_command_goes_on_over_lines_and_keeps_what_it_exports(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ export A=1 \\\n    B=2\n```\n\n```console failing\n$ test $B = 1\n```\n",
        encoding="utf-8",
    )
    first, second = commands(page)
    assert (first.kind, second.kind, second.line) == ("", "failing", 7)
    with Shell() as shell:
        assert shell.run(first.text, seconds=10).code == 0
        assert shell.run("echo $A$B", seconds=10).said.strip() == "12"
        assert shell.run(second.text, seconds=10).code == 1
        with pytest.raises(AssertionError, match="expected an end within 1 s"):
            shell.run("sleep 20", seconds=1)
