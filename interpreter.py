"""Refuses another Python than the project's own; imported for that before any library is.

Another's boto3 drops what its older models do not know, and a command that writes back what it has
read would then change a service. Ctrl-C while libraries load is said in a word, too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).parent


def trouble(prefix: str, own: Path) -> str:
    """Say what is wrong with an interpreter's prefix beside the project's `.venv`, or nothing."""
    if not own.exists() or Path(prefix).resolve() == own.resolve():
        return ""
    return f"this Python is {prefix}, not the project's own; source {own}/bin/activate"


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _hook
if said := trouble(sys.prefix, PROJECT / ".venv"):
    sys.exit(said)
