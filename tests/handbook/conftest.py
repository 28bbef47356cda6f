"""The site, built once, and a real Chromium to read it with."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import templates
from tests.chromium import browser as browser
from tests.conftest import PROJECT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def graph(assembly: Path) -> templates.Graph:
    """Both environments, read."""
    return templates.read(assembly)


def build_site(out: Path, *arguments: str, project: Path = PROJECT) -> tuple[int, str]:
    """Build the site as `make site` does; give the exit code, and what it said."""
    command = [sys.executable, "-m", "handbook", "site", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site."""
    out = tmp_path_factory.mktemp("handbook") / "site"
    code, said = build_site(out)
    assert code == 0, said
    return out


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served, on 127.0.0.1 only."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
