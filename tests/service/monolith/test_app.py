"""The monolith is the two applications, and nothing else."""

import json

import pytest
from dock.lifecycle import Lifecycle
from monolith.app import make
from quotes.collection import QUOTES
from starlette.applications import Starlette

from tests.service.conftest import Ask, Known, Start


@pytest.fixture
def app() -> Starlette:
    return make({}, Known(task="arn:x/y"), Lifecycle())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/identity", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/burn?milliseconds=1", 200),
        ("/openapi.json", 200),
        ("/quotes/quote", 200),
        ("/quotes/openapi.json", 200),
        ("/quote", 404),
        ("/quotes", 404),
        ("/nope", 404),
    ],
)
def test_both_applications_answer_below_their_own_path(
    asked: Ask, app: Starlette, path: str, status: int
) -> None:
    assert asked(app, path).status_code == status


def test_the_quote_on_the_page_comes_from_the_same_task(asked: Ask, app: Starlette) -> None:
    told = asked(app, "/identity").json()
    assert told["quotes"] == told["task"] == "arn:x/y"
    page = asked(app, "/").text
    assert any(f'<p class="quote">{quote}</p>' in page for quote in QUOTES)


def test_it_runs_as_one_process(start: Start) -> None:
    service = start("monolith")
    assert json.loads(service.get("/identity").body)["quotes"] == "unknown"
    assert json.loads(service.get("/quotes/quote").body)["text"] in QUOTES
