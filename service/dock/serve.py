"""The life of the process: start, serve, drain, stop."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp

from dock.edge import Edge
from dock.identity import Identity
from dock.lifecycle import Lifecycle
from dock.log import Log
from dock.settings import Settings, SettingsError, read

# The balancer passes on up to 64 KiB of headers, so there is no use for more.
# Source, read 2026-11-24:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
HEADER_BYTES = 64 * 1024
# Granian counts idle connections too, and accepts none beyond; its own default is 128, which a
# balancer's pool can fill, and then the health check waits with the others.
CONNECTIONS = 2048
# How long, with no request in flight, until what is left of the connections is given up.
QUIET_SECONDS = 0.5
HEALTH_PATHS = frozenset({"/health/live", "/health/ready"})


# Makes a service's app of the environment's variables; raises SettingsError for bad ones.
Make = Callable[[Mapping[str, str], Identity, Lifecycle], ASGIApp]


def serve(make: Make) -> NoReturn:
    """Serve an app until told to stop, and leave with the exit code."""
    identity, lifecycle = Identity(os.environ), Lifecycle()
    faults: list[SettingsError] = []
    try:
        settings = read(os.environ)
    except SettingsError as error:
        faults.append(error)
    try:
        app = make(os.environ, identity, lifecycle)
    except SettingsError as error:
        faults.append(error)
    if faults:
        print(*faults, sep="\n", file=sys.stderr)  # noqa: T201 - there is no log yet
        sys.exit(2)
    with asyncio.Runner() as runner:
        code = runner.run(_serve(app, settings, identity, lifecycle))
        sys.stderr.flush()
        # Not by returning: Granian's threads may still be ending, and one that meets the
        # interpreter's finalization panics, a trace at the end of a log of nothing wrong.
        os._exit(code)


async def _serve(
    served: ASGIApp, settings: Settings, identity: Identity, lifecycle: Lifecycle
) -> int:
    loop = asyncio.get_running_loop()
    log = Log(task=lambda: identity.who.task_id)
    app = Edge(served, lifecycle=lifecycle, log=log, quiet=HEALTH_PATHS)
    server = Server(
        app,
        address="0.0.0.0",  # noqa: S104 - in a container the published port leads here
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        # It bounds the wait for a whole head, the idle time before it included.
        http1_settings=HTTP1Settings(
            header_read_timeout=settings.keep_alive_seconds * 1000, max_buffer_size=HEADER_BYTES
        ),
        log_enabled=False,
    )

    def asked_to_stop(received: signal.Signals) -> None:
        if lifecycle.draining:
            log.event("killed", signal=received.name)
            os._exit(128 + received)
        lifecycle.drain()
        log.event("draining", signal=received.name, seconds=settings.drain_seconds)
        loop.call_later(settings.drain_seconds, drained.set)

    drained = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop, number)
    server.on_startup(lambda: log.event("serving", port=settings.port))
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(drained.wait())
    # Before anybody asks, so that the log names the task from its first lines.
    first_look = asyncio.create_task(identity.read())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    first_look.cancel()
    if serving.done():
        waiting.cancel()
        # Granian says so with a RuntimeError, below whose first line stands a trace of its own.
        reason = str(serving.exception() or "the server ended").partition("\n")[0]
        print(f"PORT: cannot serve on {settings.port}: {reason}", file=sys.stderr)  # noqa: T201
        return 1
    log.event("stopping")
    server.stop()  # type: ignore[no-untyped-call]  # Granian leaves it unannotated
    # Granian also waits for connections on which half a request has come, and that may be long.
    while not (await asyncio.wait({serving}, timeout=QUIET_SECONDS))[0]:
        if not app.in_flight:
            break
    log.event("stopped")
    return 0
