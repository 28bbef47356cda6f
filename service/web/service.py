"""The app as a process of its own has it: with the quotes that another service gives."""

from collections.abc import Mapping

from dock.identity import Identity
from dock.lifecycle import Lifecycle
from dock.settings import SettingsError
from starlette.applications import Starlette

from web.app import build
from web.quotes import RemoteQuotes


def make(environ: Mapping[str, str], identity: Identity, lifecycle: Lifecycle) -> Starlette:
    """Make the app; QUOTES_URL says where quotes are asked for, and without it nowhere."""
    url = environ.get("QUOTES_URL", "")
    if not url:
        return build(identity, lifecycle)
    try:
        quotes = RemoteQuotes(url)
    except ValueError:
        expected = "an address like http://quotes:8080"
        raise SettingsError(f"QUOTES_URL: expected {expected}, got {url!r}") from None
    return build(identity, lifecycle, quotes)
