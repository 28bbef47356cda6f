"""Draws a directed graph as SVG: boxes in rows, arrows downwards; and says the same in words.

The bytes depend on nothing but the picture. Text is measured by a wide font's mean, so that a box
holds its text whichever sans-serif font a reader has.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from html import escape
from itertools import pairwise

# Pixels. A page's column is about 720 of them wide.
_TITLE, _LINE, _TAG = 7.7, 6.6, 6.1
_ROW = 17.0
_PADDING = 12.0
_GAP = 26.0
_BETWEEN = 46.0
_BEND = 14.0
_MARGIN = 8.0
_COLUMNS = 30

# Its colours are one style and its shapes another, since a page sets the first by its own.
_COLOURS = """
svg.diagram { --paper: #ffffff; --box: #f7f8fa; --line: #6b7280; --ink: #1b1f24; --faint: #57606a;
  --c0: #6b7280; --c1: #1d6fb8; --c2: #7a4fc0; --c3: #b5590b; --c4: #0b7f86; --c5: #2f7d32; }
@media (prefers-color-scheme: dark) {
  svg.diagram { --paper: #16191d; --box: #20252b; --line: #98a2ae; --ink: #e8ebee; --faint: #a8b1bb;
    --c0: #98a2ae; --c1: #62b0f4; --c2: #b799f2; --c3: #f2a45c; --c4: #4fc7cf; --c5: #7bcb7f; }
}
"""
_SHAPES = """
svg.diagram .paper, svg.diagram .label { fill: var(--paper); }
svg.diagram .box { fill: var(--box); stroke-width: 1.5; }
svg.diagram .frame { fill: none; stroke: var(--c3); stroke-dasharray: 5 4; }
svg.diagram .arrow { fill: none; stroke: var(--line); stroke-width: 1.4; }
svg.diagram .tip { fill: var(--line); }
svg.diagram text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  fill: var(--ink); text-anchor: middle; }
svg.diagram .title { font-size: 13px; font-weight: 600; }
svg.diagram .tag { font-size: 10.5px; }
svg.diagram .says { font-size: 11px; fill: var(--faint); }
"""


class DrawingError(ValueError):
    """Says what in a picture cannot be drawn, and what was expected."""


@dataclass(frozen=True)
class Node:
    """A box: its title, lines below it, what it belongs to, and which of six colours it has."""

    key: str
    title: str
    lines: tuple[str, ...] = ()
    tag: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Edge:
    """An arrow between the keys of two boxes, and what it says."""

    start: str
    end: str
    says: str = ""


@dataclass(frozen=True)
class Frame:
    """A dashed line around boxes of one row."""

    title: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """What is drawn; `name` is its file's, and what its ids in a page begin with.

    `arrow` says what an arrow without words means.
    """

    name: str
    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    frames: tuple[Frame, ...] = ()
    arrow: str = "leads to"

    def __post_init__(self) -> None:
        keys = [node.key for node in self.nodes]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise DrawingError(f"{self.name}: expected one box a key, got two: {min(twice)}")
        ends = {end for edge in self.edges for end in (edge.start, edge.end)}
        ends |= {key for frame in self.frames for key in frame.keys}
        if unknown := ends - set(keys):
            raise DrawingError(f"{self.name}: expected a box's key, got {min(unknown)!r}")


def sentences(picture: Picture) -> list[str]:
    """Say all that the picture shows, a box a sentence in the order of the picture; Markdown."""
    titles = {node.key: node.title for node in picture.nodes}
    found = []
    for node in picture.nodes:
        said = f"**{node.title}**"
        if node.tag:
            said += f" ({node.tag})"
        if node.lines:
            said += f": {'; '.join(node.lines)}"
        said += "."
        by_meaning: dict[str, list[str]] = {}
        for edge in picture.edges:
            if edge.start == node.key:
                by_meaning.setdefault(edge.says or picture.arrow, []).append(titles[edge.end])
        said += "".join(f" {says}: {', '.join(ends)}." for says, ends in by_meaning.items())
        found.append(said)
    for frame in picture.frames:
        held = ", ".join(titles[key] for key in frame.keys)
        found.append(f"**{frame.title}** holds {held}.")
    return found


def for_page(document: str) -> str:
    """Give an SVG document of `svg` without its colours, to be set into a page that has them."""
    return re.sub(r"<style>.*?</style>\n", "", document, count=1, flags=re.DOTALL)


def svg(picture: Picture) -> str:
    """Draw it: a whole SVG document, light or dark as its reader's system is."""
    placed = _Layout(picture)
    width, height = placed.width, placed.height
    body = [
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}" rx="8"/>',
        *(_frame(frame, placed) for frame in picture.frames),
        *(_arrow(edge, points, picture.name) for edge, points in placed.routes),
        *(_box(node, placed) for node in picture.nodes),
        *_labels(placed.routes),
    ]
    said = " ".join(sentences(picture)).replace("**", "")
    name = picture.name
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" role="img" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'aria-labelledby="{name}-title {name}-text">',
            f'<title id="{name}-title">{escape(picture.title)}</title>',
            f'<desc id="{name}-text">{escape(said)}</desc>',
            f"<style>{_COLOURS}</style>",
            f"<style>{_SHAPES}</style>",
            f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
            *body,
            "</svg>\n",
        ]
    )


