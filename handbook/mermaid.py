"""Reads the flowcharts of Mermaid that the documents use, so that the site draws them itself.

GitHub draws a `mermaid` fence with Mermaid's own script. That script is three megabytes, so the
site does without it, and refuses what is more than boxes and arrows.
"""

from __future__ import annotations

import re

from handbook.drawing import DrawingError, Edge, Node, Picture

_BOX = re.compile(
    r"(?P<key>\w+)\s*(?:\[\((?P<store>[^)]*)\)\]|\[(?P<box>[^\]]*)\]|"
    r"\(\((?P<round>[^)]*)\)\)|\((?P<soft>[^)]*)\))?"
)
_ARROW = re.compile(r"\s*(?:-\.\s*(?P<dotted>[^|.]*?)\s*\.->|-\.->|-->)(?:\|(?P<says>[^|]*)\|)?\s*")


def read(source: str, *, name: str) -> Picture:
    """Read a flowchart; whichever way it leads, it is drawn downwards.

    Raises DrawingError naming the line that is more than boxes with arrows between them.
    """
    first, *rest = [line.strip() for line in source.strip().splitlines()]
    if not re.fullmatch(r"(flowchart|graph) (LR|TB|TD|RL|BT)", first):
        raise DrawingError(f"{name}: expected a flowchart, got {first!r}")
    labels: dict[str, str] = {}
    edges: list[Edge] = []
    for line in filter(None, rest):
        _read_line(line, labels, edges, name)
    nodes = []
    for key, label in labels.items():
        title, *lines = re.split(r"<br\s*/?>", label)
        nodes.append(Node(key, title, tuple(lines)))
    return Picture(name, f"A flowchart: {', '.join(labels)}", tuple(nodes), tuple(edges))


def _read_line(line: str, labels: dict[str, str], edges: list[Edge], name: str) -> None:
    place, before, says = 0, "", ""
    while True:
        box = _BOX.match(line, place)
        if not box:
            raise DrawingError(f"{name}: expected boxes and arrows only, got {line!r}")
        key = box["key"]
        label = next((one for one in box.groups()[1:] if one is not None), None)
        if label is not None or key not in labels:
            labels[key] = (label or key).strip('"')
        if before:
            edges.append(Edge(before, key, says))
        place = box.end()
        if not line[place:].strip():
            return
        arrow = _ARROW.match(line, place)
        if not arrow:
            raise DrawingError(f"{name}: expected boxes and arrows only, got {line!r}")
        before, says, place = key, arrow["says"] or arrow["dotted"] or "", arrow.end()
