"""An app with the paths and the manners that all services have in common."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dock.lifecycle import Lifecycle
from dock.problem import Problem

# Each answer is about the one container that gave it.
FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def make(routes: Iterable[BaseRoute], *, lifecycle: Lifecycle, description: Path) -> Starlette:
    """Make an app of those routes, with its health and its OpenAPI description (a JSON file).

    It can be served alone or mounted beside others.
    """
    described = json_answer(description.read_bytes())

    async def live(request: Request) -> Response:
        parameters(request)
        return _LIVE

    async def ready(request: Request) -> Response:
        parameters(request)
        return _DRAINING if lifecycle.draining else _READY

    async def openapi(request: Request) -> Response:
        parameters(request)
        return described

    app = Starlette(
        routes=[
            *routes,
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/openapi.json", openapi),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    # A path with a slash too many is another path, and there is none of that name.
    app.router.redirect_slashes = False
    return app


def parameters(request: Request, *known: str) -> Mapping[str, str]:
    """Give the query's parameters; raise HTTPException for one unknown, or given twice."""
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


def json_answer(content: bytes) -> Response:
    """Answer with JSON that is written already."""
    return Response(content, media_type="application/json", headers=FRESH)


# Starlette's answers hold no state of a request, so one object serves them all.
_LIVE = json_answer(b'{"status": "live"}')
_READY = json_answer(b'{"status": "ready"}')
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
