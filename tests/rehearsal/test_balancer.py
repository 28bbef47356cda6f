"""The rehearsal's load balancer does what an Application Load Balancer does, as AWS describes it.

Where a promise is AWS's, the page it was read on stands in the module that keeps it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rehearsal.balancer import (
    Balancer,
    BalancerError,
    Counts,
    Listener,
    Rule,
    TargetGroup,
)
from rehearsal.balancer_configuration import CONNECT_SECONDS
from rehearsal.listener_rules import Attributes
from tests.conftest import hear_ctrl_c, until
from tests.rehearsal.load import Load
from tests.rehearsal.targets import Server, Servers, needs_haproxy

pytestmark = needs_haproxy

LISTENER, RULE, WEB, GREEN = "listener/app", "listener-rule/web", "targetgroup/web", "group/green"
PER_SECOND = 100
# Health checks come every 0.1 s, a deregistration delay of 30 s is 0.6 s.
SPEED = 50
Values = Mapping[str, Any]

NOT_FOUND = {
    "Type": "fixed-response",
    "FixedResponseConfig": {
        "StatusCode": "404",
        "ContentType": "application/json",
        "MessageBody": '{"error": "no such path"}',
    },
}


def forward(**weights: int) -> list[Values]:
    groups = [
        {"TargetGroupArn": WEB if name == "web" else GREEN, "Weight": weight}
        for name, weight in weights.items()
    ]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


def path(*patterns: str) -> Values:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": list(patterns)}}


def group(arn: str = WEB, *, delay: int = 30, **options: Any) -> TargetGroup:  # noqa: ANN401
    attributes = {"deregistration_delay.timeout_seconds": str(delay)} | options.pop(
        "attributes", {}
    )
    described: dict[str, Any] = {
        "name": arn.split("/")[1],
        "path": "/health",
        "interval_seconds": 5,
        "healthy_threshold": 3,
    }
    return TargetGroup(arn, attributes=attributes, **described | options)


def listener(*rules: Rule, **options: Any) -> Listener:  # noqa: ANN401
    described: dict[str, Any] = {
        "port": 80,
        "protocol": "HTTP",
        "default_actions": [NOT_FOUND],
        "rules": rules or (Rule(RULE, 100, [path("/*")], forward(web=1)),),
    }
    return Listener(LISTENER, **described | options)


@dataclass
class Answer:
    """What a client got; nothing at all has the status 0."""

    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def by(self) -> str:
        return str(json.loads(self.body)["hostname"])


class Scene:
    """A balancer and its targets; whatever waits here polls the balancer meanwhile."""

    def __init__(self, balancer: Balancer, servers: Servers) -> None:
        self.balancer = balancer
        self.servers = servers

    @property
    def port(self) -> int:
        return self.balancer.ports[LISTENER]

    def until(self, holds: Callable[[], bool], *, seconds: float = 20) -> float:
        """Poll until something holds; give how long that took. Fail after `seconds`."""

        def look() -> bool:
            self.balancer.poll(time.monotonic())
            return holds()

        return until(look, seconds=seconds, pause=0.02)

    def goes_on(self, seconds: float) -> None:
        """Poll for a while."""
        ends = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= ends, seconds=seconds + 20)

    def register(self, *names: str, arn: str = WEB) -> list[Server]:
        """Start targets and register them, and wait until each is healthy."""
        started = [self.servers.start(name) for name in names]
        for server in started:
            self.balancer.register(arn, server.target())
        self.until(lambda: all(self.state(name, arn) == "healthy" for name in names))
        return started

    def state(self, name: str, arn: str = WEB) -> str | None:
        health = self.balancer.health().get((arn, name))
        return health.state if health else None

    def counts(self, arn: str = WEB) -> Counts:
        self.balancer.poll(time.monotonic())
        return self.balancer.counters().groups[arn]

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        over: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """Ask once, over a connection of its own if none is given."""
        connection = over or self.client()
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        except (http.client.RemoteDisconnected, ConnectionResetError):
            connection.close()
            return Answer(0, http.client.HTTPMessage(), "")
        finally:
            if over is None:
                connection.close()

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def asking(self, path: str) -> tuple[threading.Thread, list[Answer]]:
        """Ask in a thread; the list gets the answer."""
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(self.ask(path)))
        asking.start()
        return asking, answers

    def load(self) -> Load:
        return Load(self.port, "/identity", PER_SECOND)


Stage = Callable[..., Scene]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Sets a scene; ends its balancer and its targets after the test."""
    balancers: list[Balancer] = []
    with Servers() as servers:

        def set_scene(
            *rules: Rule,
            groups: Sequence[TargetGroup] = (group(),),
            listeners: Sequence[Listener] = (),
            speed: float = SPEED,
            **options: Any,  # noqa: ANN401
        ) -> Scene:
            balancer = Balancer(listeners or [listener(*rules)], groups, speed=speed, **options)
            balancers.append(balancer)
            return Scene(balancer, servers)

        yield set_scene
        for balancer in balancers:
            balancer.close()


# Which requests go where.


