"""The service's routes, as an app that can be served alone or mounted beside others."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from string import Template
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from web.burn import Burner, Busy
from web.identity import Identity, Who
from web.lifecycle import Lifecycle
from web.problem import Problem

_FOLDER = Path(__file__).parent
# Each answer is about the one container that gave it.
_FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build(identity: Identity, lifecycle: Lifecycle) -> Starlette:
    """Make the app. A parameter that a path does not have is refused, since it is a mistake."""
    burner = Burner()
    views = _Views()
    description = _json((_FOLDER / "openapi.json").read_bytes())

    async def page(request: Request) -> Response:
        _parameters(request)
        return views.page(await identity.read())

    async def who(request: Request) -> Response:
        _parameters(request)
        return views.json(await identity.read())

    async def live(request: Request) -> Response:
        _parameters(request)
        return _LIVE

    async def ready(request: Request) -> Response:
        _parameters(request)
        if lifecycle.draining:
            return _DRAINING
        return _READY

    async def burn(request: Request) -> Response:
        text = _parameters(request, "milliseconds").get("milliseconds", "100")
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
        return _json(json.dumps({"milliseconds": int(text), **asdict(burned)}).encode())

    async def openapi(request: Request) -> Response:
        _parameters(request)
        return description

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/identity", who),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/burn", burn),
            Route("/openapi.json", openapi),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    # A path with a slash too many is another path, and there is none of that name.
    app.router.redirect_slashes = False
    return app


class _Views:
    """The page and the JSON of one answer, kept until the answer changes."""

    def __init__(self) -> None:
        text = (_FOLDER / "page.html").read_text(encoding="utf-8")
        self._template = Template(text)
        style = text.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._page_headers = _FRESH | {
            "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}';"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
        }
        self._render(Who())

    def page(self, who: Who) -> Response:
        if who is not self._who:
            self._render(who)
        return self._page

    def json(self, who: Who) -> Response:
        if who is not self._who:
            self._render(who)
        return self._json

    def _render(self, who: Who) -> None:
        fields = {name: html.escape(text) for name, text in asdict(who).items()}
        self._who = who
        page = self._template.substitute(fields, task_id=html.escape(who.task_id))
        self._page = Response(page, media_type="text/html", headers=self._page_headers)
        self._json = _json(json.dumps(asdict(who)).encode())


def _parameters(request: Request, *known: str) -> Mapping[str, str]:
    query = request.scope["query_string"]
    if not query:
        return {}
    found: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            expected = ", ".join(known) or "none"
            detail = f"unknown parameter {name[:40]!r}; this path has: {expected}"
            raise HTTPException(400, detail)
        if name in found:
            raise HTTPException(400, f"{name}: expected once, got it again")
        found[name] = value
    return found


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json", headers=_FRESH)


# Starlette's answers hold no state of a request, so one object serves them all.
_LIVE = _json(b'{"status": "live"}')
_READY = _json(b'{"status": "ready"}')
_DRAINING = Problem(503, "This task is draining; ask another.")


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = error.detail
    if error.status_code == 404:
        detail = "There is nothing at this path; /openapi.json lists what there is."
    elif error.status_code == 405:
        detail = "This path is read with GET or HEAD."
    return Problem(error.status_code, detail, error.headers)


async def _failed(_request: Request, _error: Exception) -> Response:
    return Problem(500, "This is our fault; the log says more.")
