"""Lab 2: answers are held against what was measured, what instances register, and the prices."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import templates
from bench import machines as bench
from labs import machines
from labs.lab import Item
from ops import prices
from scheduler.agent_settings import agent_settings
from scheduler.instance_types import instance_type
from tests.conftest import PROJECT
from tests.labs.pages import PAGES, follow
from tests.labs.playing import KINDS, Course
from tests.rehearsal.conftest import usable

PAGE = PAGES / machines.LAB.page
SECONDS = 300.0
MEASURED: dict[str, Any] = {
    "at": 2.0,
    "machine": "tcg",
    "starts": {
        "docker": {"seconds": 0.5, "mib": 34.0},
        "virtual machine": {"seconds": 4.0, "mib": 210.0},
    },
    "recorded": {},
}
RIGHT = {"fit": "4", "limit": "cpu", "vms_month": "60.74", "times": "8"}


@pytest.fixture
def answered(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Course, Path]]:
    """The lab, started and measured in a folder of its own, and the file of its answers."""
    monkeypatch.setattr(machines, "MEASURED", tmp_path / "measured.json")
    course.start(2, right=())
    (tmp_path / "measured.json").write_text(json.dumps(MEASURED), encoding="utf-8")
    yield course, course.progress / "sandbox" / machines.ANSWERS_FILE
    assert course.run("reset", 2).code == 0


def write(path: Path, **answers: str) -> None:
    """Write answers as `echo` does."""
    lines = [f"{name}={value}\n" for name, value in {**RIGHT, **answers}.items()]
    path.write_text("".join(lines), encoding="utf-8")


@pytest.mark.engine
def test_right_answers_pass_and_without_one_or_a_measurement_nothing_does(
    answered: tuple[Course, Path], tmp_path: Path
) -> None:
    course, path = answered
    write(path)
    done = course.run("check", 2)
    assert done.code == 0, done.said
    assert "fit: 4 of the service's tasks fit on one empty instance" in done.said
    path.write_text("fit=4\n", encoding="utf-8")
    (tmp_path / "measured.json").unlink()
    done = course.run("check", 2)
    assert done.code == 1
    assert 'vms_month: there is no answer; echo "vms_month=..."' in done.said
    assert "nothing was measured since the lab's start: python -m bench machines" in done.said


# Each a typical mistake, and what is said of it.
MISTAKES: list[tuple[dict[str, str], str]] = [
    ({"fit": "9"}, "fit: 9 would fit if nothing else ran out first"),
    ({"fit": "8"}, "fit: 8 is not what follows; divide registeredResources"),
    ({"fit": "eight"}, "fit: expected a number, got 'eight'"),
    ({"limit": "memory"}, "limit: memory is not what runs out first"),
    ({"limit": "disk"}, "limit: expected one of cpu, memory, got disk"),
    ({"vms_month": "$15.18"}, "vms_month: $15.18 is one t3.small; each container has its own"),
    ({"vms_month": "0.74"}, "0.74 is what a shell leaves of $60.74 in double quotes"),
    ({"vms_month": "0.08"}, "as many t3.small as containers fit on one, each 730 hours"),
    ({"times": "0.125"}, "times: 0.125 is a container's over a machine's; turn it around"),
    ({"times": "5"}, "times: 5 is not what was measured"),
    ({"fits": "8"}, "'fits=8': expected name=value with one of fit, limit, vms_month, times"),
]


@pytest.mark.engine
def test_a_wrong_answer_is_told_why(answered: tuple[Course, Path]) -> None:
    course, path = answered
    for answer, expected in MISTAKES:
        write(path, **answer)
        done = course.run("check", 2)
        assert done.code == 1, answer
        assert expected in done.said


def test_where_two_run_out_together_either_is_the_limit() -> None:
    fits = {"cpu": 4, "memory": 4}
    assert machines._limit({"limit": "memory"}, fits) == Item(
        True, "limit: memory runs out first, and cpu with it"
    )
    assert machines._limit({"limit": "CPU"}, fits).right
    assert not machines._limit({"limit": "memory"}, {"cpu": 4, "memory": 9}).right
    assert machines._limit({"limit": "cpu"}, {"cpu": 4, "memory": 9}) == Item(
        True, "limit: cpu runs out first"
    )


@pytest.mark.parametrize(("answer", "right"), [("12.5", True), ("0", False), ("-3", False)])
def test_a_type_without_a_price_still_costs_something(answer: str, right: bool) -> None:
    found = machines._price({"vms_month": answer}, 4, "x9.huge")
    assert found.right is right
    assert f"no price for x9.huge, so {answer} was not compared" in found.words


def test_a_recorded_machine_is_compared_with_the_recorded_container() -> None:
    measured = {
        "machine": "recorded",
        "starts": {"podman": {"seconds": 1.0}, "docker": {"seconds": 0.8}},
        "recorded": {"docker": {"seconds": 0.5}, "virtual machine": {"seconds": 4.0}},
    }
    assert machines._times({"times": "8"}, measured).right
    assert machines._times({"times": "5"}, measured) == Item(
        False,
        "times: 5 is the recorded machine's 4.00 s by your own container's 0.80 s, of two "
        "computers; take the container's recorded 0.50 s",
    )
    assert (
        "in measured.json, both recorded, or read"
        in machines._times({"times": "3"}, measured).words
    )


def test_only_what_is_divided_is_told_of() -> None:
    found = machines._fit({"fit": "9"}, {"cpu": 4, "memory": 9})
    assert "divide each of CPU and MEMORY, and take the least" in found.words


@pytest.mark.engine
def test_its_page_passes_it(course: Course, assembly: Path) -> None:
    usable("podman")
    folder = assembly.parent
    # What was fetched once need not be fetched again.
    if (bench.FOLDER / "boot").is_dir():
        shutil.copytree(bench.FOLDER / "boot", folder / ".build" / "machines" / "boot")
    with dataclasses.replace(course.shell(), folder=folder) as shell:
        answers = follow(PAGE, shell, seconds=SECONDS, kinds=KINDS)
    whole = "\n".join(done.said for done in answers)
    assert "Lab 2 is passed." in whole
    assert "virtual machine (" in whole
    assert not (folder / ".build" / "machines").exists()


def test_its_table_of_instances_is_what_the_scheduler_and_the_prices_say(
    graph: templates.Graph,
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for environment, kind in (("Sandbox", "t3.small"), ("Production", "m7g.large")):
        (definition,) = graph.stack(f"{environment}/Web").of_type("AWS::ECS::TaskDefinition")
        (template,) = graph.stack(f"{environment}/Cluster").of_type("AWS::EC2::LaunchTemplate")
        agent = agent_settings(graph.properties(template)["LaunchTemplateData"]["UserData"])
        task = graph.properties(definition)
        has = instance_type(kind).kind(reserved_memory=agent.reserved_memory_mib)
        fit = min(has.cpu // int(task["Cpu"]), has.memory // int(task["Memory"]))
        month = prices.INSTANCES[kind] * prices.HOURS_A_MONTH
        row = re.search(rf"^\| {environment.lower()}, {kind} \|.*$", text, re.MULTILINE)
        assert row is not None
        for number in (
            f"{has.cpu:,} CPU", f"{has.memory:,} MiB", f"{task['Cpu']} CPU",
            f"{task['Memory']} MiB", f"| {fit}, by CPU |",
            f"${month:.2f} | ${fit * month:.2f} |",
        ):  # fmt: skip
            assert number in row[0], number


def test_its_prices_are_those_of_the_page_on_cost() -> None:
    text = (PROJECT / "docs" / "cost.md").read_text(encoding="utf-8")
    for kind, price in prices.INSTANCES.items():
        assert f"{kind} ${price}/h" in text


def test_the_recorded_figures_are_those_of_the_benchmark() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, start in bench.RECORDED.items():
        assert re.search(rf"^\| {name} \| {start.seconds:.2f} \| {start.mib:.0f} \|$", text, re.M)
    assert bench.RECORDED_ON.partition(",")[0] in text
