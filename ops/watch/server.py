"""Serves the page on 127.0.0.1, the state as it changes, and takes faults; for no other site.

A web page of another site can make a browser send requests here. It may not read an answer, since
none allows that; what it sends is refused by its Host (DNS rebinding), its Origin and its
Sec-Fetch-Site; and a fault wants the token that only the page itself has.
"""

from __future__ import annotations

import hmac
import html
import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.environment import Failed
from ops.watch.rehearsal import NotPlayedError, RefusedError
from ops.watch.snapshot import Record, changes
from ops.watch.watcher import Watcher

PORT = 8090
HOST = "127.0.0.1"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TOKEN_HEADER = "X-Drydock-Token"  # noqa: S105 - a header's name
LIMIT = 4096
# After so long without a change a line is sent that says nothing, so that a client that is gone
# shows.
PING_SECONDS = 10
CLIENT_SECONDS = 60


class Server:
    """The socket that is served, until `close`; raises Failed where its port is taken."""

    def __init__(
        self, watcher: Watcher, *, port: int | None = None, wall: Callable[[], float]
    ) -> None:
        """Listen on `port`, or else on the usual one, or where that is taken on any."""
        try:
            self._server = _Listening(PORT if port is None else port, watcher, wall)
        except OSError as error:
            if port is not None:
                raise Failed(
                    f"{HOST}:{port}: {error.strerror or error}; name another with --port"
                ) from error
            self._server = _Listening(0, watcher, wall)
        self._watcher = watcher
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def token(self) -> str:
        """What the page has to show to break something."""
        return self._server.token

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self._server.server_port}"

    def close(self) -> None:
        """End, with every connection that there is."""
        self._watcher.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Listening(ThreadingHTTPServer):
    """A thread a connection; each ends with the process."""

    daemon_threads = True

    def __init__(self, port: int, watcher: Watcher, wall: Callable[[], float]) -> None:
        self.watcher = watcher
        self.wall = wall
        self.token = secrets.token_urlsafe(24)
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - its own
        """Say nothing of browsers that go away in the middle of an answer."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def forbidden(method: str, path: str, headers: Mapping[str, str], *, port: int, token: str) -> str:
    """Say why a request is refused; nothing where it is not. Header names are in lower case."""
    own = {f"{name}:{port}" for name in (HOST, "localhost")}
    host = headers.get("host", "").lower()
    if host not in own:
        return f"The Host {host!r:.100} is not this server's."
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host}":
        return f"The Origin {origin!r:.100} is another site."
    site = headers.get("sec-fetch-site", "none")
    # A link somewhere else may lead a person here: the page is then theirs to see, not the site's.
    led = path == "/" and headers.get("sec-fetch-mode") == "navigate"
    framed = headers.get("sec-fetch-dest") not in {"document", None}
    if site not in {"none", "same-origin"} and not (method == "GET" and led and not framed):
        return "A page of another site asks."
    if method == "POST":
        if origin is None:
            return "Only the page itself breaks something; a terminal has the commands for it."
        if not hmac.compare_digest(headers.get(TOKEN_HEADER.lower(), "").encode(), token.encode()):
            return "The token is not this server's: load the page again."
    return ""


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: _Listening
    protocol_version = "HTTP/1.1"
    server_version = "drydock"
    sys_version = ""
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        if self._refused():
            return
        path = self.path.partition("?")[0]
        if path == "/events":
            self._events()
        elif path in FILES:
            name, kind = FILES[path]
            body = (Path(__file__).parent / name).read_text(encoding="utf-8")
            if path == "/":
                body = body.replace("{{token}}", html.escape(self.server.token))
            self._send(HTTPStatus.OK, kind, body.encode())
        else:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def do_POST(self) -> None:
        # What is refused is not read, so the connection cannot be used again.
        self.close_connection = True
        if self._refused():
            return
        length = self.headers.get("content-length", "")
        if self.path != "/fault":
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here.")
        elif not length.isdecimal() or int(length) > LIMIT:
            self._say(HTTPStatus.BAD_REQUEST, f"Expected a body of at most {LIMIT} bytes.")
        else:
            self._say(*_break(self.server.watcher, self.rfile.read(int(length))))

    def _refused(self) -> bool:
        headers = {name.lower(): value for name, value in self.headers.items()}
        why = forbidden(
            self.command,
            self.path.partition("?")[0],
            headers,
            port=self.server.server_port,
            token=self.server.token,
        )
        if why:
            self._say(HTTPStatus.FORBIDDEN, why)
        return bool(why)

    def _events(self) -> None:
        """Send what there is, and then what changes, until the browser goes away."""
        self._head(HTTPStatus.OK, "text/event-stream")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        before: Mapping[str, Record] = {}
        version, told = -1, 0.0
        watcher = self.server.watcher
        with watcher.looked_at():
            while not watcher.ending:
                state = watcher.wait(version, PING_SECONDS)
                if state.version == version:
                    self.wfile.write(b":\n\n")
                    continue
                changed, gone = changes(before, state.records)
                samples = [vars(one) for one in state.samples if one.at > told]
                message = {
                    "whole": version < 0,
                    "now": self.server.wall(),
                    "changed": changed,
                    "gone": gone,
                    "samples": samples,
                }
                text = json.dumps(message, separators=(",", ":"))
                self.wfile.write(f"data: {text}\n\n".encode())
                before, version = state.records, state.version
                # A source that is opened anew begins without samples, and tells the old ones again.
                told = max(told, state.samples[-1].at if state.samples else 0.0)

    def _say(self, status: HTTPStatus, words: str) -> None:
        body = json.dumps({"words": words}).encode()
        self._send(status, "application/json", body)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")

    def log_message(self, *_: object) -> None:
        """Leave the terminal to what matters."""


def _break(watcher: Watcher, body: bytes) -> tuple[HTTPStatus, str]:
    """Carry a fault out, as its body asks; give what is said of it."""
    faults = watcher.faults
    if faults is None:
        return HTTPStatus.FORBIDDEN, "Nothing is broken here: this is no rehearsal."
    try:
        asked = json.loads(body)
        kind, target, how = (str(asked.get(name) or "") for name in ("kind", "target", "how"))
        words = faults.carry_out(kind, target, how)
    except (ValueError, AttributeError):
        return HTTPStatus.BAD_REQUEST, "Expected a fault as JSON: kind, target, how."
    except (RefusedError, NotPlayedError, BotoCoreError, ClientError) as error:
        return HTTPStatus.BAD_REQUEST, str(error)
    watcher.hurry()
    return HTTPStatus.OK, words
