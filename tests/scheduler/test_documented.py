"""docs/scheduler.md names every page that a rule cites, and only code and tests that there are."""

from __future__ import annotations

import importlib
import re

from tests.conftest import PROJECT

RULES = (PROJECT / "docs" / "scheduler.md").read_text(encoding="utf-8").split("\n## ")[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in RULES.splitlines()
    if line.startswith("| ") and not line.startswith("| rule")
]


def test_every_page_that_the_code_cites_has_its_row() -> None:
    listed = " ".join(page for _, page, *_ in ROWS)
    for path in (PROJECT / "scheduler").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for name in re.findall(r"docs\.aws\.amazon\.com/\S+?/([\w-]+)\.html", source):
            assert re.search(rf"\b{re.escape(name)}\b", listed), f"{path.name}: {name}"


def test_every_row_says_when_its_page_was_read() -> None:
    assert RULES.startswith("Rules")
    assert len(ROWS) > 40
    for rule, _, day, *_ in ROWS:
        assert re.fullmatch(r"2026-\d\d-\d\d", day), rule


def test_every_row_names_code_that_there_is() -> None:
    for rule, _, _, where, _ in ROWS:
        module, _, name = where.strip("`").partition(".")
        found = importlib.import_module(f"scheduler.{module}")
        assert not name or hasattr(found, name), rule


def test_every_row_names_a_test_that_there_is() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (PROJECT / "tests" / "scheduler").glob("*.py")
    )
    for rule, *_, test in ROWS:
        assert f"def {test.strip('`')}(" in tests, rule


def test_every_scenario_is_named() -> None:
    from scheduler.scenarios import SCENARIOS

    text = (PROJECT / "docs" / "scheduler.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in SCENARIOS)


def test_every_source_that_is_cited_says_when_it_was_read() -> None:
    for path in (PROJECT / "scheduler").glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        dated = re.search(r"read\s+2026-11-24", "\n".join(lines[:12]))
        for number, line in enumerate(lines):
            if "docs.aws.amazon.com" in line and not (dated and number < 12):
                around = " ".join(lines[max(0, number - 6) : number + 4])
                assert re.search(r"[Rr]ead\W+2026-11-24", around), f"{path.name}:{number + 1}"
