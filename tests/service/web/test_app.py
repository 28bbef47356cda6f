"""What the service answers, asked in process."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from dock.edge import Edge
from dock.identity import Identity, Who
from dock.lifecycle import Lifecycle
from dock.log import Log
from starlette.applications import Starlette
from starlette.routing import Mount
from web.app import build
from web.quotes import Quote, Quotes

from tests.service.conftest import SOURCE, Ask, Known

PATHS = ["/", "/identity", "/health/live", "/health/ready", "/burn?milliseconds=1", "/openapi.json"]


class Counted:
    """Quotes that are always there, and counted."""

    def __init__(self, quote: Quote | None) -> None:
        self.quote = quote
        self.fetched = 0

    async def fetch(self) -> Quote | None:
        self.fetched += 1
        return self.quote


QUOTE = Quote(text="Count the lifeboats.", task="arn:aws:ecs:us-east-1:1:task/c/q")


def app_of(
    identity: Identity | None = None,
    lifecycle: Lifecycle | None = None,
    quotes: Quotes | None = None,
) -> Starlette:
    return build(identity or Known(), lifecycle or Lifecycle(), quotes)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_path_is_read_with_get_and_head(asked: Ask, path: str, method: str) -> None:
    answer = asked(app_of(), path, method)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_a_wrong_method_is_told_the_right_ones(asked: Ask, path: str, method: str) -> None:
    answer = asked(app_of(), path, method)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert_problem(answer)


@pytest.mark.parametrize("path", ["/nope", "/identity/", "/health", "/Identity", "/%ff", "/x//"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_not_found(asked: Ask, path: str, method: str) -> None:
    answer = asked(app_of(), path, method)
    assert answer.status_code == 404
    assert_problem(answer)


@pytest.mark.parametrize(
    "query",
    [
        "0",
        "1001",
        "-1",
        "%2B1",
        "1.0",
        "1e2",
        "",
        "x",
        "01",
        "1_0",
        "%D9%A1",
        "1%00",
        "1%0A",
        "9" * 9,
    ],
)
def test_a_burn_out_of_range_is_refused(asked: Ask, query: str) -> None:
    answer = asked(app_of(), f"/burn?milliseconds={query}")
    assert answer.status_code == 400
    assert "milliseconds: expected an integer from 1 to 1000" in answer.json()["detail"]
    assert_problem(answer)


@pytest.mark.parametrize("query", ["x=1", "x", "=", "=1", "milliseconds=1&x=1", "Milliseconds=1"])
@pytest.mark.parametrize("path", [path.partition("?")[0] for path in PATHS])
def test_an_unknown_parameter_is_refused(asked: Ask, path: str, query: str) -> None:
    answer = asked(app_of(), f"{path}?{query}")
    assert answer.status_code == 400
    assert_problem(answer)


@pytest.mark.parametrize("query", ["milliseconds=1&milliseconds=1", "&".join(["a=1"] * 5000)])
def test_parameters_given_too_often_are_refused(asked: Ask, query: str) -> None:
    assert asked(app_of(), f"/burn?{query}").status_code == 400


def test_a_burn_uses_the_cpu_time_that_was_asked_for(asked: Ask) -> None:
    took = asked(app_of(), "/burn?milliseconds=80").json()
    assert took["milliseconds"] == 80
    assert 80 <= took["cpu_milliseconds"] < 120
    assert took["wall_milliseconds"] >= 79


def test_a_burn_takes_100_milliseconds_unless_told(asked: Ask) -> None:
    assert asked(app_of(), "/burn").json()["milliseconds"] == 100


def test_a_draining_task_is_live_but_not_ready(asked: Ask) -> None:
    lifecycle = Lifecycle()
    app = app_of(lifecycle=lifecycle)
    assert asked(app, "/health/ready").json() == {"status": "ready"}
    lifecycle.drain()
    assert asked(app, "/health/ready").status_code == 503
    assert asked(app, "/health/live").json() == {"status": "live"}
    assert asked(app, "/identity").status_code == 200


def test_page_and_json_tell_the_same(asked: Ask) -> None:
    fields = {name: f"the-{name}" for name in Who.__dataclass_fields__ if name != "hostname"}
    app = app_of(Known(**fields))
    told = asked(app, "/identity").json()
    assert told == {**fields, "hostname": "h", "quotes": "degraded"}
    page = asked(app, "/").text
    assert [name for name, text in told.items() if f"<dd>{text}</dd>" not in page] == []


def test_page_and_json_follow_what_is_learnt_later(asked: Ask) -> None:
    identity = Known()
    app = app_of(identity)
    assert asked(app, "/identity").json()["task"] == "unknown"
    identity.who = Who(hostname="h", task="arn:x/y")
    assert asked(app, "/identity").json()["task"] == "arn:x/y"
    assert "arn:x/y" in asked(app, "/").text


def test_the_page_escapes_what_it_was_told(asked: Ask) -> None:
    page = asked(app_of(Known(task="a/<script>", image="\"&'<b>")), "/").text
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&quot;&amp;&#x27;&lt;b&gt;" in page


def test_the_page_shows_a_quote_and_the_json_the_task_that_gave_it(asked: Ask) -> None:
    app = app_of(quotes=Counted(QUOTE))
    assert '<p class="quote">Count the lifeboats.</p>' in asked(app, "/").text
    assert f"<dd>{QUOTE.task}</dd>" in asked(app, "/").text
    assert asked(app, "/identity").json()["quotes"] == QUOTE.task


@pytest.mark.parametrize("quotes", [None, Counted(None)])
def test_without_a_quote_the_page_says_so_and_all_else_works(
    asked: Ask, quotes: Quotes | None
) -> None:
    app = app_of(quotes=quotes)
    page = asked(app, "/")
    assert page.status_code == 200
    assert "No quote: the service that gives them does not answer." in page.text
    assert asked(app, "/identity").json()["quotes"] == "degraded"


def test_the_page_escapes_a_quote_and_takes_no_dollar_for_a_place(asked: Ask) -> None:
    quotes = Counted(Quote(text="<script> $task costs $5", task="<b>$quote"))
    page = asked(app_of(Known(task="a/$quote", image="$quotes$"), quotes=quotes), "/").text
    assert "&lt;script&gt; $task costs $5" in page
    assert "<dd>&lt;b&gt;$quote</dd>" in page
    assert "<dd>a/$quote</dd>" in page
    assert "<dd>$quotes$</dd>" in page


def test_health_never_asks_for_a_quote(asked: Ask) -> None:
    quotes = Counted(None)
    app = app_of(quotes=quotes)
    for path in ("/health/live", "/health/ready", "/openapi.json", "/burn?milliseconds=1"):
        assert asked(app, path).status_code == 200
    assert quotes.fetched == 0


class Page(HTMLParser):
    """The tags, in order, with the attributes that matter to readers."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_from_elsewhere_and_suits_readers_and_phones(asked: Ask) -> None:
    answer = asked(app_of(), "/")
    page = Page()
    page.feed(answer.text)
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.search(r"url\(|@import|https?:", answer.text)
    assert ("html", {"lang": "en"}) in page.tags
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ) in page.tags
    assert "prefers-color-scheme: dark" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_in_both_colour_schemes(scheme: str) -> None:
    style = (SOURCE / "web/page.html").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style)
    found = re.findall(r"--(\w+): (#[0-9a-f]{6})", light if scheme == "light" else dark)
    colours = dict(found)
    # WCAG 2.2, 1.4.3: 4.5 to 1 for text.
    for name in ("ink", "soft", "link"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name


def contrast(first: str, second: str) -> float:
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_app_works_mounted_beside_others(asked: Ask) -> None:
    monolith = Starlette(routes=[Mount("/web", app_of()), Mount("/other", app_of())])
    assert asked(monolith, "/web/identity").status_code == 200
    assert asked(monolith, "/other/health/ready").status_code == 200
    assert asked(monolith, "/web/nope").headers["content-type"] == "application/problem+json"
    page = Page()
    page.feed(asked(monolith, "/web/").text)
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert links
    assert {asked(monolith, str(httpx.URL("/web/").join(link))).status_code for link in links} == {
        200
    }


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def edge(lines: list[dict[str, Any]]) -> Callable[[Starlette], Edge]:
    def around(app: Starlette) -> Edge:
        def write(written: bytes) -> None:
            lines.extend(json.loads(line) for line in written.splitlines())

        log = Log(task=lambda: "t", write=write)
        return Edge(app, lifecycle=Lifecycle(), log=log, quiet={"/health/live"})

    return around


def test_each_request_is_a_line_of_json(
    asked: Ask, edge: Callable[[Starlette], Edge], lines: list[dict[str, Any]]
) -> None:
    asked(edge(app_of()), '/a"b%0A%F0%9F%90%B3?secret=1', "DELETE")
    (line,) = lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 < line.pop("milliseconds") < 1000
    assert line == {
        "event": "request",
        "method": "DELETE",
        "path": '/a"b\n\N{SPOUTING WHALE}',
        "status": 404,
        "task": "t",
    }


def test_health_checks_are_logged_only_when_they_fail(
    asked: Ask, edge: Callable[[Starlette], Edge], lines: list[dict[str, Any]]
) -> None:
    app = edge(app_of())
    asked(app, "/health/live")
    assert lines == []
    asked(app, "/health/live", "POST")
    assert [line["status"] for line in lines] == [405]


def test_a_fault_of_ours_is_answered_and_logged(
    asked: Ask, edge: Callable[[Starlette], Edge], lines: list[dict[str, Any]]
) -> None:
    class Broken(Known):
        async def read(self) -> Who:
            raise RuntimeError("broken")

    answer = asked(edge(app_of(Broken())), "/identity")
    assert answer.status_code == 500
    assert_problem(answer)
    assert "broken" not in answer.text
    assert [line["event"] for line in lines] == ["error", "request"]
    assert "RuntimeError: broken" in lines[0]["traceback"]


IMAGES = ("web", "quotes", "monolith")


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_tested_here_is_what_the_image_installs(image: str) -> None:
    direct = (SOURCE / image / "requirements.in").read_text().split()
    assert [f"{name}=={version(name)}" for name in ("granian", "starlette")] == direct


@pytest.mark.parametrize("image", IMAGES)
def test_every_dependency_is_locked_by_hash_and_from_no_index_of_ours(image: str) -> None:
    locked = (SOURCE / image / "requirements.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^\s*#.*\n", "", locked))
    assert len(entries) >= 4
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[\w.]+", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "index" not in locked
    assert "://" not in locked


def assert_problem(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert set(problem) == {"title", "status", "detail"}
