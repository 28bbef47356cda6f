"""Both environments, by the project's own app.py."""

from __future__ import annotations

from aws_cdk import App

import app as project
from settings import load


def build(app: App) -> None:
    """Add both environments to `app`."""
    project.build(app, load(project.PROJECT / "cdk.json", project.PROJECT / "cdk.local.json"))
