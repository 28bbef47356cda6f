"""The service's routes, as an app that can be served alone or mounted beside others."""

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict
from pathlib import Path
from string import Template

from dock.app import FRESH, json_answer, make, parameters
from dock.identity import Identity, Who
from dock.lifecycle import Lifecycle
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from web.burn import Burner, Busy
from web.quotes import Quote, Quotes

_FOLDER = Path(__file__).parent
# What stands in a quote's place where there is none.
DEGRADED = "degraded"
_NO_QUOTE = "No quote: the service that gives them does not answer. All else works."


def build(identity: Identity, lifecycle: Lifecycle, quotes: Quotes | None = None) -> Starlette:
    """Make the app. A parameter that a path does not have is refused, since it is a mistake.

    Without quotes it is as if they never answered. Neither health path asks for any.
    """
    burner = Burner()
    views = _Views()

    async def quote() -> Quote | None:
        return await quotes.fetch() if quotes else None

    async def page(request: Request) -> Response:
        parameters(request)
        return views.page(await identity.read(), await quote())

    async def who(request: Request) -> Response:
        parameters(request)
        return views.json(await identity.read(), await quote())

    async def burn(request: Request) -> Response:
        text = parameters(request, "milliseconds").get("milliseconds", "100")
        # Python's int() takes signs, blanks, underscores and other scripts' digits as well.
        if not re.fullmatch(r"[1-9][0-9]{0,2}|1000", text):
            detail = f"milliseconds: expected an integer from 1 to 1000, got {text[:40]!r}"
            raise HTTPException(400, detail)
        try:
            burned = await burner.burn(int(text))
        except Busy:
            raise HTTPException(
                429, "This task burns as much CPU as it may.", {"Retry-After": "1"}
            ) from None
        return json_answer(json.dumps({"milliseconds": int(text), **asdict(burned)}).encode())

    return make(
        [Route("/", page), Route("/identity", who), Route("/burn", burn)],
        lifecycle=lifecycle,
        description=_FOLDER / "openapi.json",
    )


class _Views:
    """The page and the JSON of one answer; what only the identity decides is kept."""

    def __init__(self) -> None:
        text = (_FOLDER / "page.html").read_text(encoding="utf-8")
        self._template = Template(text)
        style = text.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._page_headers = FRESH | {
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}';"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
        }
        self._render(Who())

    def page(self, who: Who, quote: Quote | None) -> Response:
        if who is not self._who:
            self._render(who)
        fields = {
            "quote": html.escape(quote.text if quote else _NO_QUOTE),
            "quotes": html.escape(quote.task if quote else DEGRADED),
        }
        content = self._page.substitute(fields)
        return Response(content, media_type="text/html", headers=self._page_headers)

    def json(self, who: Who, quote: Quote | None) -> Response:
        if who is not self._who:
            self._render(who)
        quotes = json.dumps(quote.task if quote else DEGRADED)
        return json_answer(f'{self._json}, "quotes": {quotes}}}'.encode())

    def _render(self, who: Who) -> None:
        fields = {name: html.escape(text) for name, text in asdict(who).items()}
        fields["task_id"] = html.escape(who.task_id)
        # What was told may hold a $, which is no place for a quote.
        fields = {name: text.replace("$", "$$") for name, text in fields.items()}
        self._who = who
        self._page = Template(self._template.safe_substitute(fields))
        self._json = json.dumps(asdict(who))[:-1]
