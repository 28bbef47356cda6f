"""Listeners and rules are read as CloudFormation has them, and what cannot be played is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import templates
from rehearsal.listener_rules import (
    Attributes,
    FixedResponse,
    Forward,
    Listener,
    Redirect,
    Rule,
    action_of,
)
from rehearsal.properties import BalancerError

ELB = "AWS::ElasticLoadBalancingV2"
FORWARD = {"Type": "forward", "TargetGroupArn": "group"}
ANY_PATH = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}


def listeners(graph: templates.Graph, stack: str) -> list[Listener]:
    found = graph.stack(stack).of_type(f"{ELB}::Listener")
    return [Listener.from_properties(one.logical_id, graph.properties(one)) for one in found]


def test_our_own_listeners_are_played(graph: templates.Graph) -> None:
    (sandbox,) = listeners(graph, "Sandbox/Ingress")
    assert (sandbox.port, sandbox.protocol) == (80, "HTTP")
    https, redirect = sorted(listeners(graph, "Production/Ingress"), key=lambda one: -one.port)
    assert (https.port, https.protocol) == (443, "HTTPS")
    assert isinstance(https.actions[https.arn], FixedResponse)
    action = redirect.actions[redirect.arn]
    assert isinstance(action, Redirect)
    assert (action.code, action.protocol, action.port) == (301, "HTTPS", "443")


@pytest.mark.parametrize("environment", ["Sandbox", "Production"])
def test_our_own_rules_are_played(graph: templates.Graph, environment: str) -> None:
    stack = graph.stack(f"{environment}/Web")
    (rule,), (group,) = (
        stack.of_type(f"{ELB}::{kind}") for kind in ("ListenerRule", "TargetGroup")
    )
    known = {f"{environment}-Web.{group.logical_id}": "the group"}
    read = Rule.from_properties("rule", graph.properties(rule, known=known))
    assert (read.priority, read.matches()) == (100, [["path -m beg -- '/'"]])
    assert read.action() == Forward({"the group": 1})


def test_our_own_attributes_are_played_or_named(graph: templates.Graph) -> None:
    (found,) = graph.stack("Production/Ingress").of_type(f"{ELB}::LoadBalancer")
    pairs = graph.properties(found)["LoadBalancerAttributes"]
    read = Attributes.read({one["Key"]: one["Value"] for one in pairs})
    assert (read.idle_timeout_seconds, read.drop_invalid_header_fields) == (60, True)
    assert read.departures == (
        "LoadBalancerAttributes: routing.http.desync_mitigation_mode = strictest is not played",
        "LoadBalancerAttributes: access_logs.s3.enabled = true is not played",
    )


def test_attributes_of_a_listener_are_named() -> None:
    read = Listener.from_properties(
        "listener",
        {
            "Port": "443",
            "Protocol": "HTTPS",
            "DefaultActions": [FORWARD],
            "MutualAuthentication": {"Mode": "verify"},
            "ListenerAttributes": [
                {"Key": "routing.http.response.server.enabled", "Value": "false"}
            ],
        },
    )
    assert read.departures == (
        "listener: its attribute routing.http.response.server.enabled = false is not played",
        "listener: clients are not asked for certificates",
    )


@pytest.mark.parametrize(
    ("weights", "slots"),
    [
        ({"a": 100}, ["a"]),
        ({"a": 90, "b": 10}, ["a"] * 9 + ["b"]),
        ({"a": 0, "b": 7, "c": 14}, ["b", "c", "c"]),
        ({"a": 0, "b": 0}, []),
    ],
)
def test_weights_are_drawn_in_lowest_terms(weights: dict[str, int], slots: list[str]) -> None:
    assert Forward(weights).slots() == slots


def forward_to(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": list(groups), **more}}


def redirect_to(**parts: str) -> dict[str, Any]:
    return {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", **parts}}


def fixed(**parts: object) -> dict[str, Any]:
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", **parts}}


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([], "Actions: expected exactly one of forward, redirect or fixed-response, got []"),
        ([FORWARD, FORWARD], "Actions: expected exactly one of forward, redirect or"),
        (
            [{"Type": "authenticate-oidc", "AuthenticateOidcConfig": {}}, FORWARD],
            "Actions: expected exactly one of forward",
        ),
        (
            [{"Type": "jwt-validation"}],
            "Actions[0].Type: expected fixed-response, forward or redirect, got 'jwt-validation'",
        ),
        (
            [forward_to({"TargetGroupArn": "a"}, TargetGroupStickinessConfig={"Enabled": True})],
            "Actions[0].ForwardConfig.TargetGroupStickinessConfig.Enabled: expected false, since "
            "stickiness is not played, got True",
        ),
        (
            [forward_to({"TargetGroupArn": "a", "Weight": "-1"})],
            "Actions[0].ForwardConfig.TargetGroups[0].Weight: expected an integer from 0 to 999, "
            "got '-1'",
        ),
        (
            [forward_to(*[{"TargetGroupArn": name} for name in "abcdef"])],
            "Actions[0].ForwardConfig.TargetGroups: expected at most 5",
        ),
        ([{"Type": "forward"}], "Actions[0].TargetGroupArn: expected a text, got None"),
        ([fixed(StatusCode="302")], "StatusCode: expected a code of 2XX, 4XX or 5XX, got '302'"),
        ([fixed(ContentType="image/png")], "ContentType: expected application/javascript, "),
        ([fixed(MessageBody="x" * 1025)], "MessageBody: expected at most 1024 characters, got"),
        ([redirect_to()], "RedirectConfig: expected another protocol, host, port or path"),
        ([redirect_to(Path="x")], "Path: expected a path that begins with /, got 'x'"),
        ([redirect_to(Path="/#{query}")], "and of keywords #{host}, #{path}, #{port}, got"),
        ([redirect_to(Host="a\nb")], "Host: expected at most 128 visible ASCII characters"),
        ([redirect_to(Protocol="FTP")], "Protocol: expected #{protocol}, HTTP or HTTPS, got 'FTP'"),
        ([redirect_to(Port="0")], "Port: expected an integer from 1 to 65535, got '0'"),
        ([redirect_to(Port="1", Case="x")], "Case: expected none but Protocol, Host, "),
    ],
)
def test_an_action_that_cannot_be_played_is_refused(
    actions: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(BalancerError, match=f"^place.*{re.escape(message)}"):
        action_of("place", "Actions", actions)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            {"Field": "moon-phase"},
            "Field: expected host-header, http-header, http-request-method, ",
        ),
        (
            {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/a$"]}},
            "PathPatternConfig.RegexValues: expected none but Values, got ['^/a$']",
        ),
        (
            {"Field": "path-pattern", "PathPatternConfig": {"Values": []}},
            "PathPatternConfig.Values: expected a list of texts, got []",
        ),
        (
            {"Field": "path-pattern", "Values": ["/a\nb"]},
            "Values: expected texts of at most 128 visible ASCII characters, got ['/a\\nb']",
        ),
        (
            {"Field": "host-header", "PathPatternConfig": {"Values": ["/"]}},
            "PathPatternConfig: expected none but Field, HostHeaderConfig, Values",
        ),
        (
            {
                "Field": "http-header",
                "HttpHeaderConfig": {"HttpHeaderName": "Host", "Values": ["a"]},
            },
            "HttpHeaderName: expected the name of a header other than Host, got 'Host'",
        ),
        (
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}},
            "HttpRequestMethodConfig.Values: expected methods of A-Z, - and _, got ['get']",
        ),
        (
            {"Field": "query-string", "QueryStringConfig": {"Values": ["a=b"]}},
            "QueryStringConfig.Values[0]: expected a mapping, got 'a=b'",
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["here"]}},
            "SourceIpConfig.Values: expected address ranges as 192.0.2.0/24, got ['here']",
        ),
    ],
)
def test_a_condition_that_cannot_be_played_is_refused(
    condition: dict[str, Any], message: str
) -> None:
    with pytest.raises(BalancerError, match=rf"^rule\.Conditions\[0\].*{re.escape(message)}"):
        Rule("rule", 1, [condition], [FORWARD])


def test_a_rule_that_cannot_be_played_is_refused() -> None:
    properties = {"Priority": 1, "Conditions": [ANY_PATH], "Actions": [FORWARD]}
    assert Rule.from_properties("rule", properties) == Rule("rule", 1, [ANY_PATH], [FORWARD])
    for changed, message in (
        ({"Priority": 0}, "rule.Priority: expected an integer from 1 to 50000, got 0"),
        ({"Conditions": []}, "rule.Conditions: expected a list of at least one condition, got ()"),
        ({"Transforms": [{"Type": "url-rewrite"}]}, "rule.Transforms: expected none but Actions"),
    ):
        with pytest.raises(BalancerError, match=re.escape(message)):
            Rule.from_properties("rule", properties | changed)


def test_a_listener_that_cannot_be_played_is_refused() -> None:
    rules = [Rule(name, 1, [ANY_PATH], [FORWARD]) for name in ("first", "second")]
    back = redirect_to(Protocol="HTTP", Port="80")
    alone = Listener("l", 80, "HTTP", [FORWARD])
    refused: list[tuple[dict[str, Any], str]] = [
        ({"protocol": "TCP"}, "l.Protocol: expected HTTP or HTTPS, got 'TCP'"),
        ({"port": 0}, "l.Port: expected an integer from 1 to 65535, got 0"),
        ({"default_actions": []}, "l.DefaultActions: expected exactly one of forward, redirect"),
        (
            {"rules": rules},
            "second.Priority: expected one of its own on its listener, got 1, which first has",
        ),
        (
            {"protocol": "HTTPS", "default_actions": [back]},
            "l.Protocol: expected #{protocol} or HTTPS, got 'HTTP'",
        ),
    ]
    for changed, message in refused:
        with pytest.raises(BalancerError, match=re.escape(message)):
            replace(alone, **changed)


def test_an_attribute_out_of_range_is_refused() -> None:
    message = "LoadBalancerAttributes.idle_timeout.timeout_seconds: expected an integer from 1 to"
    with pytest.raises(BalancerError, match=message):
        Attributes.read({"idle_timeout.timeout_seconds": "0"})
