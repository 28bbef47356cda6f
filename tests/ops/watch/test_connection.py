"""It shows what a person means: the rehearsal that is played, else the account, and says which."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from ops import __main__ as ops
from ops.aws import Aws
from ops.environment import Environment, Failed
from ops.watch.connection import connector
from ops.watch.faults import Faults
from ops.watch.rehearsal import NotPlayedError, RefusedError, Rehearsal
from settings import parse
from tests.conftest import Values
from tests.ops.world import World

NOBODY = "http://127.0.0.1:9"


class Played(BaseHTTPRequestHandler):
    """Answers as a rehearsal does, to what the watch asks of it."""

    asked: list[tuple[str, str, Any]]

    def do_GET(self) -> None:
        assert self.path == "/_rehearsal/requests"
        self.answer(200, {"at": 5.0, "groups": {"web": {"requests": 7, "failures": 1}}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append((self.path, self.headers["X-Drydock-Token"], body))
        if body.get("arguments") == ["us-east-9z"]:
            self.answer(400, {"error": "az us-east-9z: expected one of us-east-1a"})
        else:
            self.answer(200, {"words": "It is done.", "command": ""})

    def answer(self, status: int, body: Values) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of a rehearsal."""
    Played.asked = []
    with HTTPServer(("127.0.0.1", 0), Played) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def environment(values: Values) -> Environment:
    return Environment("sandbox", parse(values)["sandbox"])


