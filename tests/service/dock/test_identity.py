"""What the service learns from the ECS agent, and what it does where the agent is silent."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dock.identity import TRIES, Identity, Who

ACCOUNT = "arn:aws:ecs:us-west-2:111122223333"
TASK = f"{ACCOUNT}:task/default/158d1c8083dd49d6b527399fd6414f5c"
HOST = f"{ACCOUNT}:container-instance/default/1f73d099b9144b"
REPOSITORY = "111122223333.dkr.ecr.us-west-2.amazonaws.com:443/web"

CONTAINER_DOCUMENT = {
    "DockerId": "ea32192c8553",
    "Name": "web",
    "Image": f"{REPOSITORY}:3f1c",
    "ImageID": "sha256:d691",
}
TASK_DOCUMENT = {
    "Cluster": "default",
    "TaskARN": TASK,
    "Family": "web",
    "Revision": "5",
    "ServiceName": "Web",
    "LaunchType": "EC2",
}
FILE = {
    "Cluster": "default",
    "ContainerInstanceARN": HOST,
    "TaskARN": TASK,
    "TaskDefinitionFamily": "web",
    "TaskDefinitionRevision": "5",
    "ContainerID": "ea32192c8553",
    "ContainerName": "web",
    "ImageID": "sha256:d691",
    "ImageName": f"{REPOSITORY}:3f1c",
    "AvailabilityZone": "us-west-2b",
    "MetadataFileStatus": "READY",
}


class Agent:
    """The agent's metadata endpoint, as far as the service asks it."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {"/v4/1": CONTAINER_DOCUMENT, "/v4/1/task": TASK_DOCUMENT}
        self.asked: list[str] = []
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                agent.asked.append(self.path)
                document = agent.documents.get(self.path)
                content = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(200 if document is not None else 500)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_port}/v4/1"


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    thread = threading.Thread(target=agent.server.serve_forever, args=(0.01,))
    thread.start()
    yield agent
    agent.server.shutdown()
    agent.server.server_close()
    thread.join()


def metadata_file(folder: Path, content: object) -> str:
    path = folder / "ecs-container-metadata.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def unknowns(who: Who) -> set[str]:
    return {name for name, value in asdict(who).items() if value == "unknown"}


def test_without_an_agent_all_but_the_host_name_is_unknown() -> None:
    who = asyncio.run(Identity({}).read())
    assert unknowns(who) == set(asdict(who)) - {"hostname"}
    assert who.task_id == "unknown"


def test_endpoint_and_file_together_tell_everything(agent: Agent, tmp_path: Path) -> None:
    environ = {
        "ECS_CONTAINER_METADATA_URI_V4": agent.uri,
        "ECS_CONTAINER_METADATA_FILE": metadata_file(tmp_path, FILE),
    }
    who = asyncio.run(Identity(environ).read())
    assert unknowns(who) == set()
    assert who.task_id == "158d1c8083dd49d6b527399fd6414f5c"
    assert who.task_definition == "web:5"
    assert who.container_instance == HOST
    assert who.availability_zone == "us-west-2b"
    assert who.version == "3f1c"


def test_the_endpoint_alone_leaves_host_and_zone_unknown(agent: Agent) -> None:
    who = asyncio.run(Identity({"ECS_CONTAINER_METADATA_URI_V4": agent.uri}).read())
    assert unknowns(who) == {"container_instance", "availability_zone"}


def test_the_file_alone_leaves_the_service_unknown(tmp_path: Path) -> None:
    environ = {"ECS_CONTAINER_METADATA_FILE": metadata_file(tmp_path, FILE)}
    assert unknowns(asyncio.run(Identity(environ).read())) == {"service"}


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"{REPOSITORY}@sha256:ab", "sha256:ab"),
        (REPOSITORY, "unknown"),
        ("localhost:5000/web:1", "1"),
        ("web", "unknown"),
    ],
)
def test_the_version_is_the_tag_or_digest_of_the_image(
    agent: Agent, image: str, version: str
) -> None:
    agent.documents["/v4/1"] = {"Image": image}
    who = asyncio.run(Identity({"ECS_CONTAINER_METADATA_URI_V4": agent.uri}).read())
    assert who.version == version


def test_the_agent_is_asked_once_for_many_requests(agent: Agent) -> None:
    clock = Clock()

    async def crowd() -> None:
        identity = Identity({"ECS_CONTAINER_METADATA_URI_V4": agent.uri}, clock=clock)
        await asyncio.gather(*(identity.read() for _ in range(50)))
        clock.now = 3600.0
        await identity.read()
        await asyncio.sleep(0.05)

    asyncio.run(crowd())
    assert agent.asked == ["/v4/1", "/v4/1/task"]


def test_a_file_that_is_not_ready_is_read_again_until_it_is(tmp_path: Path) -> None:
    clock = Clock()
    short = {"TaskARN": TASK, "MetadataFileStatus": "INITIAL"}
    path = metadata_file(tmp_path, short)

    async def wait() -> list[Who]:
        identity = Identity({"ECS_CONTAINER_METADATA_FILE": path}, clock=clock)
        seen = [await identity.read()]
        metadata_file(tmp_path, FILE)
        seen.append(await identity.read())
        await asyncio.sleep(0.05)
        seen.append(await identity.read())
        clock.now = 1.5
        seen.append(await settled(identity))
        return seen

    first, *at_once, later = asyncio.run(wait())
    assert first.task == TASK
    assert {who.container_instance for who in (first, *at_once)} == {"unknown"}
    assert later.container_instance == HOST


async def settled(identity: Identity) -> Who:
    """Read until the look in the background, which no request waits for, is over."""
    before = await identity.read()
    for _ in range(500):
        await asyncio.sleep(0.01)
        if identity.who is not before:
            break
    return identity.who


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\x00", '{"TaskARN": 5}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    environ = {"ECS_CONTAINER_METADATA_FILE": metadata_file(tmp_path, content)}
    who = asyncio.run(Identity(environ).read())
    assert unknowns(who) == set(asdict(who)) - {"hostname"}


@pytest.mark.parametrize("document", [None, b"", b"{", b"[]", b"\xff", {"TaskARN": ["x"]}])
def test_a_damaged_answer_is_as_good_as_none(agent: Agent, document: object) -> None:
    agent.documents = {"/v4/1": document, "/v4/1/task": document}
    who = asyncio.run(Identity({"ECS_CONTAINER_METADATA_URI_V4": agent.uri}).read())
    assert unknowns(who) == set(asdict(who)) - {"hostname"}


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1/v4", "x", "http://[", "http://a:b/", "http:// "]
)
def test_an_endpoint_that_cannot_be_asked_fails_no_request(uri: str) -> None:
    who = asyncio.run(Identity({"ECS_CONTAINER_METADATA_URI_V4": uri}).read())
    assert who.task == "unknown"


def test_a_source_that_never_answers_is_given_up(agent: Agent) -> None:
    agent.documents = {}
    clock = Clock()

    async def insist() -> None:
        identity = Identity({"ECS_CONTAINER_METADATA_URI_V4": agent.uri}, clock=clock)
        for second in range(TRIES + 10):
            clock.now = second * 2.0
            await identity.read()
            while identity.looking:
                await asyncio.sleep(0.001)

    asyncio.run(insist())
    assert len(agent.asked) == 2 * TRIES
