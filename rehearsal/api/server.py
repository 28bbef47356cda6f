"""Serves the application: on the loopback for people, on each network's gateway for containers."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from wsgiref.types import WSGIApplication

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from rehearsal.api import guard
from rehearsal.api.application import Application
from rehearsal.api.logs import LogShipper
from rehearsal.api.metadata import metadata_file
from rehearsal.engines import Network
from rehearsal.records import Host, TaskRecord
from rehearsal.world import World

# A client that goes silent in the middle of a request is not waited for any longer.
CLIENT_SECONDS = 60
# How often a server looks whether it is to end.
POLL_SECONDS = 0.1
_LOG = logging.getLogger("rehearsal.api")


class PortError(RuntimeError):
    """Says which port is taken, and what to do."""


class _Handler(WSGIRequestHandler):
    """Handles one connection, and tells of requests only who looks for them."""

    timeout = CLIENT_SECONDS

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        _LOG.debug("%s %s %s", self.requestline, code, size)

    def log_error(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        _LOG.debug(format, *args)


@dataclass(frozen=True)
class _Serving:
    """A socket that is served; `network` is that of its containers, nothing where people ask."""

    network: str
    server: BaseWSGIServer
    thread: threading.Thread

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Server:
    """The sockets that are served, until `close`."""

    def __init__(self, application: Application, shipper: LogShipper) -> None:
        self.application = application
        self.port = 0
        self._host = ""
        self._shipper = shipper
        self._lock = threading.Lock()
        # By the address that is listened on.
        self._serving: dict[str, _Serving] = {}
        self._is_closed = False

    def listen(self, host: str, port: int) -> None:
        """Serve people on an address of this machine; raise PortError where the port is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen()
        except OSError as error:
            listening.close()
            raise PortError(
                f"{host}:{port}: expected a port that is free: {error.strerror}; name another "
                "with --endpoint-port"
            ) from error
        self._host, self.port = host, int(listening.getsockname()[1])
        address = f"[{host}]" if ":" in host else host
        with self._lock:
            self._serving[host] = self._serve(listening, {*guard.LOCAL_NAMES, address})

    def listen_on(self, network: Network) -> None:
        """Serve the containers of a network; raise EngineError where that cannot be.

        An engine in a virtual machine reaches the loopback, which is served already. A network
        that is gone leaves its address to the next, maybe before `unlisten` hears of it.
        """
        address = network.listen_address
        with self._lock:
            before = self._serving.get(address)
            is_served = before is not None and before.network in ("", network.name)
            if self._is_closed or is_served or self._host in ("0.0.0.0", "::"):  # noqa: S104 - compared
                return
            if before is not None:
                self._serving.pop(address).close()
            self._serving[address] = self._serve(
                network.listen(self.port), {network.host_address, address}, network
            )

    def unlisten(self, network: Network) -> None:
        """Close the socket of a network that is gone; another's at its address stays."""
        with self._lock:
            there = self._serving.get(network.listen_address)
            if there is not None and there.network == network.name:
                self._serving.pop(network.listen_address).close()

    def close(self) -> None:
        """Close every socket, and ship the last lines of the logs."""
        with self._lock:
            self._is_closed = True
            while self._serving:
                self._serving.popitem()[1].close()
        self._shipper.close()

    def _serve(
        self, listening: socket.socket, names: Collection[str], network: Network | None = None
    ) -> _Serving:
        host, port = listening.getsockname()[:2]
        application = self.application.listening(
            names, port, subnet=network.subnet if network else None
        )
        with listening:
            server = make_server(
                host,
                port,
                application,
                threaded=True,
                request_handler=_Handler,
                fd=listening.fileno(),
            )
        thread = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": POLL_SECONDS},
            name="api",
            daemon=True,
        )
        thread.start()
        return _Serving(network.name if network else "", server, thread)


def serve(
    world: World,
    port: int,
    *,
    host: str = "127.0.0.1",
    control: WSGIApplication | None = None,
    token: str = "",
    say: Callable[[str], None],
) -> Server:
    """Serve a World that has begun; raise PortError where the port is taken.

    Containers of new instances reach it too, from then on.
    """
    application = Application(world, control=control, token=token)
    shipper = LogShipper(world.agent.log_lines, region=world.stacks.region)
    server = Server(application, shipper)
    server.listen(host, port)
    shipper.start()

    def on_network(instance: Host) -> None:
        if instance.network is not None:
            server.listen_on(instance.network)

    def on_removed(instance: Host) -> None:
        if instance.network is not None:
            server.unlisten(instance.network)

    def on_started(record: TaskRecord, container: str) -> None:
        if world.files:
            world.files.write(record, container, metadata_file(world, record, container))

    world.on_network, world.on_removed = on_network, on_removed
    world.on_started = on_started
    for instance in list(world.hosts.values()):
        on_network(instance)
    say(f"The AWS API listens on http://{host}:{server.port}.")
    return server
