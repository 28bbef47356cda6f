"""The command: python -m bench [name]; without a name, every benchmark."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from bench import machines, microservices, scheduler, service, synth
from bench.report import BenchError, Outcome, say

BENCHMARKS: Mapping[str, Callable[[int], Outcome]] = {
    "synth": synth.run,
    "service": service.run,
    "microservices": microservices.run,
    "scheduler": scheduler.run,
    "machines": machines.run,
}


def main(
    arguments: Sequence[str] | None = None,
    benchmarks: Mapping[str, Callable[[int], Outcome]] = BENCHMARKS,
) -> int:
    """Run benchmarks and print their tables; give 0 also where a target is missed, 1 for no ratio.

    The last line of each on stdout is `name: RATIO`.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(benchmarks))
    parser.add_argument("--rounds", type=int, default=5, help="that count (default: 5)")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in benchmarks]
    if unknown or chosen.rounds < 1:
        wrong = f"name: expected {' or '.join(benchmarks)}, got {', '.join(unknown)}"
        parser.error(wrong if unknown else f"--rounds: expected at least 1, got {chosen.rounds}")
    failed = False
    for name in chosen.names or benchmarks:
        try:
            outcome = benchmarks[name](chosen.rounds)
        except BenchError as error:
            say(f"{name}: no ratio: {error}")
            failed = True
            continue
        # For who reads, and for who only wants the last line.
        print(f"{outcome.table}\n{name}: {outcome.ratio:.2f}", flush=True)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
