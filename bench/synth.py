"""What `cdk synth` costs: both environments beside CDK's own default service and an empty stack."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.report import BenchError, Outcome, Target, interleave, ratio, table

PROJECT = Path(__file__).parent.parent
# What the CDK CLI adds to the context of cdk.json.
CLI_CONTEXT = {
    "aws:cdk:enable-path-metadata": True,
    "aws:cdk:enable-asset-metadata": True,
    "aws:cdk:version-reporting": False,
    "aws:cdk:bundling-stacks": ["**"],
}
OURS, DEFAULT, EMPTY = (
    "both environments",
    "default ApplicationLoadBalancedEc2Service",
    "one empty stack",
)
MODULES = {
    OURS: "bench.project",
    DEFAULT: "bench.baseline.default_service",
    EMPTY: "bench.baseline.empty",
}
CHECKED, PLAIN = "checked", "plain"
TARGETS = {CHECKED: Target(2.5), PLAIN: Target(1.8)}


@dataclass(frozen=True)
class Cost:
    """Seconds of one process, from its start to its end; CPU with its children's."""

    wall: float
    cpu: float


def run(rounds: int) -> Outcome:
    """Measure all six processes a round; the ratio is the wall's with all checks."""
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as scratch:
        environment = _environment(Path(scratch))
        contenders: dict[str, Callable[[], Cost]] = {}
        options = python_options(
            json.loads((PROJECT / "cdk.json").read_text(encoding="utf-8"))["app"]
        )
        for name, module in MODULES.items():
            own = options if name == OURS else []
            # The real app.py is what a user pays; it has no switch for its checks.
            with_checks = (
                ["app.py"] if name == OURS else ["-m", "bench.subject", module, "--checks"]
            )
            contenders[f"{name}, {CHECKED}"] = partial(process, [*own, *with_checks], environment)
            without = [*own, "-m", "bench.subject", module]
            contenders[f"{name}, {PLAIN}"] = partial(
                process, without, environment | {"CDK_VALIDATION": "false"}
            )
        costs = interleave(contenders, rounds)
    return report(costs, rounds)


def report(costs: Mapping[str, Sequence[Cost]], rounds: int) -> Outcome:
    """Lay out the medians, and the ratios with their targets."""

    def series(name: str, setting: str) -> tuple[list[float], list[float]]:
        found = costs[f"{name}, {setting}"]
        return [cost.wall for cost in found], [cost.cpu for cost in found]

    rows = []
    for name in MODULES:
        row = [name]
        for setting in (CHECKED, PLAIN):
            row += [f"{ratio(seconds, [1.0]):.2f}" for seconds in series(name, setting)]
        rows.append(row)
    against: dict[tuple[str, str], list[float]] = {}
    for name in (DEFAULT, EMPTY):
        row = [f"times {name}"]
        for setting in (CHECKED, PLAIN):
            pairs = zip(series(OURS, setting), series(name, setting), strict=True)
            against[name, setting] = [ratio(ours, theirs) for ours, theirs in pairs]
            row += [f"{value:.2f}" for value in against[name, setting]]
        rows.append(row)
    verdicts = [
        f"wall, times the default service, {setting}: {value:.2f}, {TARGETS[setting].judge(value)}"
        for setting, value in ((setting, against[DEFAULT, setting][0]) for setting in TARGETS)
    ]
    heads = ["seconds", *(f"{setting} {kind}" for setting in TARGETS for kind in ("wall", "CPU"))]
    lines = (
        f"synth: a fresh process each time, medians of {rounds} interleaved rounds",
        _versions(),
        f"{CHECKED}: with AwsSolutions and CDK's validation; {PLAIN}: without either",
        "",
        table(heads, rows),
        "",
        *verdicts,
    )
    return Outcome("\n".join(lines), against[DEFAULT, CHECKED][0])


def write(out: Path) -> None:
    """Synthesize both environments into a directory, without checks."""
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as scratch:
        environment = _environment(Path(scratch)) | {"CDK_VALIDATION": "false"}
        process(["-m", "bench.subject", MODULES[OURS]], environment, out)


def python_options(command: str) -> list[str]:
    """Give the options of Python in cdk.json's command: they are part of what a user pays."""
    words = shlex.split(command)
    if "python" not in words or "app.py" not in words:
        raise BenchError(f"cdk.json: app: expected `python app.py` in it, got {command!r}")
    return words[words.index("python") + 1 : words.index("app.py")]


def process(
    arguments: Sequence[str], environment: Mapping[str, str], out: Path | None = None
) -> Cost:
    """Run Python with these arguments to its end; raise BenchError where it fails.

    The assembly goes to `out`, or is thrown away.
    """
    with (
        tempfile.TemporaryDirectory(prefix="drydock-bench-out-") as away,
        tempfile.TemporaryFile() as said,
    ):
        started = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env={**environment, "CDK_OUTDIR": str(out or away)},
            stdout=said,
            stderr=said,
        )
        # Not child.wait(), which does not tell what the process used. jsii waits for its node,
        # so node's share is in it.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        if child.returncode:
            said.seek(0)
            tail = said.read().decode(errors="replace").strip()[-2000:]
            raise BenchError(f"python {' '.join(arguments)} ended {child.returncode}:\n{tail}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def _environment(scratch: Path) -> dict[str, str]:
    """Give what the CDK CLI gives, and bytecode of the warm-up round for every later one."""
    context = json.loads((PROJECT / "cdk.json").read_text(encoding="utf-8"))["context"]
    # A first run compiles what it imports, and aws_ec2 alone is a module of 7 MB. Users do that
    # once; with this variable it would be measured each time.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPYCACHEPREFIX": str(scratch),
        "CDK_CONTEXT_JSON": json.dumps(context | CLI_CONTEXT),
    }


def _versions() -> str:
    node = subprocess.run(
        [Path(sys.executable).parent / "node", "--version"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    parts = [f"{name} {version(name)}" for name in ("aws-cdk-lib", "cdk-nag", "jsii")]
    python, cores = platform.python_version(), os.cpu_count()
    return ", ".join([*parts, f"Python {python}", f"Node {node or 'unknown'}", f"{cores} CPUs"])
