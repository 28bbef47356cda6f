"""The commands: python -m rehearsal <verb> [environment]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import templates
from rehearsal.engines import Engine, EngineError
from rehearsal.images import build_environment


def main(arguments: list[str] | None = None) -> int:
    """Run one command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    image = verbs.add_parser(
        "image", help="build an environment's images, and print their tags on stdout"
    )
    image.add_argument("environment", nargs="?", default="sandbox")
    image.add_argument(
        "--engine", help="docker, podman, or a path; otherwise CDK_DOCKER, or one that answers"
    )
    image.add_argument("--assembly", type=Path, default=Path("cdk.out"), metavar="DIRECTORY")
    chosen = parser.parse_args(arguments)
    try:
        graph = templates.read(chosen.assembly)
        tags = build_environment(graph, chosen.environment, Engine.choose(chosen.engine))
    except (templates.TemplateError, EngineError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for people
        return 1
    for tag in tags:
        print(tag)  # noqa: T201 - the data that was asked for
    return 0


if __name__ == "__main__":
    sys.exit(main())
