"""The cluster query language selects what it says, and refuses what it cannot read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler.expressions import ExpressionError, compile_expression
from scheduler.model import InstanceKind
from tests.scheduler.clusters import instance

ONE = instance(
    "i-abcd1234",
    "us-east-1a",
    kind=InstanceKind(
        "t2.small", 1024, 2000, 2, 10, {"stack": "production", "ecs.agent-version": "1.14.5"}
    ),
)
ONE.in_service_at = datetime(2018, 2, 13, 12, tzinfo=UTC).timestamp()
ONE.of_group["service:production"] = 1


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        # The examples of the page.
        ("attribute:ecs.instance-type == t2.small", True),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", True),
        (
            "attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d",
            True,
        ),
        ("ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", True),
        ("attribute:stack == production and attribute:gone !exists", True),
        ("task:group == service:production", True),
        ("not(task:group == database)", True),
        ("agentVersion < 1.14.5", False),
        ("agentVersion <= 1.14.5", True),
        ("agentVersion > 1.9.0", True),
        ("registeredAt < 2018-02-13", False),
        ("registeredAt >= 2018-02-13T12:00:00Z", True),
        ("agentConnected == true", True),
        ("runningTasksCount < 1", True),
        # Both ways to write an operator.
        ("attribute:stack equals production", True),
        ("attribute:stack not_equals production", False),
        ("attribute:stack matches prod.*", True),
        ("attribute:stack !~ prod.*", False),
        ("attribute:stack not_in [test, staging]", True),
        ("attribute:stack exists && !(attribute:gone exists)", True),
        ("attribute:stack == test || attribute:stack == production", True),
        ("(attribute:stack == test or attribute:x exists) and attribute:stack exists", False),
        # Parts of a pattern are no match.
        ("attribute:ecs.instance-type =~ t2", False),
    ],
)
def test_an_expression_selects_what_it_says(expression: str, holds: bool) -> None:
    assert compile_expression(expression)(ONE) is holds


def test_and_binds_closer_than_or() -> None:
    text = "attribute:stack == production or attribute:x exists and attribute:y exists"
    assert compile_expression(text)(ONE)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("stack == production", "expected attribute:NAME, task:group, or one of"),
        ("attribute:stack", "expected an operator like ==, got the end"),
        (
            "attribute:stack is production",
            "expected an operator like ==, in, =~ or exists, got 'is'",
        ),
        ("attribute:stack in production", r"expected a list like \[a, b\], got 'production'"),
        ("attribute:stack in [a", "expected a closing bracket, got the end"),
        ("(attribute:stack exists", "expected a closing parenthesis, got the end"),
        ("attribute:stack =~ '('", "expected a regular expression"),
        ("attribute:stack == a b", "expected its end, got 'b'"),
        ("registeredAt < yesterday", "expected a time like 2018-02-13"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_was_expected(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        compile_expression(expression)
