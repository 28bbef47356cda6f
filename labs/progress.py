"""What is remembered of a lab from its start on: a file each, in .build/labs/ENVIRONMENT."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.cli import PROJECT
from ops.environment import Failed

FOLDER = PROJECT / ".build" / "labs"


@dataclass(frozen=True)
class Record:
    """A lab that was started; `hints` as many as were given.

    `cluster` is the identity of that which it was started on, or nothing where it needs none.
    """

    cluster: str
    remembered: dict[str, Any]
    hints: int = 0


@dataclass(frozen=True)
class Progress:
    """The records of one environment's labs."""

    environment: str
    parent: Path = FOLDER

    def path(self, number: int) -> Path:
        """Name the file of a lab."""
        return self.parent / self.environment / f"{number}.json"

    def read(self, number: int) -> Record | None:
        """Give a lab's record, if it was started; raises Failed for a file that is damaged."""
        path = self.path(number)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            record = Record(found["cluster"], found["remembered"], found.get("hints", 0))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _damaged(path, str(error)) from error
        if not (isinstance(record.remembered, dict) and isinstance(record.hints, int)):
            raise _damaged(path, "a value is of another kind")
        return record

    def write(self, number: int, record: Record) -> None:
        """Keep a record; whoever reads at the same time sees the old one or the new one, whole."""
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".json.new")
        new.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
        new.replace(path)

    def forget(self, number: int) -> None:
        """Remove a lab's record."""
        self.path(number).unlink(missing_ok=True)


def _damaged(path: Path, why: str) -> Failed:
    return Failed(
        f"{path}: expected what `python -m labs start` wrote there ({why}); "
        "remove the file, and start the lab again"
    )
