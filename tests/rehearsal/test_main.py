"""A command that cannot be carried out says why, and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rehearsal.__main__ import main
from rehearsal.folder import Folder
from tests.conftest import PROJECT

Answer = tuple[int, bytes]


class Endpoint:
    """Answers every command with what a test has put into `answer`."""

    def __init__(self) -> None:
        outer = self
        self.answer: Answer = (200, b'{"words": "Done.", "command": ""}')

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status, body = outer.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path: Path, endpoint: Endpoint) -> Iterator[Folder]:
    """The folder of a rehearsal that is played, and steady."""
    found = Folder("sandbox", tmp_path)
    with found.claimed():
        found.write_status(phase="steady", endpoint=endpoint.url)
        yield found


def run(folder: Folder, *words: str) -> int:
    return main([f"--state={folder.path.parent}", *words])


@pytest.mark.parametrize("name", ["../other", "a/b", "", ".", "-x", "/"])
def test_a_name_that_could_lead_out_of_its_folder_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "other" / "processes" / "kept"
    kept.mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        main([f"--state={tmp_path / 'state'}", "down", "--", name])
    assert ended.value.code == 2
    assert (
        "expected an environment's name, of letters, digits and hyphens" in capsys.readouterr().err
    )
    assert kept.exists()


def test_a_secret_is_named_and_its_value_never_an_argument(
    assembly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["up", "sandbox", f"--assembly={assembly}", "--secret=DB=hunter2"]
    assert main([f"--state={tmp_path}", *words]) == 1
    said = capsys.readouterr().err
    assert "--secret DB=hunter2: expected the name of an environment variable" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, b'{"error": "task x: expected a running task"}'), "task x: expected a running task"),
        ((500, b"<html>no</html>"), "<html>no</html>"),
        ((403, b'{"message": "no"}'), '{"message": "no"}'),
        ((200, b"not JSON"), "expected an answer as JSON"),
    ],
)
def test_whatever_the_process_answers_is_told(
    folder: Folder,
    endpoint: Endpoint,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    said: str,
) -> None:
    endpoint.answer = answer
    assert run(folder, "fail", "capacity") == 1
    assert said in capsys.readouterr().err


def test_a_process_that_does_not_answer_is_told(
    folder: Folder, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_status(phase="steady", endpoint="http://127.0.0.1:9")
    assert run(folder, "restore") == 1
    assert "expected an answer as JSON" in capsys.readouterr().err
    assert endpoint.url


def test_no_proxy_of_the_machines_comes_between(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert run(folder, "fail", "capacity") == 0
    assert capsys.readouterr().err.startswith("Done.\n")


def test_what_is_still_starting_is_followed_by_up_and_refused_by_the_others(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_status(phase="starting")
    for words in (["fail", "capacity"], ["restore"], ["deploy"]):
        assert run(folder, *words) == 1
        assert "sandbox is still starting. Follow it with:" in capsys.readouterr().err
    assert run(folder, "status") == 0
    assert json.loads(capsys.readouterr().out) == {"phase": "starting"}
    folder.say("Something goes on.")
    # A process of its own, as its lock is not this one's to have.
    following = subprocess.Popen(
        [sys.executable, "-m", "rehearsal", f"--state={folder.path.parent}", "up"],
        cwd=PROJECT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert following.stderr is not None
    assert "is being started already; this follows it" in following.stderr.readline()
    assert following.stderr.readline() == "Something goes on.\n"
    folder.write_status(phase="failed")
    _, said = following.communicate(timeout=20)
    assert following.returncode == 1
    assert "It did not come up. The lines above say why; all there is: " in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port=99999"], "expected a port from 0 to 65535, got '99999'"),
        (["--endpoint-port=-5"], "expected a port from 0 to 65535, got '-5'"),
        (["--speed=fast"], "expected a number from 1 to 1000, got 'fast'"),
    ],
)
def test_an_option_of_no_use_is_refused_by_its_value(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([f"--state={tmp_path}", "up", "sandbox", *words])
    assert said in capsys.readouterr().err


def test_one_port_for_both_is_refused_before_anything_begins(
    assembly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["up", f"--assembly={assembly}", "--port=8081", "--endpoint-port=8081"]
    assert main([f"--state={tmp_path}", *words]) == 1
    assert "--endpoint-port 8081: expected another port than --port" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_enough_is_no_error(folder: Folder) -> None:
    folder.write_status(phase="steady", much=["x" * 1000] * 1000)
    status = f"{sys.executable} -m rehearsal --state={folder.path.parent} status"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{status} | head -n 1"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_a_second_beginning_keeps_what_the_first_has_logged(folder: Folder) -> None:
    folder.log.write_text("begun\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal", f"--state={folder.path.parent}", "serve", "sandbox",
         "--engine=processes"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "sandbox is being played by another process." in done.stderr
    assert folder.log.read_text(encoding="utf-8") == "begun\n"


@pytest.mark.parametrize("verb", ["down", "status", "deploy", "restore"])
def test_a_name_that_no_environment_has_is_told_with_those_there_are(
    verb: str,
    assembly: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("rehearsal.__main__.ASSEMBLY", assembly)
    assert main([f"--state={tmp_path}", verb, "sandbx"]) == 1
    assert "sandbx: expected an environment, one of production, sandbox" in capsys.readouterr().err
    # Of one that is gone from the settings there may be something to remove.
    Folder("sandbx", tmp_path).path.mkdir()
    assert main([f"--state={tmp_path}", "down", "sandbx"]) == 0
