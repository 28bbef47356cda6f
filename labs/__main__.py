"""python -m labs VERB: the course's commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import interpreter  # noqa: F401 - first: it refuses another Python
from labs import commands
from labs.kubernetes import command as kubernetes
from labs.verbs import Verb

VERBS: Mapping[str, Verb] = {
    **commands.VERBS,
    "kubernetes": kubernetes.VERB,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; give its exit code. Data goes to stdout, everything else to stderr."""
    parser = argparse.ArgumentParser(prog="python -m labs", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        verb.configure(verbs.add_parser(name, help=verb.does, description=verb.does))
    options = parser.parse_args(arguments)
    return VERBS[options.verb].run(options)


if __name__ == "__main__":
    sys.exit(main())
