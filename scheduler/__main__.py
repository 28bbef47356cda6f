"""python -m scheduler simulate ENVIRONMENT --scenario NAME: plays what may happen to it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import templates
from scheduler import environment
from scheduler.instance_types import UnknownInstanceType
from scheduler.plot import describe, draw, spell, tasks
from scheduler.scenarios import SCENARIOS, Outcome, ScenarioError, play
from scheduler.simulation import Timing

# What only a deployment would have is named by its place in the templates.
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
HEADS = ("time", "hosts", "tasks", "healthy", "unplaced", "what")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give 0 where the scenario ended, 1 where it did not or could not begin."""
    chosen = _parser().parse_args(arguments)
    overrides = {
        one.name: value
        for one in fields(Timing)
        if (value := getattr(chosen, one.name)) is not None
    }
    try:
        graph = templates.read(chosen.assembly)
        found = environment.read(graph, chosen.environment)
        outcome = play(found, chosen.scenario, seed=chosen.seed, overrides=overrides)
        if chosen.plot is not None:
            chosen.plot.write_text(_plain(draw(outcome)), encoding="utf-8")
    except (
        templates.TemplateError,
        UnknownInstanceType,
        ScenarioError,
        OSError,
    ) as error:
        sys.stderr.write(f"{_plain(str(error))}\n")
        return 1
    sys.stdout.write(_plain("\n".join([*timeline(outcome), "", *summary(outcome)])) + "\n")
    if chosen.plot is not None:
        sys.stderr.write(f"The plot is in {chosen.plot}.\n")
    if outcome.is_settled:
        return 0
    for line in outcome.obstacles or ("it was still on its way when the time was over",):
        sys.stderr.write(_plain(f"{chosen.environment} does not come to rest: {line}\n"))
    return 1


def timeline(outcome: Outcome) -> list[str]:
    """Lay out what happened when, with the counts of each moment beside the first line of it."""
    widths = [len(head) for head in HEADS[:-1]]
    rows = ["  ".join(HEADS)]
    samples = list(outcome.samples)
    told, at = None, 0
    for line in outcome.lines:
        while at + 1 < len(samples) and samples[at + 1].at <= line.at:
            at += 1
        one = samples[at]
        moment = (clock(line.at), one.hosts, one.tasks, one.healthy, one.unplaced)
        cells = moment if moment != told else ("",) * len(moment)
        told = moment
        counts = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        rows.append(f"{counts}  {line.text}")
    return rows


def summary(outcome: Outcome) -> list[str]:
    """Say whether capacity was ever short, what it took, and what was assumed."""
    lines = [f"{outcome.environment}, {outcome.scenario}, seed {outcome.seed}: {describe(outcome)}"]
    lines += [
        f"below demand: at {clock(one.at)} for {spell(one.seconds)}, by {tasks(one.tasks)} at most"
        for one in outcome.shortfalls
    ]
    lines += [f"assumed: {remark}" for remark in outcome.remarks]
    lines += [
        f"seconds for {name}: "
        + ", ".join(f"{key} {value:g}" for key, value in asdict(timing).items())
        for name, timing in outcome.timings.items()
    ]
    return lines


def clock(seconds: float) -> str:
    """Write a moment as minutes and seconds from the scenario's beginning."""
    minutes, left = divmod(int(seconds), 60)
    return f"{minutes}:{left:02}"


def _plain(text: str) -> str:
    return _PLACEHOLDER.sub(r"\1", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scheduler", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    simulate = verbs.add_parser("simulate", help="play a scenario on a virtual clock")
    simulate.add_argument("environment", help="as in cdk.json: sandbox or production")
    simulate.add_argument("--scenario", required=True, choices=SCENARIOS)
    simulate.add_argument("--assembly", type=Path, default=Path("cdk.out"), metavar="DIRECTORY")
    simulate.add_argument("--plot", type=_svg, metavar="FILE.svg", help="draw it, too")
    simulate.add_argument("--seed", type=int, default=0, help="of all that is left to chance")
    for one in fields(Timing):
        declared = ", unless the target group says" if one.name in DECLARED else ""
        simulate.add_argument(
            f"--{one.name}",
            type=_seconds,
            metavar="SECONDS",
            help=f"{DESCRIBED[one.name]} (default: {one.default:g}{declared})",
        )
    return parser


DECLARED = {"check", "deregistration"}
DESCRIBED = {
    "boot": "from an instance's launch to its registration",
    "pull": "the first pull of an image on an instance",
    "start": "from the start of the containers to their answering",
    "check": "until the first health check",
    "stop": "from the stop signal to the end",
    "deregistration": "until a target that leaves is gone",
}


def _svg(text: str) -> Path:
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .svg, got {text!r}")
    return Path(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
