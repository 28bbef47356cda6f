"""What Sphinx builds the site by; the folder that it reads is the project's own."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
# Sphinx is started with its own program's folder first on the path.
sys.path.insert(0, str(PROJECT))

project = "Drydock"
author = "Drydock"
extensions = ["myst_parser", "handbook.sphinx"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/**/*.md"]
exclude_patterns = [".[a-z]*", "node_modules", "cdk.*", "service", "tests"]
suppress_warnings: list[str] = []

# The slugs that GitHub gives headings, so that a link to one works in both.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Drydock"
html_favicon = "static/icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
templates_path = ["templates"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
