"""The page is for who sits here: no other site reads it or drives it."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ops.aws import Aws
from ops.environment import Failed
from ops.watch import server as served
from ops.watch.faults import Faults
from ops.watch.rates import Sample
from ops.watch.rehearsal import NotPlayedError, Rehearsal
from ops.watch.server import Server, forbidden
from tests.ops.watch.made import Scene, cluster, watched

PORT = 8090
OWN = {"host": "127.0.0.1:8090", "origin": "http://127.0.0.1:8090", "x-drydock-token": "secret"}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A watch of a rehearsal that can be broken, if it were played."""
    (tmp_path / "token").write_text("theirs")
    rehearsal = Rehearsal("sandbox", "http://127.0.0.1:9", tmp_path)
    faults = Faults(rehearsal, Aws(boto3.Session(region_name="us-east-1")), "boats")
    with watched(cluster(3, 6), is_rehearsal=True, faults=faults) as scene:
        yield scene


def ask(
    scene: Scene, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(scene.url.removeprefix("http://"), timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, names)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, dict(answer.getheaders())


def breaking(scene: Scene, **changes: str) -> tuple[int, str]:
    assert scene.server is not None
    headers = {"Origin": scene.url, "X_Drydock_Token": scene.server.token} | changes
    kept = {name: value for name, value in headers.items() if value}
    status, text, _ = ask(scene, "POST", "/fault", '{"kind": "az", "target": "us-east-1a"}', **kept)
    return status, text


@pytest.mark.parametrize(
    ("method", "path", "changes", "words"),
    [
        ("GET", "/", {}, ""),
        ("GET", "/events", {"sec-fetch-site": "same-origin"}, ""),
        ("GET", "/", {"host": "localhost:8090", "origin": ""}, ""),
        ("GET", "/", {"host": "rebound.test:8090"}, "The Host"),
        ("GET", "/", {"host": "127.0.0.1:80"}, "The Host"),
        ("GET", "/", {"host": ""}, "The Host"),
        ("GET", "/events", {"origin": "http://evil.test"}, "The Origin"),
        ("GET", "/events", {"origin": "null"}, "The Origin"),
        ("GET", "/events", {"origin": "http://localhost:8090"}, "The Origin"),
        ("GET", "/events", {"origin": "", "sec-fetch-site": "cross-site"}, "another site"),
        ("GET", "/page.js", {"origin": "", "sec-fetch-site": "same-site"}, "another site"),
        ("POST", "/fault", {}, ""),
        ("POST", "/fault", {"origin": ""}, "Only the page itself"),
        ("POST", "/fault", {"x-drydock-token": "guessed"}, "The token"),
        ("POST", "/fault", {"x-drydock-token": ""}, "The token"),
        ("POST", "/fault", {"origin": "http://evil.test"}, "The Origin"),
    ],
)
def test_each_request_is_judged_by_where_it_comes_from(
    method: str, path: str, changes: dict[str, str], words: str
) -> None:
    headers = {name: value for name, value in (OWN | changes).items() if value}
    why = forbidden(method, path, headers, port=PORT, token="secret")
    assert words in why
    assert bool(why) == bool(words)


def test_a_link_from_elsewhere_leads_to_the_page_and_no_frame_does() -> None:
    led = {
        "host": OWN["host"],
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert forbidden("GET", "/", led, port=PORT, token="secret") == ""
    for changes in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors"}):
        assert forbidden("GET", "/", led | changes, port=PORT, token="secret")
    assert forbidden("GET", "/events", led, port=PORT, token="secret")
    assert forbidden("POST", "/", led, port=PORT, token="secret")


def test_every_answer_allows_the_page_its_own_files_and_nothing_else(scene: Scene) -> None:
    for path in ("/", "/page.css", "/page.js", "/nothing"):
        status, _, headers = ask(scene, "GET", path)
        assert status == (404 if path == "/nothing" else 200)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers


def test_the_page_needs_no_other_server_and_no_build() -> None:
    folder = Path(served.__file__).parent
    for name in ("page.html", "page.css", "page.js"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//[\w-]+\.\w|@import|\bimport\b[^a-z]", text), name
        assert not re.findall(r"\sstyle=|\son\w+=", text), name


def test_another_site_reads_and_drives_nothing(scene: Scene) -> None:
    assert ask(scene, "GET", "/", Host="rebound.test")[0] == 403
    assert ask(scene, "GET", "/events", Origin="http://evil.test")[0] == 403
    for changes in (
        {"Origin": ""},
        {"Origin": "http://evil.test"},
        {"X_Drydock_Token": ""},
        {"X_Drydock_Token": "guessed"},
        {"Host": "rebound.test"},
    ):
        assert breaking(scene, **changes)[0] == 403, changes
    # The page's own is taken; that nobody plays is what is said then.
    status, text = breaking(scene)
    assert status == 400
    assert "no rehearsal answers" in text


def test_the_token_is_in_the_page_and_new_each_time(scene: Scene) -> None:
    assert scene.server is not None
    assert scene.server.token in ask(scene, "GET", "/")[1]
    with watched(cluster(3, 6)) as other:
        assert other.server is not None
        assert other.server.token != scene.server.token


def test_on_aws_nothing_is_broken_whoever_asks() -> None:
    with watched(cluster(3, 6)) as scene:
        status, text = breaking(scene)
    assert status == 403
    assert "no rehearsal" in text


@pytest.mark.parametrize("body", ["", "[]", "not json", '{"kind": "everything"}', "x" * 5000])
def test_what_is_no_fault_is_refused(scene: Scene, body: str) -> None:
    assert scene.server is not None
    headers = {"Origin": scene.url, "X_Drydock_Token": scene.server.token}
    status, text, _ = ask(scene, "POST", "/fault", body, **headers)
    assert status == 400, text


def test_all_is_sent_once_and_then_what_changes(scene: Scene) -> None:
    connection = http.client.HTTPConnection(scene.url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    first = message(answer)
    # The state before anything was read may come first.
    while "task:" not in "".join(first["changed"]):
        first = {**message(answer), "whole": first["whole"]}
    assert first["whole"] is True
    assert len([key for key in first["changed"] if key.startswith("task:")]) == 6
    scene.show(cluster(3, 5))
    second = message(answer)
    while not second["gone"]:
        second = message(answer)
    assert second["whole"] is False
    assert [key for key in second["gone"] if key.startswith("task:")] == [f"task:{5:08x}{5:024x}"]
    connection.close()


def test_a_source_that_is_opened_anew_tells_no_sample_twice(scene: Scene) -> None:
    watcher = scene.watcher
    assert watcher is not None
    half_an_hour = [Sample(60.0 * one, 60, 1, 0) for one in range(1, 31)]
    scene.samples = list(half_an_hour)
    connection = http.client.HTTPConnection(scene.url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    told: list[float] = []

    def hear(holds: Callable[[], bool]) -> None:
        while not holds():
            told.extend(one["at"] for one in message(answer)["samples"])

    hear(lambda: len(told) == 30)
    # After an error its rates may be throttled, and only then tell all again.
    scene.show(error=NotPlayedError("nobody plays"))
    hear(lambda: bool(watcher.state.records["meta"]["error"]))
    scene.show()
    hear(lambda: not watcher.state.samples)
    message(answer)
    scene.samples = [*half_an_hour, Sample(1860.0, 60, 2, 0)]
    scene.show()
    hear(lambda: len(told) > 30)
    assert told == [60.0 * one for one in range(1, 32)]
    connection.close()


def message(answer: http.client.HTTPResponse) -> Any:  # noqa: ANN401 - as it was sent
    while not (line := answer.readline()).startswith(b"data: "):
        assert line
    return json.loads(line.removeprefix(b"data: "))


def test_it_listens_on_the_loopback_only(scene: Scene) -> None:
    port = int(scene.url.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", port))


def test_a_port_that_is_asked_for_and_taken_is_said(scene: Scene) -> None:
    port = int(scene.url.rpartition(":")[2])
    assert scene.watcher is not None
    with pytest.raises(Failed, match=f"127.0.0.1:{port}: .*--port"):
        Server(scene.watcher, port=port, wall=float)


def test_the_usual_port_gives_way_to_another(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scene.watcher is not None
    monkeypatch.setattr(served, "PORT", int(scene.url.rpartition(":")[2]))
    other = Server(scene.watcher, wall=float)
    assert other.url != scene.url
    other.close()
