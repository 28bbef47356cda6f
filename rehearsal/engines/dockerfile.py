"""Reads from a Dockerfile what its image runs: command, variables, signal; builds nothing."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rehearsal.engines.runtime import EngineError

# Docker's own for an image that sets none.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLE = re.compile(r"(?<!\\)\$(?:\{(?P<braced>\w+)\}|(?P<bare>\w+))")


@dataclass(frozen=True)
class Stage:
    """What the containers of an image begin with."""

    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": DEFAULT_PATH})
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"


def read(file: Path, target: str | None = None) -> Stage:
    """Read the last stage of a Dockerfile, or the one named.

    Commands must be in their exec form, a JSON list: the other needs the image's own shell.
    Raises EngineError naming file, line and expectation.
    """
    stages: dict[str, Stage] = {}
    stage = Stage()
    name = ""
    for number, instruction, rest in _instructions(file):
        where = f"{file}:{number}"
        if instruction == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            stage = stages.get(words[0].lower(), Stage())
            name = words[2].lower() if len(words) > 2 else ""
        elif instruction == "ENV":
            stage = replace(stage, environment=_environment(where, rest, stage.environment))
        elif instruction == "ENTRYPOINT":
            # Docker forgets a base's command with it.
            stage = replace(stage, entry_point=_words(where, instruction, rest), command=())
        elif instruction == "CMD":
            stage = replace(stage, command=_words(where, instruction, rest))
        elif instruction == "STOPSIGNAL":
            stage = replace(stage, stop_signal=rest)
        stages[name] = stage
    if target is None:
        return stage
    if target.lower() not in stages:
        raise EngineError(f"{file}: expected a stage named {target}, got {', '.join(stages)}")
    return stages[target.lower()]


def _instructions(file: Path) -> Iterator[tuple[int, str, str]]:
    """Give each instruction with its line's number, its continuations joined."""
    held, first = "", 0
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("#"):
            continue
        held, first = (held + line, first) if held else (line, number)
        if held.rstrip().endswith("\\"):
            held = held.rstrip()[:-1] + " "
            continue
        instruction, _, rest = held.strip().partition(" ")
        if instruction:
            yield first, instruction.upper(), rest.strip()
        held = ""


def _environment(where: str, rest: str, known: Mapping[str, str]) -> Mapping[str, str]:
    name, _, value = rest.partition(" ")
    if "=" not in name:  # ENV NAME the value
        return {**known, name: _substituted(value.strip(), known)}
    found = dict(known)
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise EngineError(f"{where}: expected ENV NAME=value, got {rest!r}: {error}") from error
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise EngineError(f"{where}: expected ENV NAME=value, got {word!r}")
        # All of one instruction see the variables as they were before it.
        found[name] = _substituted(value, known)
    return found


def _substituted(value: str, known: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: known.get(match["braced"] or match["bare"], ""), value)


def _words(where: str, instruction: str, rest: str) -> tuple[str, ...]:
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise EngineError(
            f'{where}: expected {instruction} as a list, like ["python", "-m", "web"], got {rest!r}'
        )
    return tuple(words)
