"""docs/rehearsal.md claims what a test shows, follows pages of AWS's, and names every command."""

from __future__ import annotations

import ast
import re
from functools import cache
from urllib.parse import urlsplit

import pytest

from rehearsal.__main__ import main
from rehearsal.faults import IMAGES, MISSING
from tests.conftest import PROJECT

TEXT = (PROJECT / "docs" / "rehearsal.md").read_text(encoding="utf-8")
HEAD = "| behaviour | AWS's page | MiniStack 1.5.33 | moto 5.2.5 | here | shown by |"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for table in re.findall(rf"^{re.escape(HEAD)}\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    for line in table.splitlines()
]
# What is not AWS's own: what the agent does, what its API looks like, and who else plays it.
SOURCES = {
    "https://github.com/aws/amazon-ecs-agent",
    "https://github.com/boto/botocore",
    "https://github.com/containers/netavark/pull/275",
    "https://github.com/getmoto/moto",
    "https://github.com/ministackorg/ministack",
}
NO_TEST = "no test"


def test_every_row_is_whole_and_says_how_far_it_is_played() -> None:
    assert len(ROWS) > 100
    for row in ROWS:
        assert len(row) == 6, row
        assert all(row), row
        assert re.fullmatch(r"yes|(partly|no|untested): .+", row[4]), row


def test_what_is_claimed_is_shown() -> None:
    for behaviour, _, _, _, here, shown in ROWS:
        if here == "yes" or here.startswith("partly"):
            assert shown != NO_TEST, behaviour
        if here.startswith("untested"):
            assert shown == NO_TEST, behaviour


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 150
    for file, name in named:
        assert name in names_in(file), f"{file}::{name}"
    for *_, shown in ROWS:
        for one in [] if shown == NO_TEST else shown.split(", "):
            assert re.fullmatch(r"`[\w/]+\.py::test_\w+`", one), one


def test_every_row_follows_a_page_of_aws_or_a_source_that_is_named() -> None:
    for behaviour, page, *_ in ROWS:
        assert re.fullmatch(r"\[[^]]+\]\(\S+\)(, \[[^]]+\]\(\S+\))*", page), behaviour
    for url in re.findall(r"https?://[^\s)`>]+", TEXT):
        aws = url.startswith("https://docs.aws.amazon.com/") and url.endswith(".html")
        here = urlsplit(url).hostname == "127.0.0.1"
        assert aws or here or url in SOURCES, url


def test_every_command_option_and_fault_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    verbs, faults = (choices(capsys, *words) for words in ((), ("fail",)))
    for verb in verbs:
        assert f"`{verb} [ENVIRONMENT]`" in TEXT or f"`{verb} KIND" in TEXT, verb
    for fault in faults:
        assert re.search(rf"^\| `{fault}[ `]", TEXT, re.MULTILINE), fault
    for option in set(re.findall(r"(--[a-z-]+)", help_of(capsys, "up"))) - {"--help"}:
        assert re.search(rf"^\| `{option} ", TEXT, re.MULTILINE), option
    for how in (*IMAGES, MISSING):
        assert f"`{how}`" in TEXT, how


@cache
def names_in(file: str) -> frozenset[str]:
    """Name the tests of a file, by its path in this folder."""
    tree = ast.parse((PROJECT / "tests" / file).read_text(encoding="utf-8"))
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef))


def choices(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Give what the command takes at this place."""
    (found, *_) = re.findall(r"\{([a-z,\s]+)\}", help_of(capsys, *words))
    return re.findall(r"[a-z]+", found)


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    return capsys.readouterr().out
