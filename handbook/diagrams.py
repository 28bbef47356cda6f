"""Makes docs/diagrams.md and its pictures, which git has so that GitHub shows them."""

from __future__ import annotations

from pathlib import Path

from handbook.drawing import Picture, sentences, svg

DIAGRAMS = Path("docs", "diagrams")


def files(drawn: list[Picture]) -> dict[Path, str]:
    """Give what is written, by its path in the project: each picture, and the page of them all."""
    found = {DIAGRAMS / f"{one.name}.svg": svg(one) for one in drawn}
    page = [
        "# Diagrams",
        "Drawn by `make snapshots` from the templates that `cdk synth` writes, and a test fails "
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
