"""A lab's values lie over the learner's own settings, and not one of those is lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labs import own
from labs.__main__ import main
from labs.progress import Progress, Record
from settings import load
from tests.conftest import PROJECT
from tests.labs.pages import PAGES, commands

OWN = '{"sandbox": {"prefix": "ana",\n  "account": "111122223333"}}'
MONOLITH = PAGES / "monolith.json"


class Learner:
    """Somebody who types the course's commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.local, self.progress = folder / "cdk.local.json", folder / "progress"

    def run(self, *words: str) -> int:
        return main([*words, f"--progress={self.progress}", f"--state={self.local.parent}"])


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Learner:
    found = Learner(tmp_path)
    monkeypatch.setattr(own, "LOCAL", found.local)
    return found


@pytest.mark.parametrize("text", [OWN, None], ids=["own settings", "none"])
def test_what_was_there_is_there_again_after_two_labs_values(
    learner: Learner, text: str | None
) -> None:
    if text is not None:
        learner.local.write_text(text, encoding="utf-8")
    for name in ("canary.json", "monolith.json"):
        assert learner.run("settings", "put", str(PAGES / name)) == 0
        sandbox = load(PROJECT / "cdk.json", learner.local)["sandbox"]
        assert sandbox.prefix == ("ana" if text else load(PROJECT / "cdk.json")["sandbox"].prefix)
    assert "monolith" in sandbox.services
    # The second file's values came in the first one's place.
    assert sandbox.services["web"].deployment.strategy == "rolling"
    assert learner.run("settings", "back") == 0
    assert (learner.local.read_text(encoding="utf-8") if text else None) == text
    assert learner.local.exists() is (text is not None)


def test_back_without_a_lab_s_values_changes_nothing(
    learner: Learner, capsys: pytest.CaptureFixture[str]
) -> None:
    learner.local.write_text(OWN, encoding="utf-8")
    assert learner.run("settings", "back") == 0
    assert "no lab's values are over it" in capsys.readouterr().err
    assert learner.local.read_text(encoding="utf-8") == OWN


def test_what_was_written_meanwhile_is_kept_beside(
    learner: Learner, capsys: pytest.CaptureFixture[str]
) -> None:
    learner.local.write_text(OWN, encoding="utf-8")
    assert learner.run("settings", "put", str(MONOLITH)) == 0
    learner.local.write_text('{"sandbox": {}}', encoding="utf-8")
    assert learner.run("settings", "back") == 0
    changed = learner.progress / "sandbox" / own.CHANGED
    assert f"what was in it is in {changed}" in capsys.readouterr().err
    assert changed.read_text(encoding="utf-8") == '{"sandbox": {}}'
    assert learner.local.read_text(encoding="utf-8") == OWN


def test_a_lab_that_is_broken_off_is_put_back_by_its_reset(learner: Learner) -> None:
    learner.local.write_text(OWN, encoding="utf-8")
    cluster = "boats of 2026, which is gone"
    for number in (5, 9):
        Progress("sandbox", learner.progress).write(number, Record(cluster, {}))
    assert learner.run("settings", "put", str(MONOLITH)) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labs.commands._is_of", lambda *_: False)
        assert learner.run("reset", "5") == 0
        assert learner.local.read_text(encoding="utf-8") != OWN
        assert learner.run("reset", "9") == 0
    assert learner.local.read_text(encoding="utf-8") == OWN


@pytest.mark.parametrize(
    ("mine", "values", "expected"),
    [
        ("{", "{}", "cdk.local.json: expected JSON"),
        (OWN, "[]", "values.json: expected an object, got []"),
        (OWN, None, "values.json: expected a readable file"),
    ],
)
def test_a_file_that_is_no_settings_is_named_and_nothing_is_written(
    learner: Learner,
    capsys: pytest.CaptureFixture[str],
    mine: str,
    values: str | None,
    expected: str,
) -> None:
    learner.local.write_text(mine, encoding="utf-8")
    path = learner.local.with_name("values.json")
    if values is not None:
        path.write_text(values, encoding="utf-8")
    assert learner.run("settings", "put", str(path)) == 1
    assert expected in capsys.readouterr().err
    assert learner.local.read_text(encoding="utf-8") == mine
    assert not learner.progress.exists()


def test_no_page_removes_or_overwrites_the_learner_s_own_settings() -> None:
    for name in ("07-deployments.md", "09-microservices.md"):
        for command in commands(PAGES / name):
            assert "cdk.local.json" not in command.text, f"{name}:{command.line}"


def test_what_was_kept_and_is_damaged_is_named(
    learner: Learner, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = learner.progress / "sandbox" / own.KEPT
    kept.parent.mkdir(parents=True)
    for damaged in ("{", "[]", "{}"):
        kept.write_text(damaged, encoding="utf-8")
        assert learner.run("settings", "back") == 1
        assert f"{kept}: expected what `python -m labs settings put`" in capsys.readouterr().err
    assert json.loads(kept.read_text(encoding="utf-8")) == {}
