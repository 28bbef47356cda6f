"""The learner's cdk.local.json: a lab's values are laid over it, and taken off again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.cli import PROJECT
from ops.environment import Failed
from settings import SettingsError, merge, read

LOCAL = PROJECT / "cdk.local.json"
KEPT = "own.json"
CHANGED = "cdk.local.changed.json"


@dataclass(frozen=True)
class Own:
    """What `local` was before a lab's values came over it, kept in `folder`, an environment's."""

    folder: Path
    local: Path

    def put(self, values: Path) -> Iterator[str]:
        """Lay a file's values over the learner's own, in place of those of an earlier file.

        Says what was done. Raises Failed, with nothing changed, where a file cannot be read.
        """
        kept = self._kept()
        own = kept["own"] if kept else _text(self.local)
        try:
            over = read(values)
            # A file of the learner's is read by its name, so that a fault in it is told by that.
            base = json.loads(own or "{}") if kept or own is None else read(self.local)
        except SettingsError as error:
            raise Failed(*error.faults) from error
        yield from self._save_changes(kept)
        text = json.dumps(merge(base, over), indent=2, ensure_ascii=False) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"own": own, "put": text}), encoding="utf-8")
        new.replace(self._path)
        self.local.write_text(text, encoding="utf-8")
        over_what = "where there was no such file" if own is None else "over your own"
        yield f"{self.local.name} has the values of {values} now, {over_what}."

    def back(self) -> Iterator[str]:
        """Make the file what it was before the first `put`, or no file; say so if it was not."""
        kept = self._kept()
        if kept is None:
            return
        yield from self._save_changes(kept)
        if kept["own"] is None:
            self.local.unlink(missing_ok=True)
            yield f"{self.local.name} is gone, as there was none before; deploy once more."
        else:
            self.local.write_text(kept["own"], encoding="utf-8")
            yield f"{self.local.name} is your own again; deploy once more."
        self._path.unlink()

    @property
    def _path(self) -> Path:
        return self.folder / KEPT

    def _kept(self) -> dict[str, str | None] | None:
        """Give the text of the learner's own file and of what was made of it; None before that."""
        text = _text(self._path)
        if text is None:
            return None
        try:
            found = json.loads(text)
            return {"own": found["own"], "put": found["put"]}
        except (ValueError, KeyError, TypeError) as error:
            raise Failed(
                f"{self._path}: expected what `python -m labs settings put` wrote there "
                f"({error!r}); make {self.local.name} what you want it to be, and remove that file"
            ) from error

    def _save_changes(self, kept: dict[str, str | None] | None) -> Iterator[str]:
        """Keep what somebody wrote into the file since, beside the lab's other files."""
        now = _text(self.local)
        if kept and now is not None and now not in kept.values():
            changed = self.folder / CHANGED
            changed.write_text(now, encoding="utf-8")
            yield f"{self.local.name} was changed since; what was in it is in {changed}."


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
