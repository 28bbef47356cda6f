"""What the guard says of a request, whatever is asked with it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from rehearsal.api.guard import forbidden, names_of

OWN = "http://127.0.0.1:4566"


def why(*, token: str = "secret", peers: str = "", **headers: str) -> str:
    environ = {"HTTP_HOST": "127.0.0.1:4566", "REQUEST_METHOD": "POST", "REMOTE_ADDR": "10.0.0.9"}
    return forbidden(
        environ | headers,
        names=names_of(["127.0.0.1"], 4566),
        token=token,
        peers=ip_network(peers) if peers else None,
    )


def test_a_client_that_is_no_browser_needs_no_token() -> None:
    assert why() == ""
    # Nor does whoever opens a document in the address bar.
    assert why(HTTP_SEC_FETCH_SITE="none", REQUEST_METHOD="GET") == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
@pytest.mark.parametrize("page", [{"HTTP_ORIGIN": OWN}, {"HTTP_SEC_FETCH_SITE": "same-origin"}])
def test_a_page_of_this_origin_needs_the_token_whatever_it_does(
    page: dict[str, str], method: str
) -> None:
    asked = page | {"REQUEST_METHOD": method}
    assert "token" in why(**asked)
    assert "token" in why(**asked, HTTP_X_DRYDOCK_TOKEN="guess")
    assert "token" in why(**asked, token="", HTTP_X_DRYDOCK_TOKEN="")
    assert why(**asked, HTTP_X_DRYDOCK_TOKEN="secret") == ""


@pytest.mark.parametrize(
    "page",
    [
        {"HTTP_ORIGIN": "http://127.0.0.1:8080"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_ORIGIN": OWN, "HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_HOST": "rebound.example:4566"},
    ],
)
def test_a_page_of_another_site_is_refused_with_the_token_too(page: dict[str, str]) -> None:
    assert why(**page, HTTP_X_DRYDOCK_TOKEN="secret")


def test_a_peer_from_outside_of_the_network_is_refused() -> None:
    assert why(peers="10.0.0.0/24") == ""
    assert "10.0.0.9" in why(peers="10.0.1.0/24")
    assert "<local>" in why(peers="10.0.0.0/24", REMOTE_ADDR="<local>")


def test_the_port_of_http_need_not_be_named() -> None:
    assert names_of(["localhost"], 80) == {"localhost", "localhost:80"}
    assert names_of(["localhost"], 81) == {"localhost:81"}
