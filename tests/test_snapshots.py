"""Every template is the one that was reviewed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Assembly

SNAPSHOTS = Path(__file__).parent / "snapshots"


def normalised(template: Path) -> str:
    """Sort the template, and take out the hashes that change with every edit of a source."""
    text = json.dumps(json.loads(template.read_text(encoding="utf-8")), indent=1, sort_keys=True)
    return re.sub(r"\b[0-9a-f]{64}\b", "<asset>", text) + "\n"


def test_every_template_is_the_one_that_was_reviewed(
    synthesized: Assembly, pytestconfig: pytest.Config
) -> None:
    now = {name: normalised(synthesized.path(name)) for name in synthesized.stacks()}
    if pytestconfig.getoption("--accept-snapshots"):
        for path in SNAPSHOTS.glob("*/*.json"):
            path.unlink()
        for name, text in now.items():
            path = SNAPSHOTS / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    reviewed = {
        f"{path.parent.name}/{path.stem}": path.read_text(encoding="utf-8")
        for path in SNAPSHOTS.glob("*/*.json")
    }
    assert sorted(now) == sorted(reviewed), "a stack came or went; see with: make snapshots"
    changed = [name for name in now if now[name] != reviewed[name]]
    assert not changed, f"{', '.join(changed)} changed; see with: make snapshots && git diff"
