"""Who answered: the task, its container and its host, as the ECS agent tells them.

Sources, read 2026-11-24:
task and container, from ECS_CONTAINER_METADATA_URI_V4 (the container) and its /task:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
That page promises AvailabilityZone for Fargate only and knows no container instance. Both stand in
the file that ECS_CONTAINER_METADATA_FILE names where the agent has ECS_ENABLE_CONTAINER_METADATA:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/metadata-file-format.html
The file begins short; it is whole when its MetadataFileStatus is READY, usually within a second.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

UNKNOWN = "unknown"
TIMEOUT_SECONDS = 1.0
RETRY_SECONDS = 1.0
TRIES = 60


@dataclass(frozen=True, kw_only=True)
class Who:
    """What is known of the answering container; each field is text, or unknown."""

    service: str = UNKNOWN
    cluster: str = UNKNOWN
    task: str = UNKNOWN
    task_definition: str = UNKNOWN
    container_instance: str = UNKNOWN
    availability_zone: str = UNKNOWN
    image: str = UNKNOWN
    image_id: str = UNKNOWN
    version: str = UNKNOWN
    container: str = UNKNOWN
    container_name: str = UNKNOWN
    hostname: str = UNKNOWN

    @property
    def task_id(self) -> str:
        """The last part of the task's ARN."""
        return self.task.rpartition("/")[2]


class Identity:
    """Asks the agent on first use, and then answers from memory.

    A source that fails, or is not READY, is asked again by later requests, at most once in
    RETRY_SECONDS and TRIES times; a source that the environment does not name is not asked.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.who = Who()
        self._endpoint = environ.get("ECS_CONTAINER_METADATA_URI_V4", "")
        self._file = environ.get("ECS_CONTAINER_METADATA_FILE", "")
        self._clock = clock
        self._tries_left = TRIES
        self._next_try = clock()
        self._looking: asyncio.Task[None] | None = None

    @property
    def looking(self) -> bool:
        """Whether the sources are being asked just now."""
        return self._looking is not None

    async def read(self) -> Who:
        """Give what is known, after at most one round of questions; never raise for a source."""
        if self._tries_left and self._looking is None and self._clock() >= self._next_try:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None and self.who.hostname == UNKNOWN:
            # Shielded: the caller that leaves must not take the answer from those that wait.
            await asyncio.shield(self._looking)
        return self.who

    async def _look(self) -> None:
        try:
            self.who, complete = await asyncio.to_thread(look, self._endpoint, self._file)
            self._tries_left = 0 if complete else self._tries_left - 1
            self._next_try = self._clock() + RETRY_SECONDS
        finally:
            self._looking = None


def look(endpoint: str, file: str) -> tuple[Who, bool]:
    """Ask both sources once; the second value is False where asking again may tell more."""
    container = _fetch(endpoint) if endpoint else {}
    task = _fetch(f"{endpoint}/task") if endpoint else {}
    host = _load(file) if file else {}
    image = _text(container, "Image") or _text(host, "ImageName")
    family = _text(task, "Family") or _text(host, "TaskDefinitionFamily")
    revision = _text(task, "Revision") or _text(host, "TaskDefinitionRevision")
    found = {
        "service": _text(task, "ServiceName"),
        "cluster": _text(task, "Cluster") or _text(host, "Cluster"),
        "task": _text(task, "TaskARN") or _text(host, "TaskARN"),
        "task_definition": f"{family}:{revision}" if family and revision else "",
        "container_instance": _text(host, "ContainerInstanceARN"),
        "availability_zone": _text(task, "AvailabilityZone") or _text(host, "AvailabilityZone"),
        "image": image,
        "image_id": _text(container, "ImageID") or _text(host, "ImageID"),
        "version": _version(image),
        "container": _text(container, "DockerId") or _text(host, "ContainerID"),
        "container_name": _text(container, "Name") or _text(host, "ContainerName"),
        "hostname": socket.gethostname(),
    }
    complete = not endpoint or bool(container and task)
    complete = complete and (not file or _text(host, "MetadataFileStatus") == "READY")
    return Who(**{name: text or UNKNOWN for name, text in found.items()}), complete


def _fetch(url: str) -> Mapping[str, object]:
    try:
        parts = urlsplit(url)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", parts.path)
            response = connection.getresponse()
            return _document(response.read(1 << 20)) if response.status == 200 else {}
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError):
        return {}


def _load(path: str) -> Mapping[str, object]:
    try:
        return _document(Path(path).read_bytes())
    except (OSError, ValueError):
        return {}


def _document(content: bytes) -> Mapping[str, object]:
    value = json.loads(content)
    return value if isinstance(value, dict) else {}


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _version(image: str) -> str:
    # A colon before the last slash belongs to a registry's port.
    name = image.rpartition("/")[2]
    return name.partition("@")[2] or name.partition(":")[2]
