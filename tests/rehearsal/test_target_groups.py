"""Target groups are read as CloudFormation has them, and health moves as AWS says it does."""

from __future__ import annotations

import re
from typing import Any

import pytest

import templates
from rehearsal.properties import BalancerError
from rehearsal.target_groups import (
    FAILED,
    HEALTHY,
    INITIAL,
    REGISTERING,
    TIMED_OUT,
    Health,
    Target,
    TargetGroup,
)

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef"


@pytest.mark.parametrize("environment", ["Sandbox", "Production"])
def test_our_own_target_groups_are_played(graph: templates.Graph, environment: str) -> None:
    (found,) = graph.stack(f"{environment}/Web").of_type("AWS::ElasticLoadBalancingV2::TargetGroup")
    group = TargetGroup.from_properties(ARN, graph.properties(found))
    assert (group.name, group.path, group.matcher) == ("web", "/health/ready", "200")
    assert (group.interval_seconds, group.timeout_seconds) == (10, 5)
    assert (group.healthy_threshold, group.unhealthy_threshold) == (2, 3)
    assert group.algorithm == "least_outstanding_requests"
    assert group.deregistration_seconds == 30
    assert group.departures == ()


def test_what_a_template_leaves_out_is_as_aws_has_it() -> None:
    group = TargetGroup.from_properties(ARN, {"Protocol": "HTTP"})
    assert group == TargetGroup(ARN, "web")
    assert (group.interval_seconds, group.timeout_seconds) == (30, 5)
    assert (group.healthy_threshold, group.unhealthy_threshold) == (5, 2)
    assert (group.algorithm, group.slow_start_seconds) == ("round_robin", 0)
    assert group.deregistration_seconds == 300
    assert group.minimum_healthy(10) == 1


@pytest.mark.parametrize(
    ("matcher", "passing", "failing"),
    [("200", [200], [201, 404]), ("200-299,301", [200, 250, 299, 301], [300, 302])],
)
def test_a_matcher_has_codes_and_ranges(
    matcher: str, passing: list[int], failing: list[int]
) -> None:
    codes = TargetGroup(ARN, "web", matcher=matcher).expected_codes()
    assert all(any(code in one for one in codes) for code in passing)
    assert not any(code in one for one in codes for code in failing)


def attribute(name: str, value: str) -> dict[str, Any]:
    return {"TargetGroupAttributes": [{"Key": name, "Value": value}]}


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"Protocol": "HTTPS"}, ".Protocol: expected HTTP, got 'HTTPS'"),
        ({"ProtocolVersion": "GRPC"}, ".ProtocolVersion: expected HTTP1, got 'GRPC'"),
        ({"TargetType": "lambda"}, ".TargetType: expected instance or ip, got 'lambda'"),
        ({"HealthCheckProtocol": "HTTPS"}, ".HealthCheckProtocol: expected HTTP, got 'HTTPS'"),
        ({"HealthCheckEnabled": False}, ".HealthCheckEnabled: expected true, as for every"),
        ({"HealthCheckPath": "health"}, ".HealthCheckPath: expected a path that begins with /"),
        ({"HealthCheckPath": "/a b"}, ".HealthCheckPath: expected a path that begins with /"),
        ({"HealthCheckPort": "http"}, ".HealthCheckPort: expected an integer from 1 to 65535, got"),
        ({"HealthCheckIntervalSeconds": 4}, ".HealthCheckIntervalSeconds: expected an integer "),
        ({"HealthCheckTimeoutSeconds": 121}, ".HealthCheckTimeoutSeconds: expected an integer "),
        ({"UnhealthyThresholdCount": True}, ".UnhealthyThresholdCount: expected an integer from 2"),
        ({"Matcher": {"HttpCode": "200-"}}, ".Matcher.HttpCode: expected codes from 200 to 499 as"),
        ({"Matcher": {"HttpCode": "500"}}, ".Matcher.HttpCode: expected codes from 200 to 499 as"),
        ({"Matcher": {"GrpcCode": "0"}}, ".Matcher.GrpcCode: expected none but HttpCode, got '0'"),
        (
            attribute("stickiness.enabled", "true"),
            ".TargetGroupAttributes.stickiness.enabled: expected false, got 'true'",
        ),
        (
            attribute("deregistration_delay.timeout_seconds", "3601"),
            "deregistration_delay.timeout_seconds: expected an integer from 0 to 3600, got '3601'",
        ),
        (
            attribute("slow_start.duration_seconds", "29"),
            "slow_start.duration_seconds: expected 0, or an integer from 30 to 900, got '29'",
        ),
        (
            attribute("load_balancing.algorithm.type", "hash"),
            "load_balancing.algorithm.type: expected least_outstanding_requests, round_robin or "
            "weighted_random, got 'hash'",
        ),
    ],
)
def test_a_group_that_cannot_be_played_is_refused(properties: dict[str, Any], message: str) -> None:
    with pytest.raises(BalancerError, match=f"^{re.escape(ARN)}.*{re.escape(message)}"):
        TargetGroup.from_properties(ARN, {"Protocol": "HTTP"} | properties)


def test_a_slow_start_takes_round_robin() -> None:
    attributes = {
        "slow_start.duration_seconds": "30",
        "load_balancing.algorithm.type": "least_outstanding_requests",
    }
    with pytest.raises(BalancerError, match=r"slow_start\.duration_seconds: expected 0 but with"):
        TargetGroup(ARN, "web", attributes=attributes)


def test_a_target_has_an_address_and_a_port() -> None:
    with pytest.raises(BalancerError, match=r"^i-1:80\.host: expected an IP address, got 'web'$"):
        Target("i-1:80", "web", 80)
    with pytest.raises(
        BalancerError, match=r"^a\.port: expected an integer from 1 to 65535, got 0$"
    ):
        Target("a", "127.0.0.1", 0)


def test_health_moves_by_thresholds_but_for_the_first_check() -> None:
    group = TargetGroup(ARN, "web", healthy_threshold=3, unhealthy_threshold=2)
    health = Health()
    assert health.now == REGISTERING
    health.begin()
    seen = []
    for result in (FAILED, HEALTHY, FAILED, HEALTHY, TIMED_OUT, FAILED, TIMED_OUT, HEALTHY,
                   HEALTHY, FAILED, HEALTHY, HEALTHY, HEALTHY):  # fmt: skip
        health.take(result, group)
        seen.append(health.now)
    assert seen == [INITIAL, HEALTHY, HEALTHY, HEALTHY, HEALTHY, FAILED, TIMED_OUT, TIMED_OUT,
                    TIMED_OUT, FAILED, FAILED, FAILED, HEALTHY]  # fmt: skip


def test_a_target_that_never_passes_becomes_unhealthy() -> None:
    group, health = TargetGroup(ARN, "web", unhealthy_threshold=2), Health()
    health.begin()
    health.take(FAILED, group)
    assert health.now == INITIAL
    health.take(TIMED_OUT, group)
    assert health.now == TIMED_OUT
