"""Both applications in one: web at /, quotes at /quotes, and a call in the place of a request."""

from collections.abc import Mapping

from dock.identity import Identity
from dock.lifecycle import Lifecycle
from quotes import app as quotes
from quotes.collection import pick
from starlette.applications import Starlette
from starlette.routing import Mount
from web import app as web
from web.quotes import Quote


class LocalQuotes:
    """Takes quotes from the same process: nothing on the way can fail, and nothing is bounded."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def fetch(self) -> Quote:
        """Give a quote of the task that also answers."""
        who = await self._identity.read()
        return Quote(text=pick(), task=who.task)


def make(_environ: Mapping[str, str], identity: Identity, lifecycle: Lifecycle) -> Starlette:
    """Make the app; it has no variables of its own."""
    return Starlette(
        routes=[
            Mount("/quotes", quotes.build(identity, lifecycle)),
            Mount("/", web.build(identity, lifecycle, LocalQuotes(identity))),
        ]
    )
