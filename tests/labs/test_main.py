"""The course's commands: data on stdout, talk on stderr, errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from labs.__main__ import VERBS, main
from tests.labs.kubernetes.schemas import accepted

NAME = "app.kubernetes.io/name"


def test_every_verb_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert name in said
        assert verb.does in " ".join(said.split())


def test_manifests_go_to_stdout_and_what_they_leave_out_to_stderr(
    assembly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kubernetes", "sandbox", "--assembly", str(assembly)]) == 0
    out, err = capsys.readouterr()
    found = list(yaml.safe_load_all(out))
    for name in ("quotes", "web"):
        accepted([one for one in found if one["metadata"]["labels"][NAME] == name])
    assert {one["metadata"]["labels"][NAME] for one in found} == {"quotes", "web"}
    assert "&id" not in out
    assert "no counterpart:\n" in err
    assert "differs:\n" in err
    assert "yours to create:\n" in err
    assert "${" not in err


def test_each_service_is_a_file_of_its_own(
    assembly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "made" / "here"
    assert (
        main(["kubernetes", "production", "--assembly", str(assembly), "--output", str(output)])
        == 0
    )
    out, err = capsys.readouterr()
    assert sorted(path.name for path in output.iterdir()) == ["quotes.yaml", "web.yaml"]
    for path in output.iterdir():
        accepted(list(yaml.safe_load_all(path.read_text(encoding="utf-8"))))
        assert f"{path} is written" in err
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: expected an environment, one of production, sandbox"),
        (["sandbox", "--pod", "jokes"], "jokes: expected a service of sandbox, one of quotes, web"),
        (["sandbox", "--pod", "quotes"], "quotes: expected a service with a load balancer"),
        (["sandbox", "--assembly", "nothing"], "nothing: expected a cloud assembly's directory"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    assembly: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    output = tmp_path / "out"
    given = ["kubernetes", "--assembly", str(assembly), "--output", str(output), *arguments]
    assert main(given) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert not output.exists()
