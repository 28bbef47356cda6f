"""What every request meets first, whichever app answers it: the log, the drain, the Host rule."""

import time
import traceback
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dock.lifecycle import Lifecycle
from dock.log import Log
from dock.problem import Problem


class Edge:
    """Wraps the app of a process, once; in_flight counts the requests that it has not finished."""

    def __init__(
        self, app: ASGIApp, *, lifecycle: Lifecycle, log: Log, quiet: Collection[str] = ()
    ) -> None:
        """Paths in quiet are logged only when their answer is an error."""
        self._app = app
        self._lifecycle = lifecycle
        self._log = log
        self._quiet = quiet
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 0
        self.in_flight += 1

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._lifecycle.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        app = self._app if _names_its_host(scope) else _NO_HOST
        try:
            await app(scope, receive, observed)
        except Exception:
            # Already answered with 500; only the log is left to write.
            self._log.event("error", traceback=traceback.format_exc())
        finally:
            self.in_flight -= 1
            path = scope["path"]
            if status >= 400 or path not in self._quiet:
                self._log.request(scope["method"], path, status, time.perf_counter() - started)


_NO_HOST = Problem(400, "An HTTP/1.1 request has exactly one Host header.")


def _names_its_host(scope: Scope) -> bool:
    # RFC 9112, 3.2 asks for a 400 where there is none, or several; Granian lets both through, and
    # puts an empty one in the place of none.
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if scope["http_version"] == "1.1":
        return len(hosts) == 1 and hosts[0] != b""
    return len(hosts) < 2