Play = Callable[[str], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Write the files that a rehearsal keeps."""

    def play(endpoint: str) -> None:
        folder = tmp_path / "sandbox"
        folder.mkdir(exist_ok=True)
        (folder / "status.json").write_text(json.dumps({"endpoint": endpoint}))
        (folder / "token").write_text("secret")

    return play


def test_a_rehearsal_that_is_played_is_shown(
    environment: Environment, endpoint: str, play: Play, tmp_path: Path
) -> None:
    play(endpoint)
    found = connector(environment, state=tmp_path, variables={})()
    assert found.place == f"the rehearsal at {endpoint}"
    assert found.rehearsal is not None
    assert found.aws.ecs.meta.endpoint_url == endpoint


def test_the_account_is_shown_where_none_is_or_where_that_is_asked_for(
    world: World, endpoint: str, play: Play, tmp_path: Path
) -> None:
    on_aws = "AWS account 123456789012, us-east-1"
    connect = connector(world.environment, state=tmp_path, variables={})
    assert connect().place == on_aws
    # What a rehearsal that was killed has left.
    play(NOBODY)
    assert connect().place == on_aws
    play(endpoint)
    variables = {"AWS_ENDPOINT_URL": endpoint}
    found = connector(world.environment, on_aws=True, state=tmp_path, variables=variables)()
    assert (found.place, found.rehearsal) == (on_aws, None)


def test_aws_is_asked_whatever_endpoint_the_shell_names(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    found = connector(world.environment, on_aws=True, state=tmp_path)()
    assert found.aws.ecs.meta.endpoint_url == "https://ecs.us-east-1.amazonaws.com"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_an_endpoint_that_is_named_comes_first(
    environment: Environment, endpoint: str, play: Play, tmp_path: Path, how: str
) -> None:
    play(NOBODY)
    named = endpoint if how == "option" else None
    variables = {"AWS_ENDPOINT_URL": endpoint if how == "variable" else NOBODY}
    found = connector(environment, endpoint=named, state=tmp_path, variables=variables)()
    assert found.place == f"the rehearsal at {endpoint}"


def test_an_endpoint_that_is_no_rehearsal_is_called_what_it_is(
    environment: Environment, tmp_path: Path
) -> None:
    found = connector(environment, endpoint=NOBODY, state=tmp_path, variables={})()
    assert (found.place, found.rehearsal) == (f"the endpoint {NOBODY}", None)


@pytest.mark.parametrize(
    "url",
    ["localhost:4566", "nonsense", "ftp://127.0.0.1", "http://", "http://a b", "http://[::1",
     "http://127.0.0.1:http", "http://127.0.0.1:99999"],
)  # fmt: skip
def test_what_is_no_endpoint_is_said_with_its_place(
    environment: Environment, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = "expected http:// or https:// and a host, as http://127.0.0.1:4566, got"
    assert ops.main(["watch", "sandbox", "--port=0", f"--state={tmp_path}", "--endpoint", url]) == 1
    assert capsys.readouterr().err == f"--endpoint: {expected} {url!r}\n"
    variables = {"AWS_ENDPOINT_URL": url}
    with pytest.raises(Failed, match=rf"^AWS_ENDPOINT_URL: {expected} "):
        connector(environment, state=tmp_path, variables=variables)
    connector(environment, on_aws=True, state=tmp_path, variables=variables)


@contextmanager
def other(answer: bytes) -> Iterator[str]:
    """Run a program that is no rehearsal, and says that to everybody; give its URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listening.close()


def answered(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


OTHERS = {
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "the end in the middle": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "the end in the middle of an error": b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n{",
    "a page": answered("<html>"),
    "a list": answered("[]"),
    "a number": answered("1"),
    "other names": answered('{"status": "ok"}'),
    "other groups": answered('{"at": 1, "groups": []}'),
    "other counters": answered('{"at": 1, "groups": {"web": {"count": 1}}}'),
    "no counters": answered('{"at": 1, "groups": {"web": null}}'),
    "no moment": answered('{"at": "now", "groups": {}}'),
}


@pytest.mark.parametrize("answer", OTHERS.values(), ids=OTHERS)
def test_a_port_that_is_another_programs_by_now_is_no_rehearsal(
    answer: bytes, play: Play, tmp_path: Path
) -> None:
    with other(answer) as url:
        play(url)
        assert Rehearsal.of("sandbox", tmp_path) is None
        rehearsal = Rehearsal("sandbox", url, tmp_path / "sandbox")
        for ask in (rehearsal.requests, lambda: rehearsal.command("restore")):
            with pytest.raises((NotPlayedError, RefusedError)):
                ask()


@pytest.mark.parametrize(
    "text", ["[]", "1", "null", "{}", "{", '{"endpoint": "nonsense"}', '{"endpoint": "http://a b"}']
)
def test_a_status_file_that_says_something_else_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "status.json").write_text(text)
    assert Rehearsal.of("sandbox", tmp_path) is None


def test_a_rehearsal_that_ends_does_not_become_an_account(
    environment: Environment, endpoint: str, play: Play, tmp_path: Path
) -> None:
    play(endpoint)
    connect = connector(environment, state=tmp_path, variables={})
    connect()
    play(NOBODY)
    with pytest.raises(NotPlayedError, match="it plays again with: make local"):
        connect()
    # One that begins again may be elsewhere.
    play(endpoint)
    assert connect().place == f"the rehearsal at {endpoint}"


def test_without_a_rehearsal_and_credentials_it_says_how_to_get_either(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Failed) as failed:
        connector(environment, state=tmp_path, variables={})()
    assert "make local begins one" in failed.value.lines[0]
    assert "credentials: none found" in failed.value.lines[1]


@pytest.mark.usefixtures("world")
def test_the_wrong_account_is_not_shown(values: Values, tmp_path: Path) -> None:
    values["sandbox"]["account"] = "999999999999"
    environment = Environment("sandbox", parse(values)["sandbox"])
    with pytest.raises(Failed, match="expected 999999999999, but the credentials are those of"):
        connector(environment, state=tmp_path, variables={})()


def test_the_rehearsals_counters_are_read(endpoint: str, tmp_path: Path) -> None:
    at, counts = Rehearsal("sandbox", endpoint, tmp_path).requests()
    assert (at, counts) == (5.0, {"web": {"requests": 7, "failures": 1}})


@pytest.fixture
def faults(world: World, endpoint: str, play: Play, tmp_path: Path) -> Faults:
    play(endpoint)
    return Faults(Rehearsal("sandbox", endpoint, tmp_path / "sandbox"), world.aws, "boats")


def test_faults_of_the_rehearsals_own_are_asked_of_it_with_its_token(faults: Faults) -> None:
    assert faults.carry_out("instance", "i-1") == "It is done."
    faults.carry_out("image", "web", "crash")
    faults.carry_out("restore", "")
    assert Played.asked == [
        ("/_rehearsal/fail", "secret", {"kind": "instance", "arguments": ["i-1"]}),
        ("/_rehearsal/fail", "secret", {"kind": "image", "arguments": ["web", "crash"]}),
        ("/_rehearsal/restore", "secret", {}),
    ]


def test_what_the_rehearsal_refuses_is_said_in_its_words(faults: Faults) -> None:
    with pytest.raises(RefusedError, match="expected one of us-east-1a"):
        faults.carry_out("az", "us-east-9z")
    with pytest.raises(RefusedError, match="expected one of stop-task, drain"):
        faults.carry_out("everything", "")
    with pytest.raises(RefusedError, match="expected task to be named"):
        faults.carry_out("stop-task", "")


def test_what_aws_has_a_command_for_is_asked_of_its_api(world: World, faults: Faults) -> None:
    world.make_environment()
    world.answer("StopTask", lambda given: {"task": given})
    asked: list[tuple[str, str]] = []

    def update(given: Values) -> Values:
        (instance,) = given["containerInstances"]
        asked.append((instance, given["status"]))
        return {"failures": [{"reason": "MISSING"}] if instance == "arn:2" else []}

    world.answer("UpdateContainerInstancesState", update)
    assert "is told to stop" in faults.carry_out("stop-task", "a")
    assert "drains" in faults.carry_out("drain", "arn:1")
    with pytest.raises(RefusedError, match="MISSING"):
        faults.carry_out("drain", "arn:2")
    assert "takes tasks again" in faults.carry_out("activate", "arn:1")
    assert asked == [("arn:1", "DRAINING"), ("arn:2", "DRAINING"), ("arn:1", "ACTIVE")]
    assert world.calls == ["StopTask", *["UpdateContainerInstancesState"] * 3]
    assert Played.asked == []


def test_without_its_token_nothing_is_offered(endpoint: str, tmp_path: Path) -> None:
    rehearsal = Rehearsal("sandbox", endpoint, tmp_path / "elsewhere")
    assert Faults(rehearsal, Aws(boto3.Session(region_name="us-east-1")), "boats").offered() == []
    with pytest.raises(NotPlayedError):
        rehearsal.command("restore")


def test_the_command_says_why_there_is_nothing_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert ops.main(["watch", "sandbox", "--port=0", f"--state={tmp_path}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "make local begins one" in err
    assert ops.main(["watch", "elsewhere"]) == 1
    assert "'elsewhere': no such environment" in capsys.readouterr().err