@pytest.mark.parametrize(
    ("condition", "matching", "others"),
    [
        (path("/img/*.jpg"), [("/img/a/b.jpg", {})], [("/IMG/a.jpg", {}), ("/img/a.png", {})]),
        (path("/a?c"), [("/abc", {}), ("/abc?x=1", {})], [("/ac", {}), ("/abbc", {})]),
        (path("/one", "/two*"), [("/one", {}), ("/two/3", {})], [("/one/1", {})]),
        (path("/it's/$x+(y)"), [("/it's/$x+(y)", {})], [("/it's/$xx+(y)", {})]),
        (
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.Example.com"]}},
            [("/", {"Host": "WWW.example.com"}), ("/", {"Host": "a.b.example.com:8080"})],
            [("/", {"Host": "example.com"}), ("/", {"Host": "a.example.com.net"})],
        ),
        (
            {
                "Field": "http-header",
                "HttpHeaderConfig": {"HttpHeaderName": "X-Kind", "Values": ["*Chrome*", "a?, c"]},
            },
            [("/", {"x-kind": "x chrome, y"}), ("/", {"X-Kind": "AB, C"})],
            [("/", {"X-Kind": "ab"}), ("/", {"X-Sort": "Chrome"})],
        ),
        (
            {"Field": "query-string", "QueryStringConfig": {"Values": [
                {"Key": "version", "Value": "v1"}, {"Value": "*ample"}, {"Value": "\\*"}]}},
            [("/?version=V1", {}), ("/?a=b&version=v1&c=d", {}), ("/?x=Ample", {}), ("/?z=*", {})],
            [("/?version=v2", {}), ("/?version=v12", {}), ("/?x=examples", {}), ("/?z=y", {})],
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["127.0.0.0/8"]}},
            [("/", {"X-Forwarded-For": "192.0.2.1"})],
            [],
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["192.0.2.0/24", "2001:db8::/32"]}},
            [],
            [("/", {"X-Forwarded-For": "192.0.2.1"})],
        ),
    ],
)  # fmt: skip
def test_a_rule_matches_what_its_condition_says(
    stage: Stage,
    condition: Values,
    matching: list[tuple[str, dict[str, str]]],
    others: list[tuple[str, dict[str, str]]],
) -> None:
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "203"}}
    scene = stage(Rule(RULE, 1, [condition], [fixed]))
    for asked, headers in matching:
        assert scene.ask(asked, headers=headers).status == 203, (asked, headers)
    for asked, headers in others:
        assert scene.ask(asked, headers=headers).status == 404, (asked, headers)


def test_a_rule_matches_methods_as_they_are_written(stage: Stage) -> None:
    methods = {
        "Field": "http-request-method",
        "HttpRequestMethodConfig": {"Values": ["PUT", "X-Y"]},
    }
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "203"}}
    scene = stage(Rule(RULE, 1, [methods], [fixed]))
    found = {method: scene.ask(method=method).status for method in ("PUT", "X-Y", "POST", "put")}
    assert found == {"PUT": 203, "X-Y": 203, "POST": 404, "put": 404}


def test_a_rule_matches_only_where_all_its_conditions_do(stage: Stage) -> None:
    header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "x", "Values": ["1"]}}
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "203"}}
    scene = stage(Rule(RULE, 1, [path("/a*"), header], [fixed]))
    assert scene.ask("/a", headers={"x": "1"}).status == 203
    assert scene.ask("/a", headers={"x": "2"}).status == 404
    assert scene.ask("/b", headers={"x": "1"}).status == 404


