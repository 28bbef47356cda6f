"""Builds the site: python -m handbook site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m handbook", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    site = verbs.add_parser("site", help="build the site; every warning is an error")
    site.add_argument("--out", type=Path, default=PROJECT / ".build" / "site", metavar="DIRECTORY")
    site.add_argument("--repository", default="", metavar="URL", help="where links to sources lead")
    given = parser.parse_args(arguments)
    return build(given.out, repository=given.repository)


def build(out: Path, *, repository: str) -> int:
    """Build the site into a folder; give Sphinx's exit code, 1 where there was any warning."""
    from sphinx.cmd.build import build_main  # here, since to be asked for help needs none of it

    return build_main(
        [
            "--builder", "handbook", "--conf-dir", str(Path(__file__).parent),
            "--doctree-dir", str(out.with_name(f"{out.name}.doctrees")), "--fresh-env",
            "--fail-on-warning", "--quiet", "--define", f"handbook_repository={repository}",
            str(PROJECT), str(out),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
