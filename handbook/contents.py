"""What the site has, in which order, and where: from the files that there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# The documents by their names: paths from the project's folder, without their `.md`.
START = "README"
LABS = "docs/labs"
DECISIONS = "docs/decisions"
CONFORMANCE = "docs/rehearsal#conformance"


@dataclass(frozen=True)
class Entry:
    """A line of the navigation: what it says, and the document (`docs/cost`, or with `#part`)."""

    title: str
    target: str

    @property
    def document(self) -> str:
        return self.target.partition("#")[0]


@dataclass(frozen=True)
class Section:
    """Lines of the navigation under one heading; none for the first ones."""

    caption: str
    entries: tuple[Entry, ...]


_NAMED = (
    ("", (Entry("Start", START),)),
    (
        "Try it",
        (
            Entry("Rehearsal", "docs/rehearsal"),
            Entry("Conformance table", CONFORMANCE),
            Entry("Scheduler", "docs/scheduler"),
        ),
    ),
    ("Labs", ()),
    (
        "Run it",
        (
            Entry("Operations", "docs/operations"),
            Entry("Cost", "docs/cost"),
            Entry("Teaching a class", "docs/teaching"),
            Entry("Findings", "docs/findings"),
        ),
    ),
    (
        "How it is made",
        (
            Entry("Architecture", "docs/architecture"),
            Entry("Microservices", "docs/microservices"),
            Entry("Diagrams", "docs/diagrams"),
            Entry("Decisions", f"{DECISIONS}/README"),
            Entry("Contributing", "CONTRIBUTING"),
            Entry("Changelog", "CHANGELOG"),
        ),
    ),
    ("More", ()),
)


def contents(documents: Iterable[str], titles: dict[str, str]) -> list[Section]:
    """Arrange the documents: labs in the order of their files, what nobody named at the end.

    A decision is no line of its own; their page lists them.
    """
    there = sorted(documents)
    named = {entry.document for _, entries in _NAMED for entry in entries}
    labs = [name for name in there if name.startswith(f"{LABS}/")]
    # Their own introduction comes first, and their words last.
    labs.sort(key=lambda name: (not name.endswith("/README"), name.endswith("/glossary"), name))
    rest = [
        name
        for name in there
        if name not in named and name not in labs and not name.startswith(f"{DECISIONS}/")
    ]
    found = {"Labs": labs, "More": rest}
    sections = []
    for caption, entries in _NAMED:
        own = tuple(one for one in entries if one.document in there)
        own += tuple(Entry(titles.get(name, name), name) for name in found.get(caption, ()))
        if own:
            sections.append(Section(caption, own))
    return sections


def page(document: str) -> str:
    """Give where a document is in the site, without its suffix; other pages are where they are."""
    folder, _, name = document.removeprefix("docs/").rpartition("/")
    name = {"README": "index", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}.get(
        name, name
    )
    return f"{folder}/{name}" if folder else name
