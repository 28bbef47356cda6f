"""python -m ops: its words, its exit codes, what goes to stdout, and how it runs the CLI."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ops import __main__ as ops
from ops import classroom, cli
from ops.environment import Environment, Failed
from ops.preflight import Cleared
from tests.conftest import Values
from tests.ops.world import World


class Terminal(StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def destroyed(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a destroy pass its checks; what was destroyed then."""
    done: list[str] = []

    def destroy(cleared: Cleared, **_: object) -> int:
        done.append(cleared.environment.name)
        return 0

    monkeypatch.setattr(ops, "clear_destroy", lambda *_, **__: world.cleared)
    monkeypatch.setattr(ops, "destroy", destroy)
    return done


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_the_url_is_all_that_stdout_gets(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ops, "clear_deploy", lambda *_, **__: world.cleared)
    monkeypatch.setattr(ops, "deploy", lambda *_, **__: (0, "http://balancer"))
    assert ops.main(["deploy", "sandbox"]) == 0
    assert capsys.readouterr().out == "http://balancer\n"


def test_the_clis_code_is_passed_on(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ops, "clear_deploy", lambda *_, **__: world.cleared)
    monkeypatch.setattr(ops, "deploy", lambda *_, **__: (7, None))
    assert ops.main(["deploy", "sandbox"]) == 7
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", ["deploy", "destroy"])
def test_a_refusal_is_a_line_a_reason_and_no_traceback(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ops, f"clear_{verb}", raising(Failed("one", "two")))
    assert ops.main([verb, "sandbox"]) == 1
    assert capsys.readouterr() == ("", "one\ntwo\n")


@pytest.mark.parametrize("verb", ["deploy", "destroy"])
def test_ctrl_c_says_how_to_go_on(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ops, f"clear_{verb}", raising(KeyboardInterrupt()))
    assert ops.main([verb, "sandbox"]) == 130
    assert f"make {verb} ENV=sandbox" in capsys.readouterr().err


def test_an_error_of_aws_on_the_way_says_how_to_go_on(
    destroyed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ClientError({"Error": {"Code": "Throttling", "Message": "slow"}}, "DescribeStacks")
    monkeypatch.setattr(ops, "destroy", raising(error))
    assert ops.main(["destroy", "sandbox", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "Throttling" in said
    assert "make destroy ENV=sandbox" in said
    assert destroyed == []


def test_a_destroy_wants_the_name_typed(
    destroyed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert ops.main(["destroy", "sandbox"]) == 1
    assert "not confirmed; nothing was changed" in capsys.readouterr().err
    assert destroyed == []
    monkeypatch.setattr(sys, "stdin", Terminal("sandbox\n"))
    assert ops.main(["destroy", "sandbox"]) == 0
    assert "in account 123456789012. Type sandbox" in capsys.readouterr().err
    assert destroyed == ["sandbox"]


def test_a_destroy_that_nobody_can_confirm_is_refused(
    destroyed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("sandbox\n"))
    assert ops.main(["destroy", "sandbox"]) == 1
    assert "python -m ops destroy sandbox --yes" in capsys.readouterr().err
    assert destroyed == []


def test_yes_is_a_confirmation(destroyed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO())
    assert ops.main(["destroy", "sandbox", "--yes"]) == 0
    assert destroyed == ["sandbox"]


def test_the_cli_runs_in_the_project_with_its_words_and_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    npx = tmp_path / "npx"
    npx.write_text('#!/bin/sh\npwd\necho "$@"\nexit 5\n')
    npx.chmod(0o755)
    # The environment's own tools come first, whether or not it is activated.
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.chdir(tmp_path)
    assert cli.run(["deploy", "Sandbox/*"]) == 5
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"{cli.PROJECT}\ncdk deploy Sandbox/*\n"


def test_a_cli_that_a_signal_ended_counts_as_a_shell_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npx = tmp_path / "npx"
    npx.write_text("#!/bin/sh\nkill -TERM $$\n")
    npx.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert cli.run([]) == 128 + 15


def test_ops_stands_without_the_cdk() -> None:
    for path in sorted((cli.PROJECT / "ops").rglob("*.py")):
        imports = [
            line for line in path.read_text().splitlines() if line.startswith(("import", "from"))
        ]
        assert not [
            line for line in imports if line.split()[1].split(".")[0] in {"aws_cdk", "stacks"}
        ], path


@pytest.fixture
def project(tmp_path: Path, values: Values, monkeypatch: pytest.MonkeyPatch, world: World) -> Path:
    """The project's settings for a command, and moto's account for its clients."""
    written = {"context": {"environments": values}}
    (tmp_path / "cdk.json").write_text(json.dumps(written), encoding="utf-8")
    monkeypatch.setattr(cli, "PROJECT", tmp_path)
    monkeypatch.setattr(ops, "_connect", lambda _: world.aws)
    return tmp_path


def test_a_class_is_compared_with_the_templates_that_were_just_made(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[object, ...]] = []

    def synthesize(cdk: object, directory: Path) -> str:
        given.append((cdk, directory))
        return "graph"

    def report(_: object, environment: Environment, graph: str, **options: object) -> int:
        given.append((environment.name, graph, options["learners"]))
        return 1

    monkeypatch.setattr(classroom, "synthesize", synthesize)
    monkeypatch.setattr(classroom, "report", report)
    assert ops.main(["class", "sandbox", "--learners", "30"]) == 1
    assert given == [(cli.run, project / ".build" / "class"), ("sandbox", "graph", 30)]


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_class_has_a_learner(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ops.main(["class", "sandbox", "--learners", number])
    assert "--learners" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_class_of_no_environment_is_said_before_anything_is_asked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ops.main(["class", "harbour", "--learners", "2"]) == 1
    assert "no such environment" in capsys.readouterr().err
    assert world.calls == []


@pytest.mark.usefixtures("project")
def test_a_sweep_deletes_nothing_that_is_not_confirmed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.make_stack("ana-Sandbox-Registry", {"Q": {"Type": "AWS::SQS::Queue"}}, tag="ana-sandbox")
    monkeypatch.setattr(sys, "stdin", Terminal("sandbox\n"))
    assert ops.main(["sweep", "sandbox"]) == 1
    assert "DeleteStack" not in world.calls
    assert "stack ana-Sandbox-Registry" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert ops.main(["sweep", "sandbox", "--delete"]) == 1
    assert "not confirmed" in capsys.readouterr().err
    assert "DeleteStack" not in world.calls
    assert ops.main(["sweep", "sandbox", "--delete", "--yes"]) == 0
    assert "DeleteStack" in world.calls
    assert ops.main(["sweep", "sandbox"]) == 0
