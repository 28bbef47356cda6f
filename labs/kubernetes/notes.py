"""What a manifest does not say by itself: what has no counterpart, differs, or is yours to make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

CONCEPTS = "https://kubernetes.io/docs/concepts"
TASKS = "https://kubernetes.io/docs/tasks"
ECS_GUIDE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide"
EKS_GUIDE = "https://docs.aws.amazon.com/eks/latest/userguide"
ALB_CONTROLLER = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"

NO_COUNTERPART = "no counterpart"
DIFFERS = "differs"
YOURS = "yours to create"
KINDS = (YOURS, DIFFERS, NO_COUNTERPART)

# What only a deployment has stands in templates as ${Stack.Resource}.
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Note:
    """One of them: its kind, the property that it is about, what to know, and a page to read."""

    kind: str
    place: str
    says: str
    source: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: {self.says}" + (f" ({self.source})" if self.source else "")
        return _PLACEHOLDER.sub(r"\1", text)


@dataclass
class Notes:
    """Those of one service, or of what its services share, in the order in which they come up."""

    of: str
    found: list[Note] = field(default_factory=list)

    def none(self, place: str, says: str, source: str = "") -> None:
        """Note a property that has no counterpart in a manifest."""
        self._add(NO_COUNTERPART, place, says, source)

    def differs(self, place: str, says: str, source: str = "") -> None:
        """Note a counterpart that does not behave the same."""
        self._add(DIFFERS, place, says, source)

    def yours(self, place: str, says: str, source: str = "") -> None:
        """Note what must be there before the manifests work."""
        self._add(YOURS, place, says, source)

    def _add(self, kind: str, place: str, says: str, source: str) -> None:
        note = Note(kind, f"{self.of}.{place}" if place else self.of, says, source)
        if note not in self.found:
            self.found.append(note)
