"""The EC2 instances in the books: addresses, host ports, and a network of the engine for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from rehearsal.engines import EngineError, Runtime
from rehearsal.records import Host
from scheduler.model import Instance

_LOG = logging.getLogger("rehearsal")
# A network is only removed when the last of its containers is gone; those were just killed.
REMOVAL_TRIES = 20
REMOVAL_SECONDS = 0.5


class Hosts:
    """Every instance that there was, by its id in the cluster.

    Networks are made and removed in threads; `on_network` is told of each new one, and
    `on_removed` when nothing is on it any more.
    """

    def __init__(
        self,
        engine: Runtime,
        *,
        owner: str,
        labels: Mapping[str, str],
        say: Callable[[str], None],
        on_network: Callable[[Host], None],
        on_removed: Callable[[Host], None],
    ) -> None:
        self._engine = engine
        self._prefix = f"drydock-{owner}"
        self._labels = labels
        self._say = say
        self._on_network = on_network
        self._on_removed = on_removed
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="host")
        # By the host's id: the making of its network, which its removal waits for.
        self._making: dict[str, Future[None]] = {}
        self.known: dict[str, Host] = {}

    def launch(
        self, instance: Instance, *, subnet: str, zones: Iterable[str], boots_at: float
    ) -> Host:
        """Boot an instance: make its network while the time passes."""
        host = Host(
            id=instance.id,
            ec2_id=f"i-{instance.id[:17]}",
            address=address(instance.zone, zones, instance.id),
            subnet=subnet,
            boots_at=boots_at,
        )
        instance.attributes["ecs.subnet-id"] = subnet
        self.known[instance.id] = host
        self._making[host.id] = self._threads.submit(self._make_network, host)
        return host

    def take_away(self, host: Host, containers: Iterable[str]) -> None:
        """Kill what runs on an instance, and remove its network."""
        for container in containers:
            self.do(partial(self._kill, container))
        making = self._making.pop(host.id, None)
        self.do(partial(self._remove_network, host, making))

    def do(self, work: Callable[[], None]) -> None:
        """Do something that takes long in one of the threads; what it raises is logged."""
        self._threads.submit(_logging, work)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _make_network(self, host: Host) -> None:
        try:
            host.network = self._engine.create_network(
                f"{self._prefix}-{host.id[:12]}", self._labels
            )
            self._on_network(host)
        except (EngineError, OSError) as error:
            host.failed = str(error)
        except Exception as error:
            _LOG.exception("%s: its network", host.ec2_id)
            host.failed = f"its network: {error!r}"

    def _kill(self, container: str) -> None:
        try:
            self._engine.kill(container)
        except EngineError as error:
            self._say(f"{container[:12]}: {error}")

    def _remove_network(self, host: Host, making: Future[None] | None) -> None:
        # The threads take their work in its order, so the making has begun, and comes to an end.
        if making is not None:
            wait([making])
        if host.network is None:
            return
        trouble = ""
        for _ in range(REMOVAL_TRIES):
            try:
                self._engine.remove_network(host.network.name)
                break
            except EngineError as error:
                trouble = str(error)
                time.sleep(REMOVAL_SECONDS)
        else:
            self._say(f"{host.ec2_id}: its network stays until the end: {trouble}")
        self._on_removed(host)


def _logging(work: Callable[[], None]) -> None:
    """Do something in a thread whose end nobody waits for."""
    try:
        work()
    except Exception:
        _LOG.exception("a thread of the hosts")


def free_port(host: Host, ports: tuple[int, int], taken: set[int]) -> int:
    """Give the next host port of an instance that no task of it has; 0 where all are taken."""
    first, last = ports
    for _ in range(last - first + 1):
        host.next_port = host.next_port + 1 if first <= host.next_port < last else first
        if host.next_port not in taken:
            return host.next_port
    return 0


def address(zone: str, zones: Iterable[str], salt: str) -> str:
    """Make up a private address in a zone's part of the second half of 10.0.0.0/16."""
    ordered = sorted(zones)
    number = ordered.index(zone) if zone in ordered else 0
    return f"10.0.{128 + number * 16 + int(salt[:2], 16) % 16}.{4 + int(salt[2:4], 16) % 250}"
