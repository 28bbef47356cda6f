"""Under the names of a namespace clients reach the tasks that may get requests, and no others."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rehearsal.engines import Network
from rehearsal.properties import BalancerError
from rehearsal.service_connect import (
    Endpoint,
    ServiceConnect,
    endpoints,
    host_options,
    namespace_of,
)
from tests.conftest import until

SERVICE = {
    "ServiceConnectConfiguration": {
        "Enabled": True,
        "Services": [
            {
                "PortName": "http",
                "DiscoveryName": "quotes",
                "ClientAliases": [{"Port": 8081, "DnsName": "quotes"}],
                "Timeout": {"PerRequestTimeoutSeconds": 2},
            }
        ],
    }
}
DEFINITION = {
    "ContainerDefinitions": [
        {
            "Name": "quotes",
            "PortMappings": [{"Name": "http", "ContainerPort": 8080, "AppProtocol": "http"}],
        }
    ]
}
NETWORK = Network("n", "127.0.5.1", "127.0.5.1", "127.0.5.0/24")


def test_what_a_service_offers_is_read_with_its_names_and_ports() -> None:
    (found,) = endpoints(SERVICE, DEFINITION, "sandbox")
    assert found == Endpoint("sandbox", "quotes", 8081, "quotes", 8080, "http", 2, 300)


def test_without_names_of_its_own_an_endpoint_has_those_of_its_port_and_namespace() -> None:
    service = {
        "ServiceConnectConfiguration": {
            "Enabled": "true", "Namespace": "other", "Services": [{"PortName": "http"}],
        }
    }  # fmt: skip
    definition = {
        "ContainerDefinitions": [
            {"Name": "db", "PortMappings": [{"Name": "http", "ContainerPort": 5432}]}
        ]
    }
    (found,) = endpoints(service, definition, "sandbox")
    assert found == Endpoint("other", "http.other", 5432, "db", 5432, "tcp", 15, 3600)


@pytest.mark.parametrize("configuration", [None, {}, {"Enabled": False, "Services": [{}]}])
def test_who_does_not_use_it_offers_nothing(configuration: object) -> None:
    service = {"ServiceConnectConfiguration": configuration}
    assert namespace_of(service, "sandbox") == ""
    assert list(endpoints(service, DEFINITION, "sandbox")) == []


def test_a_port_name_that_no_mapping_has_is_refused() -> None:
    with pytest.raises(BalancerError, match="one of none, got 'http'"):
        list(endpoints(SERVICE, {"ContainerDefinitions": []}, "sandbox"))


def test_names_lead_to_the_gateway_and_in_a_virtual_machine_to_the_engines_own_name() -> None:
    known = list(endpoints(SERVICE, DEFINITION, "sandbox"))
    assert host_options(NETWORK, known) == ["--add-host=quotes:127.0.5.1"]
    elsewhere = Network("n", "host.docker.internal", "127.0.0.1", "192.168.65.0/24")
    assert host_options(elsewhere, known) == ["--add-host=quotes:host-gateway"]


class Answering:
    """A task that answers with its own name, or hangs."""

    def __init__(self, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def tasks() -> Iterator[list[Answering]]:
    if sys.platform != "linux":
        pytest.skip("only Linux has more than one loopback address without being told")
    found = [Answering("one"), Answering("two")]
    yield found
    for one in found:
        one.close()


@pytest.fixture
def connect(tasks: list[Answering]) -> Iterator[ServiceConnect]:
    assert tasks
    found = ServiceConnect()
    yield found
    found.close()


def ask(port: int = 8081) -> tuple[int, str]:
    connection = http.client.HTTPConnection(NETWORK.listen_address, port, timeout=5)
    try:
        connection.request("GET", "/quote", headers={"Host": "quotes"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


(ENDPOINT,) = endpoints(SERVICE, DEFINITION, "sandbox")


def test_requests_go_to_all_tasks_in_turn_and_to_none_that_is_gone(
    connect: ServiceConnect, tasks: list[Answering]
) -> None:
    targets = {one: task.port for one, task in zip("ab", tasks, strict=True)}
    assert connect.update([NETWORK], {ENDPOINT: targets}) == []
    assert sorted(ask() for _ in range(4)) == [(200, "one")] * 2 + [(200, "two")] * 2
    connect.update([NETWORK], {ENDPOINT: {"b": targets["b"]}})
    assert {ask() for _ in range(6)} == {(200, "two")}
    connect.update([NETWORK], {ENDPOINT: targets})
    assert {ask() for _ in range(6)} == {(200, "one"), (200, "two")}


def test_a_task_that_has_died_unnoticed_costs_no_request(
    connect: ServiceConnect, tasks: list[Answering]
) -> None:
    connect.update([NETWORK], {ENDPOINT: {"a": tasks[0].port, "b": tasks[1].port}})
    tasks[0].server.shutdown()
    tasks[0].server.socket.close()
    assert [ask() for _ in range(10)] == [(200, "two")] * 10


def test_with_no_task_at_all_the_answer_comes_at_once(connect: ServiceConnect) -> None:
    connect.update([NETWORK], {ENDPOINT: {}})
    assert ask()[0] == 503


def test_a_proxy_that_is_killed_is_started_again(
    connect: ServiceConnect, tasks: list[Answering]
) -> None:
    targets = {ENDPOINT: {"a": tasks[0].port}}
    connect.update([NETWORK], targets)
    (proxy,) = connect._proxies.values()
    proxy.process._process.kill()
    proxy.process._process.wait()
    connect.update([NETWORK], targets)
    assert ask() == (200, "one")


def test_a_network_that_is_gone_and_an_endpoint_that_is_gone_are_offered_no_more(
    connect: ServiceConnect, tasks: list[Answering]
) -> None:
    targets = {ENDPOINT: {"a": tasks[0].port}}
    for networks, offered in (([], targets), ([NETWORK], {})):
        connect.update([NETWORK], targets)
        assert ask() == (200, "one")
        connect.update(networks, offered)
        until(lambda: not connect._proxies, seconds=1)
        with pytest.raises(OSError, match="refused"):
            ask()


def test_a_port_that_is_taken_is_told_and_tried_again(connect: ServiceConnect) -> None:
    with NETWORK.listen(8081):
        (trouble,) = connect.update([NETWORK], {ENDPOINT: {}})
    assert trouble.startswith("quotes: n: expected to listen on 127.0.5.1:8081")
    assert connect.update([NETWORK], {ENDPOINT: {}}) == []
    assert ask()[0] == 503


def test_closing_leaves_nothing(connect: ServiceConnect, tasks: list[Answering]) -> None:
    other = ServiceConnect()
    other.update([NETWORK], {ENDPOINT: {"a": tasks[0].port}})
    (proxy,) = other._proxies.values()
    folder = other._folder
    other.close()
    assert proxy.process.ended()
    assert not folder.exists()
    assert not connect._proxies