def test_rules_are_tried_by_priority_and_the_default_action_last(stage: Stage) -> None:
    def fixed(code: int) -> list[Values]:
        return [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": str(code)}}]

    scene = stage(
        Rule("third", 300, [path("/*")], fixed(503)),
        Rule("first", 1, [path("/a/b*")], fixed(201)),
        Rule("second", 20, [path("/a*")], fixed(202)),
    )
    assert [scene.ask(asked).status for asked in ("/a/b", "/a/c", "/c")] == [201, 202, 503]


def test_a_fixed_response_has_its_code_its_type_and_its_body(stage: Stage) -> None:
    body = 'it\'s 100% "fixed", [x] \\n #{host}\nß'
    fixed = {
        "Type": "fixed-response",
        "FixedResponseConfig": {"StatusCode": 418, "ContentType": "text/css", "MessageBody": body},
    }
    scene = stage(Rule(RULE, 1, [path("/x")], [fixed]))
    answer = scene.ask("/x")
    assert (answer.status, answer.body) == (418, body)
    assert answer.headers["Content-Type"] == "text/css"
    assert answer.headers["Server"] == "awselb/2.0"
    assert json.loads(scene.ask("/y").body) == {"error": "no such path"}


@pytest.mark.parametrize(
    ("redirect", "asked", "location"),
    [
        ({"Protocol": "HTTPS", "Port": "443"}, "/a%20b?x=1&y=%41", "https://h.test:443/a%20b?x=1&y=%41"),
        ({"Protocol": "HTTPS", "Port": "443"}, "/", "https://h.test:443/"),
        ({"Host": "new.#{host}"}, "/p", "http://new.h.test:8080/p"),
        ({"Path": "/to/#{host}/#{port}/#{path}"}, "/p/q?r", "http://h.test:8080/to/h.test/8080/p/q?r"),
        ({"Path": "/50%/it's", "Query": ""}, "/p?q=1", "http://h.test:8080/50%/it's"),
        (
            {"Port": "81", "Query": "from=#{protocol}-#{host}-#{port}-#{path}&#{query}"},
            "/p?q=1",
            "http://h.test:81/p?from=http-h.test-8080-p&q=1",
        ),
    ],
)  # fmt: skip
def test_a_redirect_fills_in_its_keywords(
    stage: Stage, redirect: Values, asked: str, location: str
) -> None:
    action = {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_302", **redirect}}
    scene = stage(listeners=[listener(port=8080, default_actions=[action], rules=())])
    answer = scene.ask(asked, headers={"Host": "h.test:8080"})
    assert (answer.status, answer.headers["Location"]) == (302, location)


def test_https_is_played_as_http_and_targets_are_told_https(stage: Stage) -> None:
    scene = stage(listeners=[listener(port=443, protocol="HTTPS")])
    (server,) = scene.register("a")
    assert scene.ask().status == 200
    assert server.asked[-1].header("x-forwarded-proto") == ["https"]
    assert server.asked[-1].header("x-forwarded-port") == ["443"]
    assert any(LISTENER in one and "HTTPS" in one for one in scene.balancer.departures)


def test_it_listens_on_the_loopback_only(stage: Stage) -> None:
    scene = stage()
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    listening = [
        line.split()[1].split(":")[0]
        for table in tables
        if table.exists()
        for line in table.read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{scene.port:04X}") and line.split()[3] == "0A"
    ]
    assert listening in ([], ["0100007F"])
    assert (sys.platform == "linux") == bool(listening)


def test_a_listener_has_the_port_that_was_asked_for_or_says_that_it_is_taken(
    stage: Stage,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BalancerError, match=f"{LISTENER}: expected port {port} of 127.0.0.1"):
            stage(ports={LISTENER: port})
    assert stage(ports={LISTENER: port}).port == port


# Which targets get requests.


def test_a_target_gets_requests_once_it_has_passed_one_check(stage: Stage) -> None:
    scene = stage()
    server = scene.servers.start("a", health=500)
    assert scene.ask().status == 503
    scene.balancer.register(WEB, server.target())
    assert scene.balancer.health()[WEB, "a"].reason == "Elb.RegistrationInProgress"
    scene.balancer.poll(time.monotonic())
    assert scene.balancer.health()[WEB, "a"].reason == "Elb.InitialHealthChecking"
    assert scene.ask().status == 503
    server.health = 200
    # One is enough, though the group's threshold for those that come back is 3.
    scene.until(lambda: scene.state("a") == "healthy")
    assert len(server.checks) <= 3
    assert scene.ask().by == "a"


def test_a_health_check_is_made_as_aws_makes_it(stage: Stage) -> None:
    scene = stage(groups=(group(path="/health?deep=1"),))
    (server,) = scene.register("a")
    checked = server.checks[0]
    assert checked.line == "GET /health?deep=1 HTTP/1.1"
    assert checked.header("host") == [f"127.0.0.1:{server.port}"]
    assert checked.header("user-agent") == ["ELB-HealthChecker/2.0"]
    assert checked.header("connection") == ["close"]
    before = len(server.checks)
    scene.goes_on(1)
    # 5 s at 50 times the speed.
    assert 6 <= len(server.checks) - before <= 12


def test_a_health_check_goes_to_the_port_that_is_named(stage: Stage) -> None:
    scene = stage()
    server, other = scene.servers.start("a", health=500), scene.servers.start("b")
    scene.balancer.add_target_group(group(health_check_port=str(other.port)))
    scene.balancer.register(WEB, server.target())
    scene.until(lambda: scene.state("a") == "healthy")
    assert server.checks == []
    assert scene.ask().by == "a"


@pytest.mark.parametrize(
    ("health", "reason", "description"),
    [
        (500, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"),
        (301, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [301]"),
        ("nonsense", "Target.FailedHealthChecks", "Health checks failed"),
        ("closes", "Target.FailedHealthChecks", "Health checks failed"),
        ("hangs", "Target.Timeout", "Request timed out"),
    ],
)
def test_a_target_is_unhealthy_for_the_reason_that_aws_names(
    stage: Stage, health: int | str, reason: str, description: str
) -> None:
    # The timeout is the target's own time, which no speed shortens.
    scene = stage(groups=(group(matcher="200,204-299", timeout_seconds=2),))
    server, _ = scene.register("a", "b")
    server.health = health
    took = scene.until(lambda: scene.state("a") == "unhealthy")
    found = scene.balancer.health()[WEB, "a"]
    assert (found.reason, found.description) == (reason, description)
    assert took >= 2 or health != "hangs"
    assert {scene.ask().by for _ in range(4)} == {"b"}
    before = len(server.checks)
    server.health = 204
    scene.until(lambda: scene.state("a") == "healthy")
    assert len(server.checks) - before >= 3
    assert {scene.ask().by for _ in range(4)} == {"a", "b"}


def test_a_target_that_refuses_connections_has_failed_its_checks(stage: Stage) -> None:
    scene = stage()
    server, _ = scene.register("a", "b")
    scene.servers.kill(server)
    scene.until(lambda: scene.state("a") == "unhealthy")
    assert scene.balancer.health()[WEB, "a"].reason == "Target.FailedHealthChecks"


def test_where_no_target_is_healthy_all_unhealthy_ones_get_requests(stage: Stage) -> None:
    scene = stage()
    first, second = scene.register("a", "b")
    first.health = 500
    scene.until(lambda: scene.state("a") == "unhealthy")
    assert {scene.ask().by for _ in range(4)} == {"b"}
    # The last healthy one goes, and at that moment the others do for it.
    scene.balancer.deregister(WEB, "b")
    assert {scene.ask().by for _ in range(4)} == {"a"}
    scene.balancer.register(WEB, second.target())
    second.health = 500
    scene.until(lambda: scene.state("b") == "unhealthy")
    assert {scene.ask().by for _ in range(4)} == {"a", "b"}


def test_below_the_minimum_of_healthy_targets_all_get_requests(stage: Stage) -> None:
    name = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage"
    scene = stage(groups=(group(attributes={name: "60"}),))
    first, _ = scene.register("a", "b")
    first.health = 500
    scene.until(lambda: scene.state("a") == "unhealthy")
    assert {scene.ask().by for _ in range(4)} == {"a", "b"}


def test_a_group_that_no_rule_uses_is_not_checked(stage: Stage) -> None:
    scene = stage(groups=(group(), group(GREEN)))
    server = scene.servers.start("a")
    scene.balancer.register(GREEN, server.target())
    scene.goes_on(0.2)
    assert scene.balancer.health()[GREEN, "a"].reason == "Target.NotInUse"
    assert server.checks == []
    # Without weight it is used all the same.
    scene.balancer.set_actions(RULE, forward(web=1, green=0))
    scene.until(lambda: scene.state("a", GREEN) == "healthy")


def test_round_robin_takes_turns(stage: Stage) -> None:
    scene = stage()
    scene.register("a", "b", "c")
    found = [scene.ask().by for _ in range(9)]
    assert sorted(found[:3]) == ["a", "b", "c"]
    assert found == found[:3] * 3


def test_weighted_random_does_not(stage: Stage) -> None:
    chosen = {"load_balancing.algorithm.type": "weighted_random"}
    scene = stage(groups=(group(attributes=chosen),))
    scene.register("a", "b")
    found = [scene.ask().by for _ in range(200)]
    assert 60 < found.count("a") < 140
    assert found != ["a", "b"] * 100
    assert found != ["b", "a"] * 100


def test_least_outstanding_requests_spares_the_busy_target(stage: Stage) -> None:
    chosen = {"load_balancing.algorithm.type": "least_outstanding_requests"}
    scene = stage(groups=(group(attributes=chosen),))
    servers = {server.name: server for server in scene.register("a", "b")}
    asking, answers = scene.asking("/held")
    # HAProxy counts a request before its server has read it.
    scene.until(
        lambda: scene.counts().in_flight == 1 and any(one.asked for one in servers.values())
    )
    (busy,) = (name for name, one in servers.items() if one.asked)
    idle = "b" if busy == "a" else "a"
    assert {scene.ask().by for _ in range(10)} == {idle}
    servers[busy].go_on.set()
    asking.join()
    assert answers[0].by == busy


def test_a_slow_start_gives_a_new_target_a_growing_share(stage: Stage) -> None:
    # 60 s at 20 times the speed.
    slow = {"slow_start.duration_seconds": "60"}
    scene = stage(groups=(group(attributes=slow),), speed=20)
    scene.register("a")
    scene.register("b")

    def share() -> float:
        found = Counter(scene.ask().by for _ in range(100))
        return found["b"] / 100

    started = time.monotonic()
    assert share() < 0.2
    scene.goes_on(started + 1.5 - time.monotonic())
    assert 0.2 < share() < 0.45
    scene.goes_on(started + 3.3 - time.monotonic())
    assert 0.45 < share() < 0.55


def test_targets_that_come_together_to_an_empty_group_do_not_start_slowly(stage: Stage) -> None:
    scene = stage(groups=(group(attributes={"slow_start.duration_seconds": "900"}),), speed=20)
    scene.register("a", "b")
    assert Counter(scene.ask().by for _ in range(20)) == {"a": 10, "b": 10}
    # Beside them the next one does.
    scene.register("c")
    assert Counter(scene.ask().by for _ in range(50))["c"] < 5


# Targets come and go.


def test_no_request_fails_while_targets_come_and_go(stage: Stage) -> None:
    scene = stage()
    scene.register("t0", "t1")
    with scene.load() as load:
        scene.until(lambda: len(load.answering(since=0)) == 2)
        for number in range(2, 10):
            (new,) = scene.register(f"t{number}")
            old = f"t{number - 2}"
            scene.balancer.deregister(WEB, old)
            scene.until(lambda: scene.state(old) is None)  # noqa: B023 - called at once
            assert load.answering(since=time.monotonic() - 0.3) <= {f"t{number - 1}", new.name}
    assert load.failures == []
    assert load.asked > 4 * PER_SECOND
    assert load.answering(since=0) == {f"t{number}" for number in range(10)}


def test_requests_fail_where_a_target_is_killed_while_registered(stage: Stage) -> None:
    scene = stage(speed=1)
    first, _ = scene.register("a", "b")
    with scene.load() as load:
        scene.goes_on(0.5)
        assert load.failures == []
        scene.servers.kill(first)
        scene.goes_on(1)
    # Half of them, since nothing is asked a second time of another target.
    assert len(load.failures) > 0.3 * PER_SECOND * 0.5
    assert scene.counts().balancer_502 == len(load.failures)


def test_a_deregistered_target_gets_no_new_request_on_kept_connections_either(
    stage: Stage,
) -> None:
    scene = stage()
    scene.register("a", "b")
    clients = [scene.client() for _ in range(4)]
    assert {scene.ask(over=one).by for one in clients * 2} == {"a", "b"}
    scene.balancer.deregister(WEB, "a")
    assert {scene.ask(over=one).by for one in clients * 2} == {"b"}
    for one in clients:
        one.close()


def test_a_request_under_way_may_finish_within_the_delay(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    asking, answers = scene.asking("/held")
    scene.until(lambda: scene.counts().in_flight == 1)
    scene.balancer.deregister(WEB, "a")
    health = scene.balancer.health()[WEB, "a"]
    assert (health.state, health.reason) == ("draining", "Target.DeregistrationInProgress")
    scene.goes_on(0.3)
    server.go_on.set()
    asking.join()
    assert answers[0].by == "a"
    # It is shown as draining for the whole delay all the same: 30 s at 50 times the speed.
    assert scene.state("a") == "draining"
    scene.until(lambda: scene.state("a") is None, seconds=1)


def test_a_request_under_way_is_cut_when_the_delay_is_over(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    asking, answers = scene.asking("/held")
    scene.until(lambda: scene.counts().in_flight == 1)
    scene.balancer.deregister(WEB, "a")
    assert scene.until(lambda: scene.state("a") is None, seconds=10) > 0.55
    asking.join()
    assert answers[0].status == 502
    assert scene.counts().balancer_502 == 1
    assert not server.go_on.is_set()


def test_a_target_can_be_registered_again_later_and_while_it_drains(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    scene.balancer.deregister(WEB, "a")
    scene.until(lambda: scene.state("a") is None)
    scene.balancer.register(WEB, server.target())
    scene.until(lambda: scene.state("a") == "healthy")
    asking, answers = scene.asking("/held")
    scene.until(lambda: scene.counts().in_flight == 1)
    scene.balancer.deregister(WEB, "a")
    assert scene.state("a") == "draining"
    scene.balancer.register(WEB, server.target())
    assert scene.state("a") == "initial"
    scene.until(lambda: scene.state("a") == "healthy")
    assert scene.ask().by == "a"
    # What drains from before is still cut at its end, and only that.
    scene.until(lambda: not asking.is_alive(), seconds=2)
    assert answers[0].status in (0, 502)
    assert scene.state("a") == "healthy"
    assert scene.ask().by == "a"


def test_deregistering_what_is_not_there_does_nothing(stage: Stage) -> None:
    scene = stage()
    scene.balancer.deregister(WEB, "nobody")
    scene.register("a")
    scene.balancer.deregister(WEB, "a")
    scene.balancer.deregister(WEB, "a")
    assert scene.state("a") == "draining"


# Weights, groups and rules change.


def test_weights_shift_traffic_and_no_request_fails(stage: Stage) -> None:
    scene = stage(Rule(RULE, 1, [path("/*")], forward(web=100, green=0)),
                  groups=(group(), group(GREEN)))  # fmt: skip
    scene.register("blue")
    scene.register("green", arn=GREEN)
    shares = []
    with scene.load() as load:
        for green in (0, 10, 50, 100):
            # In lowest terms the first and the last are weights that AWS takes.
            scene.balancer.set_weights(RULE, {WEB: 1000 - 10 * green, GREEN: 10 * green})
            since, found = time.monotonic(), Counter[str]()
            while found.total() < 300:
                scene.goes_on(0.2)
                found = Counter(name for moment, name in load.answered if moment >= since)
            shares.append(found["green"] / found.total())
    assert load.failures == []
    # Four standard deviations of 300 draws.
    assert shares[0] == 0
    assert 0.03 < shares[1] < 0.17
    assert 0.38 < shares[2] < 0.62
    assert shares[3] == 1


def test_weights_of_many_parts_are_kept_exactly(stage: Stage) -> None:
    scene = stage(
        Rule(RULE, 1, [path("/*")], forward(web=1, green=1)), groups=(group(), group(GREEN))
    )
    scene.register("blue")
    scene.register("green", arn=GREEN)
    scene.balancer.set_weights(RULE, {WEB: 998, GREEN: 999})
    client = scene.client()
    found = Counter(scene.ask(over=client).by for _ in range(600))
    client.close()
    assert 240 < found["green"] < 360


def test_a_group_without_targets_gets_its_share_and_answers_503(stage: Stage) -> None:
    scene = stage(Rule(RULE, 1, [path("/*")], forward(web=1, green=1)),
                  groups=(group(), group(GREEN)))  # fmt: skip
    scene.register("blue")
    found = Counter(scene.ask().status for _ in range(100))
    assert set(found) == {200, 503}
    assert 25 < found[503] < 75
    assert scene.counts(GREEN).balancer_503 == found[503]
    scene.balancer.set_weights(RULE, {WEB: 0, GREEN: 0})
    assert scene.ask().status == 503


def test_a_default_action_changes_weights_too(stage: Stage) -> None:
    scene = stage(
        groups=(group(), group(GREEN)),
        listeners=[listener(rules=(), default_actions=forward(web=1, green=0))],
    )
    scene.register("blue")
    scene.register("green", arn=GREEN)
    assert scene.ask().by == "blue"
    pid = scene.balancer.pid
    scene.balancer.set_weights(LISTENER, {WEB: 0, GREEN: 1})
    assert scene.ask().by == "green"
    assert scene.balancer.pid == pid


def test_a_new_group_takes_a_spare_and_then_a_new_haproxy_and_no_request_fails(
    stage: Stage,
) -> None:
    scene = stage(spares=1)
    servers = scene.register("a", "b")
    pid = scene.balancer.pid
    client = scene.client()
    assert scene.ask(over=client).status == 200
    held, answers = scene.asking("/held")
    scene.until(lambda: scene.counts().in_flight == 1)
    with scene.load() as load:
        scene.goes_on(0.2)
        scene.balancer.add_target_group(group("targetgroup/spare"))
        assert scene.balancer.pid == pid
        for number in range(4):
            before = scene.balancer.pid
            scene.balancer.add_target_group(group(f"targetgroup/new-{number}"))
            scene.goes_on(0.3)
            assert (scene.balancer.pid != before) == (number % 2 == 0)
            # A kept connection is not closed on whoever may be writing to it, but after that.
            answer = scene.ask(over=client)
            assert answer.status == 200
            assert (answer.headers["Connection"] == "close") == (number % 2 == 0)
    assert load.failures == []
    # What was begun before is still counted, and finishes.
    assert scene.counts().in_flight == 1
    for server in servers:
        server.go_on.set()
    held.join()
    assert answers[0].status == 200
    client.close()
    counts = scene.counts()
    assert counts.requests == counts.target_2xx
    assert counts.requests >= len(load.answered) + 2
    # The processes that were left alone end, and nothing that they did is lost.
    scene.until(lambda: len(scene.balancer._left) == 0)
    counts = scene.counts()
    assert (counts.requests, counts.balancer_502) == (counts.target_2xx, 0)


def test_targets_drain_across_a_new_haproxy(stage: Stage) -> None:
    scene = stage(spares=0, groups=(group(delay=60),))
    first, second = scene.register("a", "b")
    clients = [scene.client() for _ in range(4)]
    assert {scene.ask(over=one).by for one in clients * 2} == {"a", "b"}
    asking, answers = scene.asking("/held")
    held: list[str] = []

    def is_held() -> bool:
        held[:] = [it.name for it in (first, second) for one in it.asked if "held" in one.line]
        return bool(held) and scene.counts().in_flight == 1

    scene.until(is_held)
    (busy,) = held
    idle = "b" if busy == "a" else "a"
    scene.balancer.add_target_group(group("targetgroup/new"))
    scene.balancer.deregister(WEB, busy)
    # Also where the old process still has the client.
    assert {scene.ask(over=one).by for one in clients} == {idle}
    scene.goes_on(0.5)
    assert asking.is_alive()
    assert scene.state(busy) == "draining"
    scene.until(lambda: scene.state(busy) is None, seconds=2)
    asking.join()
    assert answers[0].status in (0, 502)
    for one in clients:
        one.close()


def test_other_rules_take_a_new_haproxy_and_no_request_fails(stage: Stage) -> None:
    scene = stage()
    scene.register("a")
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "203"}}
    port = scene.port
    with scene.load() as load:
        for number in range(3):
            scene.goes_on(0.2)
            extra = Rule(f"rule/{number}", number + 1, [path(f"/extra-{number}")], [fixed])
            known = Rule(RULE, 100, [path("/*")], forward(web=1))
            scene.balancer.configure([listener(known, extra)])
            assert scene.ask(f"/extra-{number}").status == 203
        scene.balancer.set_actions("rule/2", [NOT_FOUND])
        assert scene.ask("/extra-2").status == 404
    assert load.failures == []
    assert scene.port == port
    assert scene.state("a") == "healthy"


def test_a_removed_group_leaves_its_backend_to_another(stage: Stage) -> None:
    scene = stage(groups=(group(), group(GREEN)), spares=0)
    scene.balancer.set_actions(RULE, forward(web=1, green=1))
    scene.register("green", arn=GREEN)
    with pytest.raises(BalancerError, match=f"{GREEN}: expected no rule to forward to it"):
        scene.balancer.remove_target_group(GREEN)
    scene.balancer.set_actions(RULE, forward(web=1))
    scene.balancer.remove_target_group(GREEN)
    pid = scene.balancer.pid
    scene.balancer.add_target_group(group(GREEN))
    scene.balancer.set_actions(RULE, forward(green=1))
    assert scene.ask().status == 503
    scene.goes_on(0.1)
    assert scene.state("green", GREEN) is None
    scene.register("again", arn=GREEN)
    assert scene.ask().by == "again"
    assert scene.balancer.pid == pid


# What becomes of a request.


def test_a_request_keeps_its_host_and_gets_the_headers_of_aws(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    scene.ask("/p?q=%41", headers={"Host": "Shop.Example.com:8080", "X-Forwarded-Proto": "gopher"})
    asked = server.asked[-1]
    assert asked.line == "GET /p?q=%41 HTTP/1.1"
    assert asked.header("host") == ["Shop.Example.com:8080"]
    assert asked.header("x-forwarded-for") == ["127.0.0.1"]
    assert asked.header("x-forwarded-proto") == ["http"]
    assert asked.header("x-forwarded-port") == ["80"]
    (trace,) = asked.header("x-amzn-trace-id")
    found = re.fullmatch(r"Root=1-([0-9a-f]{8})-[0-9a-f]{24}", trace)
    assert found
    assert abs(int(found[1], 16) - time.time()) < 60
    scene.ask()
    assert server.asked[-1].header("x-amzn-trace-id") != [trace]


def test_an_address_is_appended_to_those_that_are_there(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    scene.ask(headers={"X-Forwarded-For": "203.0.113.7, 10.0.0.1"})
    assert server.asked[-1].header("x-forwarded-for") == ["203.0.113.7, 10.0.0.1, 127.0.0.1"]
    for mode, expected in (("preserve", ["203.0.113.7"]), ("remove", [])):
        name = "routing.http.xff_header_processing.mode"
        scene.balancer.configure([listener()], {name: mode})
        scene.ask(headers={"X-Forwarded-For": "203.0.113.7"})
        assert server.asked[-1].header("x-forwarded-for") == expected


def test_a_trace_goes_on_with_the_root_that_it_has(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    root = "Root=1-67891233-abcdef012345678912345678"
    for sent in (f"{root};CalledFrom=app", f"Self=1-67891234-{'0' * 24};{root};CalledFrom=app"):
        scene.ask(headers={"X-Amzn-Trace-Id": sent})
        (trace,) = server.asked[-1].header("x-amzn-trace-id")
        assert re.fullmatch(rf"Self=1-[0-9a-f]{{8}}-[0-9a-f]{{24}};{root};CalledFrom=app", trace), (
            trace
        )


@pytest.mark.parametrize("drop", [True, False])
def test_invalid_header_names_are_dropped_where_the_attribute_says_so(
    stage: Stage, *, drop: bool
) -> None:
    name = "routing.http.drop_invalid_header_fields.enabled"
    scene = stage(attributes={name: str(drop).lower()})
    (server,) = scene.register("a")
    scene.ask(headers={"x_user": "1", "x-user": "2"})
    assert server.asked[-1].header("x_user") == ([] if drop else ["1"])
    assert server.asked[-1].header("x-user") == ["2"]


def test_connections_to_targets_are_kept_and_shared(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    for _ in range(50):
        assert scene.ask().status == 200
    assert server.connections <= 2


def test_a_kept_client_connection_closes_with_the_first_answer_after_its_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # AWS takes no less than 60 s.
    short = Attributes(client_keep_alive_seconds=1)
    monkeypatch.setattr(Attributes, "read", lambda _: short)
    scene = stage()
    scene.register("a")
    client = scene.client()
    assert scene.ask(over=client).headers["Connection"] is None
    scene.goes_on(1.1)
    answer = scene.ask(over=client)
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    client.close()


def test_answers_stream(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    client = scene.client()
    client.request("GET", "/stream")
    answer = client.getresponse()
    assert answer.read(5) == b"first"
    server.go_on.set()
    assert answer.read() == b"last"
    client.close()


def test_request_bodies_stream(stage: Stage) -> None:
    scene = stage()
    (server,) = scene.register("a")
    client = scene.client()
    client.putrequest("POST", "/upload")
    client.putheader("Content-Length", "2000000")
    client.endheaders(b"x" * 1000)
    scene.until(lambda: len(server.received) == 1000)
    client.send(b"x" * 1_999_000)
    assert client.getresponse().status == 200
    assert len(server.received) == 2_000_000
    client.close()


def test_a_websocket_goes_both_ways_until_the_idle_timeout(stage: Stage) -> None:
    scene = stage(attributes={"idle_timeout.timeout_seconds": "1"})
    scene.register("a")
    with socket.create_connection(("127.0.0.1", scene.port), timeout=5) as client:
        client.sendall(
            b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
        for number in range(4):
            time.sleep(0.4)
            client.sendall(b"frame %d" % number)
            assert client.recv(4096) == b"frame %d" % number
        assert scene.counts().in_flight == 1
        started = time.monotonic()
        assert client.recv(4096) == b""
        assert time.monotonic() - started > 0.8
    assert scene.counts().in_flight == 0


def test_502_says_that_a_target_refused(stage: Stage) -> None:
    scene = stage(speed=1)
    server, _ = scene.register("a", "b")
    scene.servers.kill(server)
    found = Counter(scene.ask().status for _ in range(4))
    assert found == {200: 2, 502: 2}
    assert scene.counts().balancer_502 == 2


def test_502_says_that_a_target_closed_without_an_answer(stage: Stage) -> None:
    scene = stage(speed=1)
    scene.register("a")
    answer = scene.ask("/die")
    assert (answer.status, answer.headers["Server"]) == (502, "awselb/2.0")
    # On a connection that had an answer before, the client's is closed: a departure, and counted.
    assert scene.ask().status == 200
    assert scene.ask("/die").status == 0
    scene.until(lambda: scene.counts().balancer_502 == 2)
    assert (scene.counts().requests, scene.counts().target_2xx) == (3, 1)


def test_503_says_that_no_target_is_registered(stage: Stage) -> None:
    scene = stage()
    assert scene.ask().status == 503
    scene.register("a")
    assert scene.ask("/status/503").by == "a"
    counts = scene.counts()
    assert (counts.balancer_503, counts.target_5xx, counts.requests) == (1, 1, 1)


def test_504_says_that_a_target_was_silent_for_the_idle_timeout(stage: Stage) -> None:
    scene = stage(attributes={"idle_timeout.timeout_seconds": "1"})
    scene.register("a")
    started = time.monotonic()
    assert scene.ask("/slow/3").status == 504
    assert time.monotonic() - started > 0.9
    assert scene.counts().balancer_504 == 1


def test_504_says_that_a_target_could_not_be_reached_in_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CONNECT_SECONDS == 10
    monkeypatch.setattr("rehearsal.balancer_configuration.CONNECT_SECONDS", 1)
    scene = stage(speed=1)
    (server,) = scene.register("a")
    scene.servers.kill(server)
    # A queue of connections that is full lets none come about.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind(("127.0.0.1", server.port))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.port))
        started = time.monotonic()
        answer = scene.ask()
    assert answer.status == 504
    assert 0.9 < time.monotonic() - started < 5
    assert scene.counts().balancer_504 == 1


def test_requests_are_counted_by_what_became_of_them(stage: Stage) -> None:
    scene = stage(groups=(group(), group(GREEN)))
    scene.register("a", "b")
    for code in (200, 201, 302, 404, 404, 500):
        assert scene.ask(f"/status/{code}").status == code
    held, _ = scene.asking("/slow/0.3")
    scene.until(lambda: scene.counts().in_flight == 1)
    counts = scene.counts()
    assert counts == Counts(7, 2, 1, 2, 1, 0, 0, 0, 1)
    held.join()
    scene.until(lambda: scene.counts() == Counts(7, 3, 1, 2, 1, 0, 0, 0, 0))
    targets = scene.balancer.counters().targets
    assert {targets[WEB, name].requests for name in "ab"} == {3, 4}
    # Those of a target that is gone stay with its group.
    scene.balancer.deregister(WEB, "a")
    scene.until(lambda: scene.state("a") is None)
    assert set(scene.balancer.counters().targets) == {(WEB, "b")}
    assert scene.counts().requests == 7
    assert scene.counts(GREEN) == Counts(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_a_client_that_goes_away_is_nobodys_error(stage: Stage) -> None:
    scene = stage()
    scene.register("a")
    assert scene.ask().status == 200
    for sent in (b"GET /slow/0.3 HTTP/1.1\r\nHost: a\r\n\r\n",
                 b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", scene.port)) as client:
            client.sendall(sent)
            scene.until(lambda: scene.counts().in_flight == 1)
        scene.until(lambda: scene.counts().in_flight == 0)
    scene.goes_on(0.2)
    counts = scene.counts()
    assert (counts.requests, counts.balancer_502, counts.balancer_504) == (3, 0, 0)


# HAProxy itself.


def test_an_haproxy_that_dies_is_started_again_with_the_same_targets(stage: Stage) -> None:
    said: list[str] = []
    scene = stage(say=said.append)
    first, _ = scene.register("a", "b")
    first.health = 500
    scene.until(lambda: scene.state("a") == "unhealthy")
    died = scene.balancer.pid
    assert died
    os.kill(died, signal.SIGKILL)
    # The port is never refused: who comes in between waits.
    asking, answers = scene.asking("/")
    server = scene.servers.start("c")
    scene.balancer.register(WEB, server.target())
    scene.until(lambda: not asking.is_alive())
    assert answers[0].by == "b"
    assert scene.balancer.pid != died
    assert said == ["HAProxy had ended; it was started again with the same targets"]
    scene.until(lambda: scene.state("c") == "healthy")
    assert {scene.ask().by for _ in range(4)} == {"b", "c"}


def test_close_leaves_nothing_behind(stage: Stage) -> None:
    scene = stage()
    pid, port, folder = scene.balancer.pid, scene.port, scene.balancer._folder
    assert pid
    assert folder.exists()
    scene.balancer.close()
    scene.balancer.close()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_an_owner_that_is_killed_leaves_nothing_behind() -> None:
    source = (
        "import threading, time\n"
        "from rehearsal.balancer import Balancer, Listener\n"
        "fixed = {'Type': 'fixed-response', 'FixedResponseConfig': {'StatusCode': '200'}}\n"
        "def begin():\n"
        "    global balancer\n"
        "    balancer = Balancer([Listener('l', 80, 'HTTP', [fixed])])\n"
        # Started by a thread that has ended, as some owners may.
        "starting = threading.Thread(target=begin)\n"
        "starting.start()\n"
        "starting.join()\n"
        "print(balancer.pid, balancer._folder, balancer.ports['l'], flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        pid, folder, port = one.stdout.readline().split()
        assert Path(folder).exists()
        os.kill(int(pid), 0)
        socket.create_connection(("127.0.0.1", int(port))).close()
        one.kill()
    started = time.monotonic()
    while Path(folder).exists() or running(int(pid)):
        assert time.monotonic() - started < 5
        time.sleep(0.05)


def test_ctrl_c_at_a_terminal_is_the_owners() -> None:
    source = (
        "import http.client, time\n"
        "from rehearsal.balancer import Balancer, Listener\n"
        "fixed = {'Type': 'fixed-response', 'FixedResponseConfig': {'StatusCode': '200'}}\n"
        "with Balancer([Listener('l', 80, 'HTTP', [fixed])]) as balancer:\n"
        "    try:\n"
        "        print(balancer.pid, balancer._folder, flush=True)\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n"
        "        time.sleep(0.3)\n"
        "    connection = http.client.HTTPConnection('127.0.0.1', balancer.ports['l'])\n"
        "    connection.request('GET', '/')\n"
        "    print(connection.getresponse().status, balancer._folder.exists(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear_ctrl_c,
    ) as one:  # fmt: skip
        assert one.stdout
        pid, folder = one.stdout.readline().split()
        os.killpg(one.pid, signal.SIGINT)
        assert one.stdout.readline() == "200 True\n"
        assert one.wait(10) == 0
    assert not Path(folder).exists()
    assert not running(int(pid))


def running(pid: int) -> bool:
    # In a container nobody may collect what an orphan was: then it is a zombie.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


# What it refuses.


def test_it_says_which_input_it_cannot_play(stage: Stage) -> None:
    scene = stage()
    server = scene.servers.start("a")
    unknown = "expected a target group of this balancer: targetgroup/web"
    with pytest.raises(BalancerError, match=f"^group/x: {unknown}$"):
        scene.balancer.register("group/x", server.target())
    scene.balancer.register(WEB, server.target())
    scene.balancer.register(WEB, server.target())
    elsewhere = replace(server.target(), port=1)
    with pytest.raises(BalancerError, match=f"a: expected 127.0.0.1:{server.port}, where it is"):
        scene.balancer.register(WEB, elsewhere)
    with pytest.raises(BalancerError, match="rule/x: expected a rule or a listener of this"):
        scene.balancer.set_weights("rule/x", {WEB: 1})
    with pytest.raises(BalancerError, match=f"{RULE}: expected to forward to target groups of"):
        scene.balancer.set_weights(RULE, {WEB: 1, GREEN: 1})
    with pytest.raises(BalancerError, match=r"Weight: expected an integer from 0 to 999, got 1001"):
        scene.balancer.set_weights(RULE, {WEB: 1001, GREEN: 1000})
    with pytest.raises(BalancerError, match="speed: expected a number above 0, got 0"):
        Balancer([listener()], [group()], speed=0)
    assert scene.state("a") == "initial"
