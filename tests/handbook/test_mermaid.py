"""The flowcharts of the documents are read as GitHub reads them, or refused."""

from __future__ import annotations

import pytest

from handbook import mermaid
from handbook.drawing import DrawingError, Edge, Node


def test_boxes_and_arrows_are_read() -> None:
    read = mermaid.read(
        "flowchart LR\n"
        "  a[one<br>two] --> b((you)) -->|says, more| c\n"
        "  a -.image.-> store[(Registry)]\n"
        "  b -.-> a\n",
        name="x",
    )
    assert read.nodes == (
        Node("a", "one", ("two",)), Node("b", "you"), Node("c", "c"), Node("store", "Registry"),
    )  # fmt: skip
    assert read.edges == (
        Edge("a", "b"), Edge("b", "c", "says, more"), Edge("a", "store", "image"), Edge("b", "a"),
    )  # fmt: skip


@pytest.mark.parametrize("line", ["subgraph one [Title]", "a --- b", "a -->", "a{choice} --> b"])
def test_what_is_more_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DrawingError, match="x: expected boxes and arrows only, got '") as refused:
        mermaid.read(f"flowchart TB\n{line}", name="x")
    assert line in str(refused.value)


def test_another_kind_of_diagram_is_refused() -> None:
    with pytest.raises(DrawingError, match=r"^x: expected a flowchart, got 'sequenceDiagram'$"):
        mermaid.read("sequenceDiagram\n  a->>b: hello", name="x")
