"""Reads the service's settings from the environment; knows no server and no AWS."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """Says every value that is wrong, a line each: variable, value, expectation."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The port, and in seconds how long to drain and to keep an idle connection."""

    port: int
    drain_seconds: int
    keep_alive_seconds: int


def read(environ: Mapping[str, str]) -> Settings:
    """Take the settings from environment variables; raise SettingsError for bad ones."""
    faults: list[str] = []

    def number(name: str, default: int, low: int, high: int) -> int:
        text = environ.get(name, str(default))
        if re.fullmatch(r"[0-9]{1,5}", text) and low <= int(text) <= high:
            return int(text)
        faults.append(f"{name}: expected an integer from {low} to {high}, got {text!r}")
        return default

    settings = Settings(
        port=number("PORT", 8080, 1, 65535),
        # A Spot host gives its tasks two minutes in all.
        drain_seconds=number("DRAIN_SECONDS", 10, 0, 110),
        # The balancer's own idle timeout ends at 4000; ours must be longer than the one in use.
        keep_alive_seconds=number("KEEP_ALIVE_SECONDS", 75, 1, 4060),
    )
    if faults:
        raise SettingsError("\n".join(faults))
    return settings
