"""The service's route, as an app that can be served alone or mounted beside others."""

import json
from collections.abc import Mapping
from pathlib import Path

from dock import app
from dock.identity import Identity
from dock.lifecycle import Lifecycle
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotes.collection import pick


def build(identity: Identity, lifecycle: Lifecycle) -> Starlette:
    """Make the app: GET /quote gives a quote and the ARN of the task that gave it."""

    async def quote(request: Request) -> Response:
        app.parameters(request)
        who = await identity.read()
        return app.json_answer(json.dumps({"text": pick(), "task": who.task}).encode())

    return app.make(
        [Route("/quote", quote)],
        lifecycle=lifecycle,
        description=Path(__file__).with_name("openapi.json"),
    )


def make(_environ: Mapping[str, str], identity: Identity, lifecycle: Lifecycle) -> Starlette:
    """Make the app as a process of its own has it; it has no variables of its own."""
    return build(identity, lifecycle)
