"""Reads the commands of a lab's page, and runs them as a person would: in one shell, in order.

A block is ```console, its commands come after `$ `; a line that ends in a backslash goes on in the
next. What comes after `console` says where a block is for:

    console             anywhere, and each command succeeds
    console failing     anywhere, and each command fails, which is what it shows
    console rehearsal   what only a rehearsal can do
    console account     what only an account can do, so no test runs it
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.conftest import PROJECT

PAGES = PROJECT / "docs" / "labs"
KINDS = {"", "failing", "rehearsal", "account"}
PROMPT = "$ "


@dataclass(frozen=True)
class Command:
    """One command of a page, as it stands there from `line` on, and what its block is for."""

    text: str
    kind: str
    line: int


@dataclass(frozen=True)
class Done:
    """What a command gave: its exit code, and what it said on both streams."""

    code: int
    said: str


def commands(page: Path) -> list[Command]:
    """Give a page's commands, in their order; fails for a block that nobody could follow."""
    found: list[Command] = []
    kind: str | None = None
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if kind is None:
            if begins := re.fullmatch(r"\s*```console ?(\w*)", line):
                kind = begins[1]
                assert kind in KINDS, f"{page.name}:{number}: {kind}: expected one of {KINDS}"
        elif line.strip() == "```":
            kind = None
        elif line.startswith(PROMPT):
            found.append(Command(line.removeprefix(PROMPT), kind, number))
        elif found and found[-1].text.endswith("\\"):
            last = found.pop()
            found.append(Command(f"{last.text}\n{line}", kind, last.line))
    assert kind is None, f"{page.name}: its last block does not end"
    return found


@dataclass
class Shell:
    """A bash session for the length of a `with`; `prelude` runs first, and must succeed."""

    prelude: str = ""
    folder: Path = PROJECT
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Shell:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=self.folder, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        done = self.run(self.prelude or "true", seconds=10)
        assert done.code == 0, done.said
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # With what it left running in the background.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def run(self, text: str, *, seconds: float) -> Done:
        """Run a command, in the shell itself so that what it exports stays; fail when it is late.

        The command reads nothing of what is typed after it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = uuid.uuid4().hex
        typed = f"{{ {text}\n}} </dev/null\nprintf '\\n{mark} %s\\n' $?\n"
        self._process.stdin.write(typed.encode())
        self._process.stdin.flush()
        said, until = b"", time.monotonic() + seconds
        while (end := re.search(rb"\n" + mark.encode() + rb" (\d+)\n", said)) is None:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, left))
            assert ready, f"{text}: expected an end within {seconds:g} s; it said: {said.decode()}"
            some = os.read(self._process.stdout.fileno(), 1 << 16)
            assert some, f"{text}: the shell has ended; it said: {said.decode()}"
            said += some
        return Done(int(end[1]), said[: end.start()].decode())


def follow(page: Path, shell: Shell, *, seconds: float, kinds: frozenset[str]) -> list[Done]:
    """Run every command of a page whose block is of one of `kinds`; fail where one ends otherwise.

    `seconds` is how long each may take.
    """
    answers = []
    for command in commands(page):
        if command.kind not in kinds:
            continue
        done = shell.run(command.text, seconds=seconds)
        place = f"{page.name}:{command.line}: {command.text}\n{done.said}"
        assert (done.code != 0) is (command.kind == "failing"), f"{place}\nended with {done.code}"
        answers.append(done)
    return answers
