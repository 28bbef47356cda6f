"""The plot is an SVG that says in words what it shows, in light and dark."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from scheduler.plot import PANEL, WIDTH, describe, draw, spell
from scheduler.scenarios import Outcome
from scheduler.simulation import Line, Sample

SVG = "{http://www.w3.org/2000/svg}"


def sample(at: float, **counts: int) -> Sample:
    every = {
        "hosts": 2, "booting": 0, "draining": 0, "desired": 2, "tasks": 2, "healthy": 2,
        "unplaced": 0, "demand": 2,
    }  # fmt: skip
    return Sample(at=at, **(every | counts))


OUTCOME = Outcome(
    environment="sandbox",
    scenario="az-loss",
    seed=0,
    timings={},
    samples=(
        sample(0),
        sample(60, healthy=1, tasks=1, unplaced=1, hosts=3, booting=1),
        sample(120, hosts=4, draining=1),
        sample(300),
    ),
    lines=(),
    marks=(Line(0, "zone <a> & b is lost"), Line(290, "zone is back")),
    remarks=(),
    ended_at=600,
    is_settled=True,
)


def elements(outcome: Outcome = OUTCOME) -> ET.Element:
    return ET.fromstring(draw(outcome))


def texts(root: ET.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def classes(root: ET.Element, kind: str) -> list[str]:
    return [one.get("class", "") for one in root.iter(f"{SVG}{kind}")]


def test_it_has_a_title_and_a_description_that_say_the_outcome() -> None:
    root = elements()
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title desc")
    assert root.findtext(f"{SVG}title") == "sandbox: az-loss"
    assert root.findtext(f"{SVG}desc") == (
        "Below demand for 1 min in all, by 1 task at the worst. 4 hosts at the peak. Ended after "
        "10 min."
    )


def test_it_is_for_light_and_dark() -> None:
    style = elements().findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme: dark" in style
    used = {
        name
        for kind in ("rect", "polygon", "path", "line", "text")
        for one in classes(elements(), kind)
        for name in one.split()
    }
    light, dark = style.split("@media")
    for name in used:
        assert f".{name} " in light, name
    for name in used - {"title"}:
        assert f".{name} " in dark or f".{name}," in dark, name


def test_both_axes_and_every_series_are_labelled() -> None:
    found = texts(elements())
    assert {"tasks", "hosts", "minutes", "0", "2", "4", "10"} <= set(found)
    for label in (
        "healthy tasks", "other tasks", "demand", "waiting for a host", "below demand",
        "hosts in service", "booting", "draining",
    ):  # fmt: skip
        assert label in found


def test_the_legend_has_only_what_is_there() -> None:
    calm = replace(OUTCOME, samples=(sample(0), sample(100)), marks=())
    found = texts(elements(calm))
    for label in ("waiting for a host", "below demand", "booting", "draining"):
        assert label not in found


def test_what_the_scenario_did_is_marked_in_its_own_words() -> None:
    root = elements()
    assert "zone <a> & b is lost" in texts(root)
    assert classes(root, "line").count("mark") == 4


def test_the_time_below_demand_is_shaded_where_it_was() -> None:
    (shade,) = [
        one
        for one in elements().iter(f"{SVG}rect")
        if one.get("class") == "lacks" and float(one.get("height", 0)) == PANEL
    ]
    width = float(shade.get("width", 0))
    assert width == pytest.approx(60 / 600 * (WIDTH - 76) / 1.04, rel=0.01)


def test_steps_are_drawn_at_the_height_of_their_counts() -> None:
    (demand,) = [one for one in elements().iter(f"{SVG}path") if one.get("class") == "demand"]
    heights = {float(y) for _, y in re.findall(r"[ML]([\d.]+),([\d.]+)", demand.get("d", ""))}
    assert len(heights) == 1
    healthy = next(one for one in elements().iter(f"{SVG}polygon") if one.get("class") == "good")
    ys = {float(pair.split(",")[1]) for pair in healthy.get("points", "").split()}
    assert len(ys) == 3, "none, one and two"
    assert min(ys) == min(heights)


def test_every_mark_stays_inside_the_picture() -> None:
    root = elements()
    for one in root.iter(f"{SVG}text"):
        if one.get("x") is not None:
            assert 0 <= float(one.get("x", 0)) <= WIDTH


@pytest.mark.parametrize(
    ("ended", "unit"), [(0.0, "minutes:seconds"), (69, "minutes:seconds"), (7200, "minutes")]
)
def test_any_length_of_time_has_its_ticks(ended: float, unit: str) -> None:
    found = texts(elements(replace(OUTCOME, ended_at=ended, samples=(sample(0),), marks=())))
    assert unit in found
    assert 1 <= sum(bool(re.fullmatch(r"\d+(:\d\d)?", one)) for one in found) <= 26


def test_no_shortfall_is_said_too() -> None:
    calm = replace(OUTCOME, samples=(sample(0),), is_settled=False)
    assert describe(calm) == (
        "Healthy tasks never below demand. 2 hosts at the peak. Not ended after 10 min."
    )


@pytest.mark.parametrize(("seconds", "words"), [(5, "5 s"), (60, "1 min"), (194, "3 min 14 s")])
def test_times_are_written_as_one_says_them(seconds: float, words: str) -> None:
    assert spell(seconds) == words
