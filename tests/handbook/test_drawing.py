"""A picture is drawn whole, apart from itself, and the same each time."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handbook.drawing import DrawingError, Edge, Frame, Node, Picture, for_page, sentences, svg

SVG = "{http://www.w3.org/2000/svg}"


def picture(nodes: list[str], edges: list[tuple[str, str]], *frames: Frame) -> Picture:
    boxes = tuple(Node(key, key, (f"line of {key}",)) for key in nodes)
    return Picture("one", "One", boxes, tuple(Edge(*ends) for ends in edges), frames)


def boxes(drawn: str) -> list[tuple[float, float, float, float]]:
    """Give left, top, right and bottom of each box."""
    found = []
    for one in ET.fromstring(drawn).iter(f"{SVG}rect"):
        if one.get("class") == "box":
            x, y, width, height = (
                float(one.attrib[name]) for name in ("x", "y", "width", "height")
            )
            found.append((x, y, x + width, y + height))
    return found


KEYS = st.lists(
    st.from_regex(r"[a-z<&\"]{1,30}", fullmatch=True), min_size=1, max_size=9, unique=True
)


@given(KEYS, st.data())
def test_whatever_is_drawn_is_xml_and_no_box_covers_another(
    keys: list[str], data: st.DataObject
) -> None:
    ends = st.tuples(st.sampled_from(keys), st.sampled_from(keys)).filter(
        lambda two: two[0] != two[1]
    )
    edges = data.draw(st.lists(ends, max_size=14, unique=True)) if len(keys) > 1 else []
    drawn = svg(picture(keys, edges))
    root = ET.fromstring(drawn)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = boxes(drawn)
    assert len(found) == len(keys)
    for left, top, right, bottom in found:
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
    for one, other in combinations(found, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart
    arrows = [one.attrib for one in root.iter(f"{SVG}path") if one.get("class") == "arrow"]
    assert sorted((one["data-from"], one["data-to"]) for one in arrows) == sorted(edges)
    assert svg(picture(keys, edges)) == drawn


def test_what_stands_on_something_is_above_it() -> None:
    above, middle, below = boxes(
        svg(picture(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")]))
    )
    assert above[3] < middle[1]
    assert middle[3] < below[1]


def test_a_frame_holds_its_boxes_and_its_title() -> None:
    drawn = svg(
        picture(["a", "b"], [], Frame("a title longer than what it holds " * 2, ("a", "b")))
    )
    (frame,) = (
        one for one in ET.fromstring(drawn).iter(f"{SVG}rect") if one.get("class") == "frame"
    )
    left, width = float(frame.attrib["x"]), float(frame.attrib["width"])
    assert left >= 0
    assert all(left < one[0] and one[2] < left + width for one in boxes(drawn))


def test_it_says_in_words_what_it_shows() -> None:
    nodes = (Node("a", "A", ("two", "lines"), "Stack"), Node("b", "B"), Node("c", "C"))
    edges = (Edge("a", "b"), Edge("a", "c"), Edge("b", "c", "sends"))
    shown = Picture("one", "One", nodes, edges, (Frame("Both", ("b", "c")),), "stands on")
    assert sentences(shown) == [
        "**A** (Stack): two; lines. stands on: B, C.",
        "**B**. sends: C.",
        "**C**.",
        "**Both** holds B, C.",
    ]
    description = ET.fromstring(svg(shown)).find(f"{SVG}desc")
    assert description is not None
    assert description.text == " ".join(sentences(shown)).replace("**", "")


def test_it_is_readable_light_and_dark_by_itself_and_leaves_a_page_its_own_colours() -> None:
    drawn = svg(picture(["a"], []))
    assert "@media (prefers-color-scheme: dark)" in drawn
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", drawn)
    assert "--ink:" not in for_page(drawn)
    assert "var(--ink)" in for_page(drawn)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(DrawingError, match=r"^one: expected a box's key, got 'b'$"):
        picture(["a"], [("a", "b")])
    with pytest.raises(DrawingError, match=r"^one: expected one box a key, got two: a$"):
        picture(["a", "a"], [])
    with pytest.raises(DrawingError, match=r"^one: expected an arrow to another box, got a$"):
        svg(picture(["a"], [("a", "a")]))
