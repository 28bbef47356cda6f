"""Who may ask, how much, and what nobody is told."""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from botocore.exceptions import ClientError

from rehearsal.api import PortError, serve
from rehearsal.api.application import LIMIT, Application
from rehearsal.engines import Network
from rehearsal.records import Host
from tests.rehearsal.api.conftest import Served

SIGNED = (
    "AWS4-HMAC-SHA256 Credential=testing/20261124/us-east-1/ecs/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
TARGET = "AmazonEC2ContainerServiceV20141113.ListClusters"
ASKING = {
    "Authorization": SIGNED,
    "X-Amz-Target": TARGET,
    "Content-Type": "application/x-amz-json-1.1",
}


def ask(
    port: int,
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    path: str = "/",
    body: bytes = b"{}",
    host: str = "127.0.0.1",
    source: tuple[str, int] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Ask with these headers and no others, beside the Host where none is given."""
    connection = HTTPConnection(host, port, timeout=10, source_address=source)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_signed_request_for_this_address_is_answered(served: Served) -> None:
    for name in ("127.0.0.1", "localhost", "[::1]", "host.docker.internal",
                 "host.containers.internal"):  # fmt: skip
        host = {"Host": f"{name}:{served.server.port}"}
        status, headers, body = ask(served.server.port, ASKING | host)
        assert (status, list(json.loads(body))) == (200, ["clusterArns"])
        assert headers["x-amzn-RequestId"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost:1", ""])
def test_a_request_for_another_host_is_refused(served: Served, host: str) -> None:
    if ":" not in host:
        host = f"{host}:{served.server.port}"
    status, _, body = ask(served.server.port, ASKING | {"Host": host})
    assert (status, b"clusterArns" in body) == (403, False)


@pytest.mark.parametrize(
    "browser",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_web_page_of_another_site_is_refused(
    served: Served, browser: dict[str, str], method: str
) -> None:
    status, headers, _ = ask(served.server.port, ASKING | browser, method=method)
    assert status == 403
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_a_page_of_our_own_must_show_the_token(served: Served) -> None:
    server = serve(served.world, 0, token="secret", say=lambda _: None)
    try:
        own = ASKING | {"Origin": f"http://127.0.0.1:{server.port}"}
        assert ask(server.port, own)[0] == 403
        assert ask(server.port, own | {"X-Drydock-Token": "guess"})[0] == 403
        assert ask(server.port, own | {"X-Drydock-Token": "secret"})[0] == 200
    finally:
        server.close()


@pytest.mark.parametrize("path", ["/", "/?Action=TerminateInstances", "/moto-api/reset",
                                  "/latest/meta-data/iam", "/bucket/key"])  # fmt: skip
def test_what_a_page_can_send_without_asking_first_does_nothing(served: Served, path: str) -> None:
    for method in ("GET", "POST"):
        status, _, body = ask(served.server.port, {}, method=method, path=path, body=b"")
        assert status == 403
        assert b"Missing" in body


@pytest.mark.parametrize("path", ["/moto-api/reset", "/latest/meta-data/", "/v20180820/jobs"])
def test_no_path_leads_to_another_part_of_moto(served: Served, path: str) -> None:
    assert ask(served.server.port, ASKING, path=path)[0] == 200  # as ListClusters
    signed = {"Authorization": SIGNED.replace("/ecs/", "/s3/")}
    status, _, body = ask(served.server.port, signed, path=path)
    assert (status, json.loads(body)["__type"]) == (501, "NotImplemented")


def test_a_signature_that_names_no_service_is_not_passed_on(served: Served) -> None:
    lambda_first = SIGNED.replace("Credential", "a/20261124/us-east-1/lambda/aws4_request C")
    for signature in ("AWS4-HMAC-SHA256 nonsense", lambda_first):
        status, _, body = ask(served.server.port, {"Authorization": signature})
        assert (status, b"does not play the service" in body) == (501, True)


@pytest.mark.parametrize("service", ["ecs", "ecr", "s3"])
def test_no_answer_invites_other_sites(served: Served, service: str) -> None:
    headers: dict[str, str] = {}
    client = served.client(service)
    client.meta.events.register(
        "after-call.*", lambda http_response, **_: headers.update(http_response.headers)
    )
    if service == "s3":
        client.list_buckets()
    else:
        client.describe_repositories() if service == "ecr" else client.list_clusters()
    assert headers
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_a_body_that_is_too_large_is_refused_unread(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as connection:
        head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{served.server.port}\r\n"
        connection.sendall(f"{head}Content-Length: {LIMIT + 1}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(100)


def test_a_chunked_body_is_read_and_bounded(served: Served) -> None:
    head = ASKING | {"Transfer-Encoding": "chunked"}

    def chunked(body: bytes) -> tuple[int, bytes]:
        text = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        status, _, answer = ask(served.server.port, head, body=text)
        return status, answer

    status, answer = chunked(b'{"maxResults": 101}')
    assert (status, b"between 1 and 100" in answer) == (400, True)
    assert chunked(b" " * (LIMIT + 1))[0] == 413


def test_an_error_that_nobody_foresaw_is_logged_and_not_told(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(Application, "call", fail)
    with pytest.raises(ClientError, match=r"ServerException.*log says why") as caught:
        served.ecs.list_clusters()
    assert "house" not in str(caught.value)
    assert "the secret of the house" in caplog.text


def test_an_error_of_moto_s_is_logged_and_not_told(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    signed = SIGNED.replace("/ecs/", "/elasticloadbalancing/")
    form = {"Authorization": signed, "Content-Type": "application/x-www-form-urlencoded"}
    status, _, body = ask(served.server.port, form, body=b"Action=DescribeAccountLimits&Version=1")
    assert status == 500
    assert b"Traceback" not in body
    assert "Unknown ELB API version" in caplog.text


def test_another_region_is_told_where_the_rehearsal_is(served: Served) -> None:
    for service in ("ecs", "logs"):
        client = served.client(service, region="eu-west-1")
        with pytest.raises(ClientError, match="AWS_DEFAULT_REGION to us-east-1"):
            client.list_clusters() if service == "ecs" else client.describe_log_groups()


def test_what_is_asked_is_held_against_the_model(served: Served) -> None:
    def refused(body: object) -> tuple[str, str]:
        status, _, answer = ask(served.server.port, ASKING, body=json.dumps(body).encode())
        found = json.loads(answer)
        assert status == 400
        return found["__type"], found["message"]

    assert refused({"maxResults": "ten"})[0] == "SerializationException"
    assert refused([])[0] == "SerializationException"
    kind, words = refused({"unknownParameter": 1})
    assert (kind, "unknownParameter" in words) == ("InvalidParameterException", True)
    described = ASKING | {"X-Amz-Target": TARGET.replace("ListClusters", "DescribeServices")}
    status, _, answer = ask(served.server.port, described)
    assert (status, "'services'" in json.loads(answer)["message"]) == (400, True)
    status, _, answer = ask(served.server.port, ASKING, body=b"{")
    assert json.loads(answer)["__type"] == "SerializationException"
    nothing = ASKING | {"X-Amz-Target": TARGET + "X"}
    status, _, answer = ask(served.server.port, nothing)
    assert json.loads(answer)["__type"] == "UnknownOperationException"


def test_a_form_that_cannot_be_read_is_refused(served: Served) -> None:
    form = {
        "Authorization": SIGNED.replace("/ecs/", "/autoscaling/"),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    for body, words in ((b"a=&" * 10_001, b"MalformedQuery"), (b"Action=X", b"no operation X")):
        status, _, answer = ask(served.server.port, form, body=body)
        assert (status, words in answer, answer[:1]) == (400, True, b"<")


def test_what_a_form_asks_is_held_against_the_model(served: Served) -> None:
    form = {
        "Authorization": SIGNED.replace("/ecs/", "/autoscaling/"),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    for body, words in (
        ("Action=SetDesiredCapacity&DesiredCapacity=2", b"AutoScalingGroupName"),
        ("Action=SetDesiredCapacity&DesiredCapacity=two&AutoScalingGroupName=a", b"MalformedInput"),
        ("Action=DescribeAutoScalingGroups&Nonsense=1", b"Nonsense"),
    ):
        status, _, answer = ask(served.server.port, form, body=body.encode())
        assert (status, words in answer) == (400, True)


def test_errors_of_the_commands_are_told_in_one_shape(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    begins = True

    def control(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        del environ
        if begins:
            start_response("200 OK", [("Content-Length", "0")])
        raise RuntimeError("the secret of the house")

    server = serve(served.world, 0, control=control, say=lambda _: None)
    try:

        def failed(headers: Mapping[str, str]) -> tuple[int, list[str]]:
            status, got, body = ask(server.port, headers, path="/_rehearsal/fail")
            assert got["Content-Type"] == "application/json"
            assert b"house" not in body
            return status, list(json.loads(body))

        assert failed({}) == (500, ["error"])
        begins = False
        assert failed({}) == (500, ["error"])
        assert "the secret of the house" in caplog.text
        assert failed({"Origin": "https://evil.example"}) == (403, ["error"])
        assert failed({"Content-Length": str(LIMIT + 1)}) == (413, ["error"])
        assert failed({"Host": f"host.docker.internal:{server.port}"}) == (404, ["error"])
    finally:
        server.close()


@pytest.fixture
def loopbacks() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has more than one loopback address without being told")


@pytest.mark.usefixtures("loopbacks")
def test_containers_have_the_api_and_not_the_commands(served: Served) -> None:
    asked: list[str] = []

    def control(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    server = serve(served.world, 0, control=control, say=lambda _: None)
    try:
        network = Network("n", "127.0.0.2", "127.0.0.2", "127.0.0.0/24")
        served.world.on_network(Host("h", "i-1", "10.0.0.1", "subnet-1", network=network))
        assert ask(server.port, {}, path="/_rehearsal/fail")[0] == 200
        assert ask(server.port, {}, path="/_rehearsal/fail", host="127.0.0.2")[0] == 404
        machine = {"Host": f"host.docker.internal:{server.port}"}
        assert ask(server.port, machine, path="/_rehearsal/fail")[0] == 404
        assert asked == ["/_rehearsal/fail"]
        assert ask(server.port, ASKING, host="127.0.0.2")[0] == 200
        evil = {"Host": f"evil.example:{server.port}"}
        assert ask(server.port, ASKING | evil, host="127.0.0.2")[0] == 403
        served.world.on_removed(Host("h", "i-1", "10.0.0.1", "subnet-1", network=network))
        with pytest.raises(OSError, match="refused"):
            ask(server.port, {}, host="127.0.0.2")
    finally:
        server.close()


@pytest.mark.usefixtures("loopbacks")
def test_a_network_is_served_for_its_own_containers_alone(served: Served) -> None:
    served.server.listen_on(Network("n", "127.0.2.1", "127.0.2.1", "127.0.2.0/24"))
    for path, headers in (("/", ASKING), ("/v4/x", {}), ("/_rehearsal/fail", {})):
        status, _, body = ask(served.server.port, headers, path=path, host="127.0.2.1")
        assert (status, b"127.0.2.0/24" in body) == (403, True)
    inside = ("127.0.2.9", 0)
    assert ask(served.server.port, ASKING, host="127.0.2.1", source=inside)[0] == 200


@pytest.mark.usefixtures("loopbacks")
def test_a_network_that_is_gone_is_served_no_more_and_its_address_is_another_s(
    served: Served,
) -> None:
    server, source = served.server, ("127.0.3.9", 0)
    gone = Network("gone", "127.0.3.1", "127.0.3.1", "127.0.3.0/24")
    new = Network("new", "127.0.3.1", "127.0.3.1", "127.0.3.0/25")

    def status() -> int:
        return ask(server.port, ASKING, host="127.0.3.1", source=source)[0]

    server.listen_on(gone)
    server.listen_on(gone)
    assert status() == 200
    server.unlisten(gone)
    with pytest.raises(OSError, match="refused"):
        status()
    server.unlisten(gone)
    # The engine may give the address away before anybody hears of the removal.
    server.listen_on(gone)
    server.listen_on(new)
    server.unlisten(gone)
    assert status() == 200
    far = ask(server.port, ASKING, host="127.0.3.1", source=("127.0.3.200", 0))
    assert (far[0], b"127.0.3.0/25" in far[2]) == (403, True)
    people = Network("people", "127.0.0.1", "127.0.0.1", "127.0.0.0/8")
    server.listen_on(people)
    server.unlisten(people)
    assert ask(server.port, ASKING)[0] == 200
    server.close()
    server.listen_on(new)
    with pytest.raises(OSError, match="refused"):
        status()


def test_a_port_that_is_taken_is_named(served: Served) -> None:
    with pytest.raises(PortError, match=rf"127\.0\.0\.1:{served.server.port}: expected a port"):
        serve(served.world, served.server.port, say=lambda _: None)


def test_closing_frees_the_port_and_leaves_no_thread(served: Served) -> None:
    server = serve(served.world, 0, say=lambda _: None)
    port = server.port
    assert ask(port, ASKING)[0] == 200
    server.close()
    again = serve(served.world, port, say=lambda _: None)
    again.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)


def test_a_client_that_is_not_of_aws_sees_no_form_of_an_api(served: Served) -> None:
    status, headers, body = ask(served.server.port, {}, method="GET", body=b"")
    found: dict[str, Any] = json.loads(body)
    assert (status, found["__type"]) == (403, "MissingAuthenticationToken")
    assert headers["X-Content-Type-Options"] == "nosniff"
