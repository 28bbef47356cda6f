"""Runs beside a service in its Pod, and tells it who it is, as the ECS agent would.

It is started with `python -c` from the Pod's own manifest, in the service's image, and so stands on
nothing but Python. It asks the service on localhost, since the containers of a Pod share their
network, until it is ready; then it writes the file that ECS_CONTAINER_METADATA_FILE names into a
directory that both mount, since they share volumes. It goes on asking, and says when the answer
changes. The fields are those of
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/metadata-file-format.html
"""

import http.client
import json
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

SECONDS = 2.0


def main() -> NoReturn:
    """Ask, write once, and go on asking until told to stop."""
    signal.signal(signal.SIGTERM, _leave)
    port, path = int(os.environ["SERVICE_PORT"]), os.environ["SERVICE_PATH"]
    file = os.environ["METADATA_FILE"]
    said = None
    while True:
        answer = ask(port, path)
        if answer != said:
            say(f"http://127.0.0.1:{port}{path}: {answer}")
            said = answer
        if answer == "200" and not os.path.exists(file):  # noqa: PTH110 - one import less
            write(file)
            say(f"wrote {file}")
        time.sleep(SECONDS)


def ask(port: int, path: str) -> str:
    """Give the status of the service's answer on localhost, or why there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return str(connection.getresponse().status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def write(file: str) -> None:
    """Write the file at once, so that nobody reads half of it."""
    found = {
        "TaskARN": "pod/" + os.environ["POD_NAME"],
        "ContainerName": os.environ["SERVICE_NAME"],
        "ImageName": os.environ["SERVICE_IMAGE"],
        "MetadataFileStatus": "READY",
    }
    with open(f"{file}.new", "w", encoding="utf-8") as new:  # noqa: PTH123 - one import less
        json.dump(found, new)
    os.replace(f"{file}.new", file)  # noqa: PTH105 - one import less


def say(line: str) -> None:
    """Write a line to the container's log."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
