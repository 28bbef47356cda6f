"""The floor: one stack with nothing in it."""

from __future__ import annotations

from aws_cdk import App, Stack


def build(app: App) -> None:
    """Add the stack to `app`."""
    Stack(app, "Empty")
