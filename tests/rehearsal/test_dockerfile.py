"""What an image would run is read from its Dockerfile, or refused by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rehearsal.engines import EngineError
from rehearsal.engines.dockerfile import DEFAULT_PATH, Stage, read
from tests.rehearsal.conftest import PROJECT


def stage(tmp_path: Path, text: str, target: str | None = None) -> Stage:
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    return read(file, target)


def test_the_services_own_dockerfile_is_understood() -> None:
    found = read(PROJECT / "service" / "web" / "Dockerfile")
    assert (found.entry_point, found.command) == ((), ("python", "-m", "web"))
    assert found.stop_signal == "SIGTERM"
    assert found.environment["PYTHONSAFEPATH"] == "1"
    assert found.environment["PATH"] == "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"


STAGES = """
FROM one AS first
ENV A=1
CMD ["first"]
FROM --platform=linux/amd64 two AS second
CMD ["second"]
FROM first
ENV B=2
"""


@pytest.mark.parametrize(
    ("target", "command", "variables"),
    [
        (None, "first", {"A": "1", "B": "2"}),
        ("first", "first", {"A": "1"}),
        ("Second", "second", {}),
    ],
)
def test_the_last_stage_counts_or_the_one_named(
    tmp_path: Path, target: str | None, command: str, variables: dict[str, str]
) -> None:
    found = stage(tmp_path, STAGES, target)
    assert found.command == (command,)
    assert found.environment == {"PATH": DEFAULT_PATH} | variables


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ENV A=b", {"A": "b"}),
        ("ENV A b c", {"A": "b c"}),
        ("ENV A=b C='d e'", {"A": "b", "C": "d e"}),
        ("ENV A=b \\\n    # a comment between\n    C=d", {"A": "b", "C": "d"}),
        ("ENV PATH=/own:$PATH", {"PATH": f"/own:{DEFAULT_PATH}"}),
        ("ENV A=b\nENV C=${A}c D=$A/d", {"A": "b", "C": "bc", "D": "b/d"}),
        ("env A=b", {"A": "b"}),
    ],
)
def test_variables_are_read_as_docker_reads_them(
    tmp_path: Path, line: str, expected: dict[str, str]
) -> None:
    found = stage(tmp_path, f"FROM base\n{line}\n").environment
    assert found == {"PATH": DEFAULT_PATH} | expected


def test_an_entry_point_forgets_the_command_before_it(tmp_path: Path) -> None:
    found = stage(tmp_path, 'FROM a\nCMD ["old"]\nENTRYPOINT ["/enter"]\nSTOPSIGNAL SIGINT\n')
    assert (found.entry_point, found.command, found.stop_signal) == (("/enter",), (), "SIGINT")


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("FROM a\n\nCMD python -m web", None, ":3: expected CMD as a list, .* got 'python -"),
        ('FROM a\nENTRYPOINT [1]', None, r":2: expected ENTRYPOINT as a list"),
        ("FROM a\nENV A=b C", None, r":2: expected ENV NAME=value, got 'C'"),
        ("FROM a\nENV A='b", None, r":2: expected ENV NAME=value"),
        ("FROM a AS b", "c", r": expected a stage named c, got b"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_file_and_line(
    tmp_path: Path, text: str, target: str | None, said: str
) -> None:
    with pytest.raises(EngineError, match=f"Dockerfile{said}"):
        stage(tmp_path, text, target)
