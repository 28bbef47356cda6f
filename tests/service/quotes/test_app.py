"""What the service quotes answers."""

import json
from typing import Any

import pytest
import schemathesis
from dock.lifecycle import Lifecycle
from hypothesis import HealthCheck, settings
from quotes.app import build
from quotes.collection import QUOTES

from tests.service.conftest import SOURCE, Ask, Known, Running, Start

DESCRIPTION = SOURCE / "quotes/openapi.json"
schema = schemathesis.openapi.from_path(DESCRIPTION)
steady = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def service(start: Start) -> Running:
    return start("quotes")


def test_a_quote_is_one_of_the_collection_and_says_which_task_gave_it(asked: Ask) -> None:
    app = build(Known(task="arn:x/y"), Lifecycle())
    seen = [asked(app, "/quote").json() for _ in range(200)]
    assert {one["task"] for one in seen} == {"arn:x/y"}
    assert len({one["text"] for one in seen}) > len(QUOTES) / 2
    assert {one["text"] for one in seen} <= set(QUOTES)


def test_a_draining_task_still_gives_quotes(asked: Ask) -> None:
    lifecycle = Lifecycle()
    lifecycle.drain()
    app = build(Known(), lifecycle)
    assert asked(app, "/health/ready").status_code == 503
    assert asked(app, "/health/live").status_code == 200
    assert asked(app, "/quote").status_code == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/quote?x=1", "GET", 400), ("/quote", "POST", 405), ("/quote/", "GET", 404)],
)
def test_what_is_not_offered_is_refused(asked: Ask, path: str, method: str, status: int) -> None:
    answer = asked(build(Known(), Lifecycle()), path, method)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@schema.parametrize()
@settings(steady, max_examples=20)
def test_every_answer_is_one_that_the_description_allows(
    case: schemathesis.Case[Any], service: Running
) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1:{service.port}")


def test_the_description_is_served_as_it_is(service: Running) -> None:
    assert json.loads(service.get("/openapi.json").body) == json.loads(DESCRIPTION.read_text())


def test_no_quote_is_longer_than_web_takes() -> None:
    assert max(map(len, QUOTES)) < 200
    assert len(set(QUOTES)) == len(QUOTES)
