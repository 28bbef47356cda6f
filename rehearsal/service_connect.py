"""Plays ECS Service Connect: what a namespace offers, under its name, to the tasks that use it.

On AWS each task has a proxy of its own; here each container instance has one HAProxy for each
endpoint, on its network's gateway, and the names stand in the containers' /etc/hosts as there.

Source, read 2026-11-25:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from rehearsal.engines import EngineError, Network
from rehearsal.haproxy import Ended, Guard, Process
from rehearsal.properties import BalancerError
from templates import Value, is_true

# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TimeoutConfiguration.html
# (15 s a request, and 5 min of idleness for HTTP, 1 h for TCP). That a connection that fails is
# tried again twice, on another task, is unverified.
REQUEST_SECONDS = 15
IDLE_SECONDS = {"http": 300, "tcp": 3600}
_CONFIGURATION = """
defaults
    mode {mode}
    timeout connect 1s
    timeout client {idle}
    timeout server {request}
    retries 2
    option redispatch 1
{http}
frontend names
    bind fd@{descriptor}
    default_backend tasks

backend tasks
    balance roundrobin
"""


@dataclass(frozen=True)
class Endpoint:
    """What a service offers in a namespace: clients find it as `name` on `port`; 0 s is no limit.

    `container` and `container_port` say where its tasks listen.
    """

    namespace: str
    name: str
    port: int
    container: str
    container_port: int
    protocol: str
    request_seconds: int
    idle_seconds: int


def namespace_of(service: Mapping[str, Value], default: str) -> str:
    """Name the namespace that a service uses; empty where it uses none.

    `default` is its cluster's.
    """
    found = service.get("ServiceConnectConfiguration") or {}
    return str(found.get("Namespace") or default) if is_true(found.get("Enabled")) else ""


def endpoints(
    service: Mapping[str, Value], definition: Mapping[str, Value], default: str
) -> Iterator[Endpoint]:
    """Give what a service offers, by its own and its task definition's resolved properties."""
    namespace = namespace_of(service, default)
    ports = {
        str(mapping["Name"]): (str(container["Name"]), mapping)
        for container in definition.get("ContainerDefinitions") or []
        for mapping in container.get("PortMappings") or []
        if mapping.get("Name")
    }
    configuration = service.get("ServiceConnectConfiguration") or {}
    for offered in (configuration.get("Services") or []) if namespace else []:
        if str(offered["PortName"]) not in ports:
            raise BalancerError(
                f"ServiceConnectConfiguration.Services: PortName: expected the name of a port "
                f"mapping, one of {', '.join(ports) or 'none'}, got {offered['PortName']!r}"
            )
        container, mapping = ports[str(offered["PortName"])]
        protocol = "http" if str(mapping.get("AppProtocol") or "").startswith("http") else "tcp"
        timeout = offered.get("Timeout") or {}
        port = int(mapping["ContainerPort"])
        for alias in offered.get("ClientAliases") or [{"Port": port}]:
            name = offered.get("DiscoveryName") or offered["PortName"]
            yield Endpoint(
                namespace=namespace,
                # Without a name of its own an alias is the endpoint's, and its namespace's.
                name=str(alias.get("DnsName") or f"{name}.{namespace}"),
                port=int(alias["Port"]),
                container=container,
                container_port=port,
                protocol=protocol,
                request_seconds=int(timeout.get("PerRequestTimeoutSeconds") or REQUEST_SECONDS),
                idle_seconds=int(timeout.get("IdleTimeoutSeconds") or IDLE_SECONDS[protocol]),
            )


def host_options(network: Network, known: Collection[Endpoint]) -> list[str]:
    """Give the engine's options that put the names of endpoints into a container's /etc/hosts."""
    address = network.host_address
    try:
        ip_address(address)
    except ValueError:
        address = "host-gateway"  # what an engine in a virtual machine calls this one
    return [f"--add-host={name}:{address}" for name in sorted({one.name for one in known})]


@dataclass
class _Proxy:
    """The HAProxy of one endpoint on one gateway, and where it sends requests, by server."""

    process: Process
    targets: dict[str, int] = field(default_factory=dict)
    leaving: list[str] = field(default_factory=list)


class ServiceConnect:
    """The proxies of one environment; `update` makes them what they should be."""

    def __init__(self) -> None:
        self._proxies: dict[tuple[str, Endpoint], _Proxy] = {}
        # A short path: that of a socket may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="connect-"))
        self._guard = Guard(self._folder)
        self._log = os.open(os.devnull, os.O_WRONLY)
        os.set_inheritable(self._log, True)
        self._made = 0

    def update(
        self, networks: Collection[Network], targets: Mapping[Endpoint, Mapping[str, int]]
    ) -> list[str]:
        """Offer each endpoint on each network; say what cannot be offered.

        `targets` has by task the port of 127.0.0.1 where its container listens.
        """
        troubles = []
        wanted = {
            (network.listen_address, endpoint): network
            for network in networks
            for endpoint in targets
        }
        before = len(self._proxies)
        for key in [
            key for key, one in self._proxies.items() if key not in wanted or one.process.ended()
        ]:
            self._proxies.pop(key).process.kill()
        made = self._made
        for key, network in wanted.items():
            if key not in self._proxies:
                try:
                    self._proxies[key] = self._start(network, key[1])
                except (EngineError, BalancerError) as error:
                    troubles.append(f"{key[1].name}: {error}")
        if made != self._made or before != len(self._proxies):
            self._guard.watch(one.process for one in self._proxies.values())
        for (_, endpoint), proxy in self._proxies.items():
            with suppress(Ended):  # the next update starts another
                _lead(proxy, targets[endpoint])
        return troubles

    def close(self) -> None:
        """End every proxy; leave nothing behind."""
        for proxy in self._proxies.values():
            proxy.process.kill()
        self._proxies.clear()
        os.close(self._log)
        self._guard.dismiss()
        shutil.rmtree(self._folder)

    def _start(self, network: Network, endpoint: Endpoint) -> _Proxy:
        with network.listen(endpoint.port) as listening:
            listening.set_inheritable(True)
            self._made += 1
            configuration = _CONFIGURATION.format(
                mode=endpoint.protocol,
                idle=f"{endpoint.idle_seconds}s",
                request=f"{endpoint.request_seconds}s",
                http="    http-reuse always" if endpoint.protocol == "http" else "",
                descriptor=listening.fileno(),
            )
            return _Proxy(
                Process(configuration, folder=self._folder, name=f"c{self._made}", log=self._log)
            )


def _lead(proxy: _Proxy, targets: Mapping[str, int]) -> None:
    """Let a proxy send requests to these targets and no others."""
    for server, port in list(proxy.targets.items()):
        if targets.get(server) != port:
            proxy.process.tell(f"disable server tasks/{server}-{port}")
            proxy.leaving.append(f"{server}-{port}")
            del proxy.targets[server]
    for server, port in targets.items():
        if server not in proxy.targets:
            name = f"tasks/{server}-{port}"
            said = proxy.process.ask(f"add server {name} 127.0.0.1:{port}")
            if "registered" not in said and "already exists" not in said:
                raise BalancerError(f"haproxy: add server {name}: got {said!r}")
            proxy.process.tell(f"enable server {name}")
            proxy.targets[server] = port
    # One that still answers a request cannot be deleted yet; one that has come back is not to be.
    staying = {f"{server}-{port}" for server, port in proxy.targets.items()}
    proxy.leaving = [
        name
        for name in proxy.leaving
        if name not in staying
        and "deleted" not in proxy.process.ask(f"del server tasks/{name}").lower()
    ]
