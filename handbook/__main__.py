"""Draws the diagrams, and builds the site: python -m handbook diagrams|site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import templates
from handbook.drawing import Picture, sentences, svg
from handbook.environments import pictures

PROJECT = Path(__file__).parent.parent
DIAGRAMS = Path("docs", "diagrams")


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m handbook", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    drawn = verbs.add_parser("diagrams", help="write docs/diagrams.md and its pictures anew")
    drawn.add_argument("--assembly", type=Path, default=PROJECT / "cdk.out", metavar="DIRECTORY")
    site = verbs.add_parser("site", help="build the site; every warning is an error")
    site.add_argument("--out", type=Path, default=PROJECT / ".build" / "site", metavar="DIRECTORY")
    site.add_argument("--repository", default="", metavar="URL", help="where links to sources lead")
    given = parser.parse_args(arguments)
    if given.verb == "site":
        return build(given.out, repository=given.repository)
    try:
        found = files(pictures(templates.read(given.assembly)))
    except templates.TemplateError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    write(found, PROJECT)
    return 0


def files(drawn: list[Picture]) -> dict[Path, str]:
    """Give what is written, by its path in the project: each picture, and the page of them all."""
    found = {DIAGRAMS / f"{one.name}.svg": svg(one) for one in drawn}
    page = [
        "# Diagrams",
        "Drawn by `make diagrams` from the templates that `cdk synth` writes, and a test fails "
        "when a template has changed and its picture has not. A box with a stack's name on it is "
        "one of its resources, what it says are properties, and arrows between such boxes follow "
        "references (from an image, its repository's name and its tag). Grey boxes are no "
        "resources: who sends a request, and who reads the templates.",
    ]
    environment = ""
    for one in drawn:
        name = one.name.partition("-")[0].title()
        if name != environment:
            environment = name
            page.append(f"## {name}")
        page.append(f"### {one.title}")
        page.append(f"![{one.title}](diagrams/{one.name}.svg)")
        page.append("<details><summary>The same in words</summary>")
        page.append("\n".join(f"- {said}" for said in sentences(one)))
        page.append("</details>")
    return {Path("docs", "diagrams.md"): "\n\n".join(page) + "\n", **found}


def write(found: dict[Path, str], project: Path) -> None:
    """Write the pictures and their page, and remove pictures of what is no more."""
    for old in (project / DIAGRAMS).glob("*.svg"):
        if old.relative_to(project) not in found:
            old.unlink()
    for path, content in found.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(content, encoding="utf-8")


def build(out: Path, *, repository: str) -> int:
    """Build the site into a folder; give Sphinx's exit code, 1 where there was any warning."""
    from sphinx.cmd.build import build_main  # here, since the diagrams need none of it

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
