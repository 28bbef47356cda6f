"""Keeps strangers out: the API has no passwords, so where a request comes from must tell.

A page can make a browser send requests to 127.0.0.1. If it does so under a name of its own (DNS
rebinding), the Host header has that name. If it uses the address, the browser says so: with an
Origin, but for a GET whose answer the page cannot read, and the newer ones with Sec-Fetch-Site
too. What an older one sends with neither cannot have an Authorization header, without which no
operation of AWS's is answered: for that it would ask first, with an Origin. Sources, read
2026-11-24: https://fetch.spec.whatwg.org/#origin-header,
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site

Whoever finds a way to the gateway of a network from outside of it has an address from outside.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from rehearsal.folder import TOKEN_HEADER

# Engines in a virtual machine reach this one under these names.
MACHINE_NAMES = ("host.docker.internal", "host.containers.internal")
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
_TOKEN = "HTTP_" + TOKEN_HEADER.upper().replace("-", "_")


def forbidden(
    environ: Mapping[str, Any],
    *,
    names: Collection[str],
    token: str,
    peers: IPv4Network | IPv6Network | None = None,
) -> str:
    """Say why a request is refused; nothing where it is not.

    `names` are the hosts that it may be for, each with its port; `peers` has the addresses that it
    may come from, all where it is None. Another site's page is refused whatever it shows. One of
    this server's own origin must show the token, also to read: a GET of the query protocol may
    change something. Without a token there is none to show. Other clients need none.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    if peers is not None and not _is_of(peer, peers):
        return f"The peer {peer!r:.100} is not in the network {peers}."
    host = str(environ.get("HTTP_HOST", "")).lower()
    if host not in names:
        return f"The Host {host!r:.100} is not one of this server's."
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and urlsplit(str(origin)).netloc.lower() != host:
        return f"The Origin {origin!r:.100} is another site."
    site = environ.get("HTTP_SEC_FETCH_SITE", "none")
    if site not in {"none", "same-origin"}:
        return "A page of another site asks."
    if (origin is not None or site == "same-origin") and not shows(environ, token):
        return "A page must show the token."
    return ""


def names_of(hosts: Collection[str], port: int) -> set[str]:
    """Give what a Host header may say for those hosts."""
    found = {f"{host.lower()}:{port}" for host in hosts}
    return found | set(hosts) if port == 80 else found


def _is_of(peer: str, peers: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(peer) in peers
    except ValueError:
        return False


def shows(environ: Mapping[str, Any], token: str) -> bool:
    """Say whether a request shows the token; nobody shows one that is empty."""
    shown = str(environ.get(_TOKEN, ""))
    return bool(token) and hmac.compare_digest(shown.encode(), token.encode())
