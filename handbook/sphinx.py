"""Teaches Sphinx the project's documents as they are for GitHub: no syntax of its own in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.util import logging

from handbook import drawing, mermaid
from handbook.contents import DECISIONS, START, contents, page

_log = logging.getLogger(__name__)
DIAGRAMS = "docs/diagrams/"


class Handbook(StandaloneHTMLBuilder):
    """The HTML builder, with README.md as the index and without `docs/` in addresses."""

    name = "handbook"
    epilog = "The site is in %(outdir)s."

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        return super().get_target_uri(page(docname), typ)

    def get_output_path(self, page_name: str, /) -> Path:
        return Path(super().get_output_path(page(page_name)))

    def dump_search_index(self) -> None:
        super().dump_search_index()
        # The search leads to documents by their names, and knows of no other address.
        file = Path(self.outdir, self.searchindex_filename)
        before, _, index = file.read_text(encoding="utf-8").partition("(")
        found = json.loads(index.rpartition(")")[0])
        found["docnames"] = [page(one) for one in found["docnames"]]
        said = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        file.write_text(f"{before}({said})", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect everything below to the build."""
    # Where the sources can be read, like https://github.com/OWNER/NAME; empty where nobody knows.
    app.add_config_value("handbook_repository", "", "env", types=str)
    app.add_builder(Handbook)
    app.connect("source-read", _append_contents)
    # Before Sphinx gathers what is to be copied beside the pages.
    app.connect("doctree-read", _find_targets, priority=100)
    app.connect("doctree-resolved", _draw)
    app.connect("html-page-context", _navigate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _append_contents(app: Sphinx, document: str, source: list[str]) -> None:
    """Add the lists by which Sphinx knows an order, which no file for GitHub needs."""
    there = set(app.env.found_docs)
    if document == START:
        for section in contents(there, {}):
            named = dict.fromkeys(one.document for one in section.entries)
            source[0] += _list(section.caption, [one for one in named if one != START], hidden=True)
    elif document == f"{DECISIONS}/README":
        others = sorted(one for one in there if one.startswith(f"{DECISIONS}/") and one != document)
        source[0] += _list("", others, hidden=False)


def _list(caption: str, documents: list[str], *, hidden: bool) -> str:
    options = f":caption: {caption}\n" if caption else ""
    options += ":hidden:\n" if hidden else ":maxdepth: 1\n"
    lines = "".join(f"/{one}\n" for one in documents)
    return f"\n```{{toctree}}\n{options}\n{lines}```\n"


def _find_targets(app: Sphinx, doctree: nodes.document) -> None:
    """Lead links to what is no page to the repository, or leave their words where it is unknown."""
    here = PurePosixPath(app.env.docname).parent
    project = Path(app.srcdir)
    kinds = (addnodes.pending_xref, addnodes.download_reference)
    for link in [one for kind in kinds for one in doctree.findall(kind)]:
        if link.get("refdomain") == "doc" or link["reftarget"].startswith("#"):
            continue
        path = Path(project, here, link["reftarget"]).resolve()
        if not path.is_relative_to(project) or not path.exists():
            continue  # which Sphinx says
        name = path.relative_to(project).as_posix()
        inside = sorted(one for one in app.env.found_docs if one.startswith(f"{name}/"))
        if inside:
            first = f"{name}/README" if f"{name}/README" in inside else inside[0]
            found: nodes.Element = addnodes.pending_xref(
                refdomain="doc", reftarget=first, reftargetid=None, refdoc=app.env.docname,
                reftype="myst", refexplicit=True,
            )  # fmt: skip
        elif app.config.handbook_repository:
            kind = "tree" if path.is_dir() else "blob"
            address = f"{app.config.handbook_repository}/{kind}/main/{name}"
            found = nodes.reference(refuri=address, internal=False)
        else:
            found = nodes.inline(classes=["source"])
        found += link.children
        link.replace_self(found)


def _draw(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Set the drawings into the page, where they have its colours and its readers their words."""
    for image in list(doctree.findall(nodes.image)):
        if image["uri"].startswith(DIAGRAMS) and image["uri"].endswith(".svg"):
            drawn = Path(app.srcdir, image["uri"]).read_text(encoding="utf-8")
            image.replace_self(_inline(drawn, image["alt"]))
    fences = [
        one for one in doctree.findall(nodes.literal_block) if one.get("language") == "mermaid"
    ]
    for number, fence in enumerate(fences):
        try:
            name = f"{document.rpartition('/')[2].lower()}-{number}"
            picture = mermaid.read(fence.astext(), name=name)
            fence.replace_self(_inline(drawing.svg(picture), picture.title))
        except drawing.DrawingError as error:
            _log.warning("%s", error, location=fence)


def _inline(drawn: str, says: str) -> nodes.raw:
    # A wide drawing scrolls by itself on a narrow screen, with the keyboard too.
    opening = f'<span class="drawing" role="group" aria-label="{escape(says)}" tabindex="0">'
    return nodes.raw("", f"{opening}{drawing.for_page(drawn)}</span>", format="html")


def _navigate(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    titles: Mapping[str, nodes.title] = app.env.titles
    said = {name: title.astext() for name, title in titles.items()}
    shown = []
    for section in contents(app.env.found_docs, said):
        entries = []
        for one in section.entries:
            part = one.target.removeprefix(one.document)
            address = context["pathto"](one.document)
            address = part or address if address == "#" else address + part
            entries.append((one.title, address, one.target == pagename))
        shown.append((section.caption, entries))
    context["contents"] = shown
