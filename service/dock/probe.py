"""The container's health check: python -m dock.probe; exits 0 where the service is live."""

import os
import socket
import sys

# Only the socket module: importing urllib.request or http.client costs more than the question.
_QUESTION = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main() -> int:
    """Ask once, for two seconds at most."""
    try:
        address = ("127.0.0.1", int(os.environ.get("PORT", "8080")))
        with socket.create_connection(address, timeout=2) as connection:
            connection.sendall(_QUESTION)
            answer = connection.recv(64)
    except (OSError, ValueError):
        return 1
    return 0 if answer.startswith(b"HTTP/1.1 200 ") else 1


if __name__ == "__main__":
    sys.exit(main())