Point = tuple[float, float]


@dataclass
class _Spot:
    """A box, or a bend of an arrow that passes a row; x and y are its middle and its top."""

    width: float
    height: float
    lines: tuple[str, ...] = ()
    x: float = 0.0
    y: float = 0.0


def _wrapped(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        part
        for line in lines
        for part in textwrap.wrap(line, _COLUMNS, break_long_words=False, break_on_hyphens=False)
    )


def _measured(node: Node) -> _Spot:
    lines = _wrapped(node.lines)
    widths = [len(node.title) * _TITLE, len(node.tag) * _TAG, *(len(one) * _LINE for one in lines)]
    rows = 1 + len(lines) + bool(node.tag)
    return _Spot(max(widths) + 2 * _PADDING, rows * _ROW + _PADDING, lines)


@dataclass
class _Layout:
    """Where everything of a picture is."""

    picture: Picture
    spots: dict[str, _Spot] = field(default_factory=dict)
    routes: list[tuple[Edge, list[Point]]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def __post_init__(self) -> None:
        self.spots = {node.key: _measured(node) for node in self.picture.nodes}
        downwards = _without_circles(self.picture)
        rows = _rows(self.spots, downwards)
        chains = self._bends(rows, downwards)
        links = [link for chain in chains for link in pairwise(chain)]
        ordered = _ordered(rows, links)
        self._place_rows(ordered, links)
        self._route(downwards, chains)

    def _bends(self, rows: list[list[str]], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
        """Give each arrow a spot in every row that it passes; add these to the rows."""
        row_of = {key: index for index, row in enumerate(rows) for key in row}
        chains = []
        for number, (start, end) in enumerate(edges):
            chain = [start]
            for index in range(row_of[start] + 1, row_of[end]):
                bend = f"|{number}|{index}"
                self.spots[bend] = _Spot(_BEND, 0.0)
                rows[index].append(bend)
                chain.append(bend)
            chains.append([*chain, end])
        return chains

    def _place_rows(self, rows: list[list[str]], links: Sequence[tuple[str, str]]) -> None:
        framed = {key for frame in self.picture.frames for key in frame.keys}
        top = _MARGIN
        said = {edge.end for edge in self.picture.edges if edge.says}
        for row in rows:
            top += _PADDING if framed & set(row) else 0.0
            top += _ROW if said & set(row) else 0.0
            tallest = max(self.spots[key].height for key in row)
            for key in row:
                # An arrow that passes a row runs straight down between its boxes.
                if key.startswith("|"):
                    self.spots[key].height = tallest
                self.spots[key].y = top + (tallest - self.spots[key].height) / 2
            top += tallest + _BETWEEN
            top += _PADDING + _ROW if framed & set(row) else 0.0
        self.height = top - _BETWEEN + _MARGIN
        near = _neighbours(links)
        for row in rows:
            self._settle(row, dict.fromkeys(row, 0.0))
        for turn in range(40):
            for row in rows if turn % 2 == 0 else reversed(rows):
                wished = {
                    key: _mean([self.spots[one].x for one in near.get(key, ())], self.spots[key].x)
                    for key in row
                }
                self._settle(row, wished)
        sides = [(spot.x - spot.width / 2, spot.x + spot.width / 2) for spot in self.spots.values()]
        sides += [self.sides(frame) for frame in self.picture.frames]
        left = min(one for one, _ in sides)
        for spot in self.spots.values():
            spot.x += _MARGIN - left
        self.width = max(one for _, one in sides) - left + 2 * _MARGIN

    def sides(self, frame: Frame) -> tuple[float, float]:
        """Give a frame's left and right, so that its boxes and its title are between them."""
        spots = [self.spots[key] for key in frame.keys]
        left = min(spot.x - spot.width / 2 for spot in spots) - _PADDING
        right = max(spot.x + spot.width / 2 for spot in spots) + _PADDING
        more = max(len(frame.title) * _LINE + 2 * _PADDING - (right - left), 0.0) / 2
        return left - more, right + more

    def _settle(self, row: Sequence[str], wished: Mapping[str, float]) -> None:
        """Bring each as near to its wish as those beside it allow: least squares, in order."""
        offsets, right = [], 0.0
        for key in row:
            half = self.spots[key].width / 2
            offsets.append(right + half)
            right += 2 * half + _GAP
        blocks: list[list[float]] = []
        for key, offset in zip(row, offsets, strict=True):
            blocks.append([wished[key] - offset])
            while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
                last = blocks.pop()
                blocks[-1] += last
        shifts = [_mean(block) for block in blocks for _ in block]
        for key, offset, shift in zip(row, offsets, shifts, strict=True):
            self.spots[key].x = offset + shift

    def _route(self, downwards: Sequence[tuple[str, str]], chains: Sequence[Sequence[str]]) -> None:
        leaving: dict[str, list[tuple[float, int]]] = {}
        entering: dict[str, list[tuple[float, int]]] = {}
        for number, chain in enumerate(chains):
            leaving.setdefault(chain[0], []).append((self.spots[chain[1]].x, number))
            entering.setdefault(chain[-1], []).append((self.spots[chain[-2]].x, number))
        starts, ends = self._ports(leaving), self._ports(entering)
        for number, (edge, chain) in enumerate(zip(self.picture.edges, chains, strict=True)):
            first, last = self.spots[chain[0]], self.spots[chain[-1]]
            points = [(starts[number], first.y + first.height)]
            for bend in map(self.spots.__getitem__, chain[1:-1]):
                points += [(bend.x, bend.y), (bend.x, bend.y + bend.height)]
            points += [(ends[number], last.y)]
            turned = downwards[number] != (edge.start, edge.end)
            self.routes.append((edge, points[::-1] if turned else points))

    def _ports(self, arrows: Mapping[str, list[tuple[float, int]]]) -> dict[int, float]:
        """Spread a box's arrows over its side, in the order of where they come from."""
        found = {}
        for key, wanted in arrows.items():
            spot = self.spots[key]
            step = min(spot.width * 0.7 / max(len(wanted) - 1, 1), 40.0)
            for index, (_, number) in enumerate(sorted(wanted)):
                found[number] = spot.x + (index - (len(wanted) - 1) / 2) * step
        return found


def _mean(values: Sequence[float], default: float = 0.0) -> float:
    return sum(values) / len(values) if values else default


def _neighbours(links: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    near: dict[str, list[str]] = {}
    for start, end in links:
        near.setdefault(start, []).append(end)
        near.setdefault(end, []).append(start)
    return near


def _without_circles(picture: Picture) -> list[tuple[str, str]]:
    """Give the ends of each arrow, turned where it would close a circle, so that all lead down."""
    edges: list[tuple[str, str]] = []
    for edge in picture.edges:
        if edge.start == edge.end:
            raise DrawingError(f"{picture.name}: expected an arrow to another box, got {edge.end}")
        try:
            _sorted([*edges, (edge.start, edge.end)])
            edges.append((edge.start, edge.end))
        except CycleError:
            edges.append((edge.end, edge.start))
    return edges


def _sorted(edges: Iterable[tuple[str, str]]) -> list[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for start, end in edges:
        sorter.add(end, start)
    return list(sorter.static_order())


def _rows(keys: Iterable[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Put each box into the row below the lowest that leads to it."""
    row_of = dict.fromkeys(keys, 0)
    before: dict[str, list[str]] = {}
    for start, end in edges:
        before.setdefault(end, []).append(start)
    for key in _sorted(edges):
        row_of[key] = max((row_of[one] + 1 for one in before.get(key, ())), default=0)
    rows: list[list[str]] = [[] for _ in range(max(row_of.values(), default=-1) + 1)]
    for key, index in row_of.items():
        rows[index].append(key)
    return rows


def _ordered(rows: list[list[str]], links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Order each row by where its neighbours are, and keep the order with the fewest crossings."""
    near = _neighbours(links)
    best, fewest = rows, _crossings(rows, links)
    for turn in range(8):
        rows = [list(row) for row in rows]
        indexes = range(1, len(rows)) if turn % 2 == 0 else range(len(rows) - 2, -1, -1)
        for index in indexes:
            other = rows[index - 1 if turn % 2 == 0 else index + 1]
            where = {key: place for place, key in enumerate(other)}
            own = {key: float(place) for place, key in enumerate(rows[index])}
            for key in rows[index]:
                places = [float(where[one]) for one in near.get(key, ()) if one in where]
                own[key] = _mean(places, own[key])
            rows[index].sort(key=lambda key: own[key])
        crossings = _crossings(rows, links)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: Sequence[Sequence[str]], links: Sequence[tuple[str, str]]) -> int:
    place = {key: (index, x) for index, row in enumerate(rows) for x, key in enumerate(row)}
    spans = [(place[start], place[end]) for start, end in links]
    return sum(
        one[0][0] == other[0][0] and (one[0][1] - other[0][1]) * (one[1][1] - other[1][1]) < 0
        for index, one in enumerate(spans)
        for other in spans[:index]
    )


def _text(x: float, y: float, kind: str, said: str, style: str = "") -> str:
    shown = f' style="{style}"' if style else ""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{of_kind}{shown}>{escape(said)}</text>'


def _box(node: Node, layout: _Layout) -> str:
    spot = layout.spots[node.key]
    colour = f"var(--c{node.colour})"
    parts = [
        f'<g><rect class="box" x="{spot.x - spot.width / 2:.1f}" y="{spot.y:.1f}" '
        f'width="{spot.width:.1f}" height="{spot.height:.1f}" rx="6" style="stroke:{colour}"/>'
    ]
    y = spot.y + _ROW
    if node.tag:
        parts.append(_text(spot.x, y, "tag", node.tag, f"fill:{colour}"))
        y += _ROW
    parts.append(_text(spot.x, y, "title", node.title))
    for line in spot.lines:
        y += _ROW
        parts.append(_text(spot.x, y, "", line))
    return "".join([*parts, "</g>"])


def _arrow(edge: Edge, points: Sequence[Point], name: str) -> str:
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + to_y) / 2
        path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    return (
        f'<path class="arrow" data-from="{escape(edge.start)}" data-to="{escape(edge.end)}" '
        f'd="{path}" marker-end="url(#{name}-tip)"/>'
    )


def _labels(routes: Iterable[tuple[Edge, Sequence[Point]]]) -> Iterator[str]:
    """Set each arrow's words on it near its end, where they cover no other ones if they can."""
    taken: list[tuple[float, float, float]] = []
    for edge, points in routes:
        if not edge.says:
            continue
        width = len(edge.says) * 6.3 + 8
        (from_x, from_y), (to_x, to_y) = points[-2], points[-1]
        for along in (0.42, 0.64, 0.22):
            # Along the curve by which _arrow draws it.
            bent = along * along * (3 - 2 * along)
            x, y = to_x + (from_x - to_x) * bent, to_y + (from_y - to_y) * along
            if all(
                abs(y - at_y) >= 15 or abs(x - at_x) >= (width + wide) / 2
                for at_x, at_y, wide in taken
            ):
                break
        taken.append((x, y, width))
        yield (
            f'<g><rect class="label" x="{x - width / 2:.1f}" y="{y - 8:.1f}" '
            f'width="{width:.1f}" height="16" rx="3"/>{_text(x, y + 4, "says", edge.says)}</g>'
        )


def _frame(frame: Frame, layout: _Layout) -> str:
    spots = [layout.spots[key] for key in frame.keys]
    left, right = layout.sides(frame)
    top = min(spot.y for spot in spots) - _PADDING
    bottom = max(spot.y + spot.height for spot in spots) + _PADDING + _ROW
    return (
        f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}" rx="8"/>'
        + _text((left + right) / 2, bottom - _PADDING + 2, "", frame.title)
    )
