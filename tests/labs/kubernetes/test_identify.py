"""The sidecar's program asks the service, and writes only when it is ready."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from dock.identity import look

from labs.kubernetes.sidecar import SCRIPT
from tests.conftest import until


class Service(BaseHTTPRequestHandler):
    """Answers with the status that the server has just now."""

    def do_GET(self) -> None:
        status: int = self.server.status  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    server.status = 503  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_writes_the_file_once_the_service_is_ready_and_ends_when_it_is_told_to(
    service: HTTPServer, tmp_path: Path
) -> None:
    file = tmp_path / "metadata.json"
    environment = {
        "SERVICE_PORT": str(service.server_port),
        "SERVICE_PATH": "/health/ready",
        "SERVICE_NAME": "web",
        "SERVICE_IMAGE": "sandbox-web:5a42",
        "POD_NAME": "sandbox-web-7d9f",
        "METADATA_FILE": str(file),
    }
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.read_text(encoding="utf-8")],
            env=os.environ | environment,
            stdout=out,
        )
    try:
        until(lambda: ": 503" in log.read_text(), seconds=20)
        assert not file.exists()
        service.status = 200  # type: ignore[attr-defined]
        until(file.exists, seconds=20)
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert json.loads(file.read_text()) == {
        "TaskARN": "pod/sandbox-web-7d9f",
        "ContainerName": "web",
        "ImageName": "sandbox-web:5a42",
        "MetadataFileStatus": "READY",
    }
    # What the service itself makes of it.
    who, complete = look("", str(file))
    assert complete
    assert (who.task_id, who.container_name, who.version) == ("sandbox-web-7d9f", "web", "5a42")
