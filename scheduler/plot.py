"""Draws how a scenario went, as an SVG that is read in light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain

from scheduler.scenarios import Outcome
from scheduler.simulation import Sample

WIDTH, LEFT, RIGHT = 920, 56, 20
TOP, PANEL, GAP, FOOT = 96, 176, 58, 58
# Minutes between two ticks: the first that leaves room for the labels.
TICKS = (0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120)
LABELS = 12
# Of the scenario's time, how much more is shown before it and after it.
LEAD = 0.02

# The colours keep a contrast of 3 to 1 with their ground, text 4.5 to 1.
STYLE = """
  .ground { fill: #ffffff } .text { fill: #1f2933; font: 13px system-ui, sans-serif }
  .title { font-size: 17px; font-weight: 600 } .quiet { fill: #52606d; font-size: 12px }
  .grid { stroke: #d9dee4; stroke-width: 1 } .axis { stroke: #52606d; stroke-width: 1 }
  .mark { stroke: #52606d; stroke-width: 1; stroke-dasharray: 2 4 }
  .lacks { fill: #f8d7d4 } .good { fill: #4f8fd0 } .other { fill: #c3daf1 }
  .demand { stroke: #1f2933; stroke-width: 2; stroke-dasharray: 7 4; fill: none }
  .unplaced { stroke: #b42318; stroke-width: 2.5; fill: none }
  .serves { fill: #3f8f6b } .boots { fill: #a9d8c3 } .leaves { fill: #e0b252 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #14191f } .text { fill: #e4e7eb } .quiet { fill: #a7b1bc }
    .grid { stroke: #2c343d } .axis, .mark { stroke: #8b97a4 }
    .lacks { fill: #5b2320 } .good { fill: #4a8ad0 } .other { fill: #27486b }
    .demand { stroke: #f5f7fa } .unplaced { stroke: #ff8a80 }
    .serves { fill: #3f9f76 } .boots { fill: #245c46 } .leaves { fill: #b98a2d }
  }
"""


@dataclass(frozen=True)
class _Layer:
    """One kind of things that is counted, stacked on the one below it."""

    style: str
    label: str
    count: Callable[[Sample], int]


TASKS = (
    _Layer("good", "healthy tasks", lambda one: one.healthy),
    _Layer("other", "tasks that start or stop", lambda one: max(one.tasks - one.healthy, 0)),
)
HOSTS = (
    _Layer("serves", "hosts in service", lambda one: one.hosts - one.booting - one.draining),
    _Layer("leaves", "draining", lambda one: one.draining),
    _Layer("boots", "booting", lambda one: one.booting),
)


def draw(outcome: Outcome) -> str:
    """Draw tasks against their demand above, and hosts below, over the scenario's time."""
    around = max(outcome.ended_at, 1.0) * LEAD
    chart = _Chart(outcome, -around, max(outcome.ended_at, 1.0) + around)
    height = TOP + 2 * PANEL + GAP + FOOT
    title = f"{outcome.environment}: {outcome.scenario}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(describe(outcome))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        _text(LEFT, 28, title, "title"),
        _text(LEFT, 48, describe(outcome), "quiet"),
        *chart.tasks(TOP),
        *chart.hosts(TOP + PANEL + GAP),
        *chart.marks(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def describe(outcome: Outcome) -> str:
    """Say in a sentence or two what the plot shows."""
    found = outcome.shortfalls
    if found:
        seconds, worst = sum(one.seconds for one in found), max(one.tasks for one in found)
        capacity = f"Below demand for {spell(seconds)} in all, by {tasks(worst)} at the worst."
    else:
        capacity = "Healthy tasks never below demand."
    end = "Ended" if outcome.is_settled else "Not ended"
    return (
        f"{capacity} {outcome.peak_hosts} hosts at the peak. {end} after {spell(outcome.ended_at)}."
    )


def tasks(number: int) -> str:
    """Count tasks in words."""
    return f"{number} task{'' if number == 1 else 's'}"


def spell(seconds: float) -> str:
    """Write a length of time as one says it."""
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    return f"{minutes} min {left} s" if left else f"{minutes} min"


class _Chart:
    """Both panels over one axis of time."""

    def __init__(self, outcome: Outcome, start: float, end: float) -> None:
        self._outcome = outcome
        self._start, self._end = start, end
        self._samples = outcome.samples

    def tasks(self, top: float) -> list[str]:
        """Draw tasks, what is unplaced, the demand, and where that was not met."""
        high = max(
            chain.from_iterable((one.tasks, one.demand, one.unplaced) for one in self._samples)
        )
        scale = _Scale(top, max(high, 1))
        lacks = [
            f'<rect class="lacks" x="{self._x(one.at):.1f}" y="{top}" '
            f'width="{self._x(one.at + one.seconds) - self._x(one.at):.1f}" height="{PANEL}"/>'
            for one in self._outcome.shortfalls
        ]
        legend = [
            ("good", "healthy tasks", "area"),
            ("other", "other tasks", "area"),
            ("demand", "demand", "line"),
            ("unplaced", "waiting for a host", "line"),
            *([("lacks", "below demand", "area")] if lacks else []),
        ]
        lines = [self._line("demand", scale, lambda one: one.demand)]
        if any(one.unplaced for one in self._samples):
            lines.append(self._line("unplaced", scale, lambda one: one.unplaced))
        else:
            legend.remove(("unplaced", "waiting for a host", "line"))
        return [
            *lacks,
            *self._frame(scale, "tasks"),
            *self._layers(TASKS, scale),
            *lines,
            *_legend(top - 14, legend),
        ]

    def hosts(self, top: float) -> list[str]:
        """Draw hosts by what they do."""
        scale = _Scale(top, max(self._outcome.peak_hosts, 1))
        return [
            *self._frame(scale, "hosts"),
            *self._layers(HOSTS, scale),
            *_legend(
                top - 14,
                [
                    (one.style, one.label, "area")
                    for one in HOSTS
                    if any(one.count(each) for each in self._samples)
                ],
            ),
            *self._time(top + PANEL),
        ]

    def marks(self) -> list[str]:
        """Draw what the scenario itself did."""
        parts = []
        last, row = float("-inf"), 0
        for one in self._outcome.marks:
            x = self._x(one.at)
            # Labels that would lie on each other take turns in height.
            row = row + 1 if x - last < 7 * len(one.text) else 0
            last = x
            flip = x > WIDTH * 0.72
            parts += [
                f'<line class="mark" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + PANEL}"/>'
                for top in (TOP, TOP + PANEL + GAP)
            ]
            parts += [
                _text(
                    x - 5 if flip else x + 5,
                    TOP + PANEL + 15 + 13 * (row % 2),
                    one.text,
                    "quiet",
                    anchor="end" if flip else "start",
                ),
            ]
        return parts

    def _layers(self, layers: Sequence[_Layer], scale: _Scale) -> list[str]:
        below = [0] * len(self._samples)
        parts = []
        for layer in layers:
            above = [
                base + layer.count(one) for base, one in zip(below, self._samples, strict=True)
            ]
            if above != below:
                upper = self._steps(above, scale)
                lower = reversed(self._steps(below, scale))
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in chain(upper, lower))
                parts.append(f'<polygon class="{layer.style}" points="{points}"/>')
            below = above
        return parts

    def _line(self, style: str, scale: _Scale, count: Callable[[Sample], int]) -> str:
        counts = [count(one) for one in self._samples]
        steps = self._steps(counts, scale)
        path = []
        for index, ((x, y), (end, _)) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
            # None is the axis, which is drawn already.
            if counts[index] or (index and counts[index - 1]):
                begins = not index or not counts[index - 1]
                path.append(f"M{x:.1f},{scale.y(0):.1f}" if begins and index else "")
                path.append(f"{'L' if index else 'M'}{x:.1f},{y:.1f}")
            if counts[index]:
                path.append(f"L{end:.1f},{y:.1f}")
        return f'<path class="{style}" d="{" ".join(filter(None, path))}"/>'

    def _steps(self, counts: Sequence[int], scale: _Scale) -> list[tuple[float, float]]:
        ends = [*(one.at for one in self._samples[1:]), self._end]
        points: list[tuple[float, float]] = []
        for sample, count, end in zip(self._samples, counts, ends, strict=True):
            y = scale.y(count)
            begin = max(sample.at, self._start) if points else self._start
            points += [(self._x(begin), y), (self._x(end), y)]
        return points

    def _frame(self, scale: _Scale, name: str) -> list[str]:
        parts = []
        for count in scale.ticks():
            y = scale.y(count)
            style = "grid" if count else "axis"
            parts += [
                f'<line class="{style}" x1="{LEFT}" y1="{y:.1f}" '
                f'x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>',
                _text(LEFT - 8, y + 4, f"{count}", "quiet", anchor="end"),
            ]
        middle = scale.top + PANEL / 2
        parts.append(
            f'<text class="text quiet" x="14" y="{middle}" text-anchor="middle" '
            f'transform="rotate(-90 14 {middle})">{name}</text>'
        )
        return parts

    def _time(self, bottom: float) -> list[str]:
        minutes = self._outcome.ended_at / 60
        step = next((one for one in TICKS if minutes / one <= LABELS), TICKS[-1])
        parts = []
        for index in range(int(minutes / step) + 1):
            x = self._x(index * step * 60)
            parts += [
                f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>',
                _text(x, bottom + 20, _clock(index * step * 60, step), "quiet", anchor="middle"),
            ]
        unit = "minutes" if step >= 1 else "minutes:seconds"
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, bottom + 42, unit, "quiet", anchor="middle"))
        return parts

    def _x(self, at: float) -> float:
        part = (max(at, self._start) - self._start) / (self._end - self._start)
        return LEFT + part * (WIDTH - LEFT - RIGHT)


@dataclass(frozen=True)
class _Scale:
    """Counts from none to the highest, in one panel."""

    top: float
    high: int

    def y(self, count: float) -> float:
        # A little air above the highest.
        return self.top + PANEL - count / (self.high * 1.08) * PANEL

    def ticks(self) -> range:
        """Give about five whole counts, with steps that one counts in."""
        steps = (base * 10**power for power in range(9) for base in (1, 2, 5))
        step = next(one for one in steps if self.high / one <= 6)
        return range(0, self.high + 1, step)


def _clock(seconds: float, step: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes}" if step >= 1 else f"{minutes}:{left:02}"


def _legend(y: float, entries: Sequence[tuple[str, str, str]]) -> list[str]:
    x: float = LEFT
    parts = []
    for style, label, kind in entries:
        if kind == "area":
            parts.append(
                f'<rect class="{style}" x="{x}" y="{y - 9}" width="18" height="10" rx="2"/>'
            )
        else:
            parts.append(
                f'<line class="{style}" x1="{x}" y1="{y - 4}" x2="{x + 22}" y2="{y - 4}"/>'
            )
        parts.append(_text(x + 27, y, label, "quiet"))
        x += 44 + 6.6 * len(label)
    return parts


def _text(x: float, y: float, words: str, style: str, *, anchor: str = "start") -> str:
    return (
        f'<text class="text {style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
