"""Where a rehearsal keeps its pid, its token, its progress and its log, so that others find it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

LOOKING_SECONDS = 0.5
# How a command reaches whoever plays an environment, and where it shows that it may.
COMMANDS = "/_rehearsal/"
TOKEN_HEADER = "X-Drydock-Token"  # noqa: S105 - a header's name
FOLDER = Path(__file__).parent.parent / ".build" / "rehearsal"


@dataclass(frozen=True)
class Progress:
    """One line of what a rehearsal did; `at` in seconds since the epoch."""

    at: float
    text: str


class Folder:
    """The files of one environment's rehearsal; whoever plays it holds the lock while it lives."""

    def __init__(self, environment: str, parent: Path = FOLDER) -> None:
        self.environment = environment
        self.path = parent / environment
        self._writing = threading.Lock()

    @property
    def owner(self) -> str:
        """Tell this rehearsal's containers and networks from those of any other folder's."""
        digest = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()
        return f"{self.environment}-{digest[:8]}"

    @property
    def log(self) -> Path:
        """What the process wrote, errors with their traces."""
        return self.path / "log"

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the lock, and begin anew; raise BlockingIOError where somebody has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as lock:
            _take(lock)
            for name in ("status.json", "progress.jsonl", "token"):
                (self.path / name).unlink(missing_ok=True)
            # Whoever began this process has it open, to write more to it.
            self.log.write_bytes(b"")
            (self.path / "pid").write_text(str(os.getpid()), encoding="ascii")
            kept = os.open(self.path / "token", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(kept, "w") as file:
                file.write(secrets.token_urlsafe(24))
            yield

    def is_played(self) -> bool:
        """Whether a process plays it; the kernel lets go of the lock when that ends, however."""
        lock = self.path / "lock"
        if not lock.exists():
            return False
        with lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def token(self) -> str:
        """Give what a command has to show."""
        return (self.path / "token").read_text(encoding="ascii")

    def write_status(self, **status: object) -> None:
        """Say how far it is; readers never see half of it."""
        with self._writing:
            new = self.path / "status.json.new"
            new.write_text(json.dumps(status), encoding="utf-8")
            new.replace(self.path / "status.json")

    def status(self) -> Mapping[str, Any]:
        """Give what write_status was last told, or nothing."""
        with contextlib.suppress(FileNotFoundError):
            found: Mapping[str, Any] = json.loads((self.path / "status.json").read_text("utf-8"))
            return found
        return {}

    def say(self, text: str) -> None:
        """Add a line to the progress."""
        line = json.dumps({"at": time.time(), "text": text})
        with (self.path / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def progress(self, skip: int = 0) -> Iterator[Progress]:
        """Give the progress so far, without the first lines."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.path / "progress.jsonl").read_text(encoding="utf-8")
            # What is not a whole line yet is read the next time.
            for line in text[: text.rfind("\n") + 1].splitlines()[skip:]:
                yield Progress(**json.loads(line))

    def end(self, *, seconds: float) -> bool:
        """Ask the process to end, and wait for it; say whether it did."""
        if not self.is_played():
            return True
        pid = int((self.path / "pid").read_text(encoding="ascii"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + seconds
        while self.is_played():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def remove(self) -> None:
        """Remove the files of a rehearsal that has ended; its log and progress stay."""
        for name in ("status.json", "pid", "token", "lock"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("metadata", "processes"):
            shutil.rmtree(self.path / name, ignore_errors=True)


def _take(lock: IO[str]) -> None:
    """Take a lock; who only looks whether it is taken lets go of it at once."""
    until = time.monotonic() + LOOKING_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
