"""The service keeps to its description, whatever it is asked."""

import json
import random
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.service.conftest import SOURCE, Running, Start

DESCRIPTION = SOURCE / "web/openapi.json"
schema = schemathesis.openapi.from_path(DESCRIPTION)

# The same requests in each run: a failure must be seen again by whoever looks for it.
steady = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def service(start: Start) -> Running:
    return start()


@schema.parametrize()
@settings(steady, max_examples=30)
def test_every_answer_is_one_that_the_description_allows(
    case: schemathesis.Case[Any], service: Running
) -> None:
    asked = case.query.get("milliseconds", 100)
    if case.path == "/burn" and str(asked).isdecimal() and 3 < int(asked) <= 1000:
        # As right as what was generated; the CPU is better spent on more questions.
        case.query["milliseconds"] = "3"
    case.call_and_validate(base_url=f"http://127.0.0.1:{service.port}")


def test_the_description_is_served_as_it_is(service: Running) -> None:
    answer = service.get("/openapi.json")
    assert json.loads(answer.body) == json.loads(DESCRIPTION.read_text())


OPERATIONS = json.loads(DESCRIPTION.read_text())["paths"]
PATHS = [path.encode() for path in OPERATIONS]
DESCRIBED = {
    int(status)
    for operations in OPERATIONS.values()
    for operation in operations.values()
    for status in operation["responses"]
}
METHODS = [b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"A" * 90]
VALUES = [b"1", b"2", b"0", b"-1", b"1001", b"%31", b"1.0", b"", b"x", b"%00", b"%ff", b"1;2"]
HEADERS = [
    b"Accept-Encoding: br;q=x",
    b"Accept: nothing/known",
    b"Content-Length: -1",
    b"Content-Length: 3",
    b"Cookie: " + b"a=b; " * 2000,
    b"Expect: 100-continue",
    b"Host: other",
    b"Range: bytes=0-1",
    b"Transfer-Encoding: chunked",
    b"Upgrade: h2c",
    b"X-Forwarded-For: \xff",
]


def a_request(chance: random.Random) -> bytes:
    """Something between a right request and noise; more often nearly right."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randint(1, 200)) + b"\r\n\r\n"
    path = chance.choice([*PATHS, *PATHS, b"/" + visible(chance), visible(chance)])
    query = b""
    if path == b"/burn" or chance.random() < 0.5:
        names = [b"milliseconds", b"milliseconds", visible(chance)]
        pairs = [chance.choice(names) + b"=" + chance.choice(VALUES) for _ in range(2)]
        query = b"?" + b"&".join(pairs[: chance.randint(1, 2)])
    lines = [b"Connection: close"] + [b"Host: web"] * (chance.random() < 0.95)
    lines += chance.sample(HEADERS, chance.choice([0, 0, 0, 1, 2, 3]))
    start = chance.choice(METHODS) + b" " + path + query + b" HTTP/1.1"
    body = chance.randbytes(chance.randint(0, 40)) if chance.random() < 0.1 else b""
    request = b"\r\n".join([start, *lines, b"", body])
    if chance.random() < 0.05:
        at = chance.randrange(len(request))
        return request[:at] + chance.randbytes(1) + request[at + 1 :]
    return request


def visible(chance: random.Random) -> bytes:
    return bytes(chance.randint(33, 126) for _ in range(chance.randint(0, 12)))


def test_thousands_of_requests_get_described_answers_and_no_5xx(service: Running) -> None:
    # Not through Hypothesis, which takes ten times as long to make a request as it takes to ask it.
    chance = random.Random(20261124)
    seen: Counter[int] = Counter()
    for _ in range(3000):
        content = a_request(chance)
        for status in statuses(service, content):
            # A described status, or that the path itself is not.
            assert status in (DESCRIBED - {503}) | {404}, content
            seen[status] += 1
    assert service.process.poll() is None
    assert min(seen[status] for status in (200, 400, 404, 405)) > 100, seen
    assert seen.total() > 2500, seen


def statuses(service: Running, content: bytes) -> list[int]:
    """Send the bytes and give the status of each answer."""
    answer = b""
    with service.socket() as ours:
        # For the few that neither end nor ask the server to close.
        ours.settimeout(0.1)
        try:
            ours.sendall(content)
            while received := ours.recv(65536):
                answer += received
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass
    lines = [part[9:12] for part in answer.split(b"\r\n") if part.startswith(b"HTTP/1.")]
    return [int(status) for status in lines if status != b"100"]


def test_the_service_still_answers_after_all_of_that(service: Running) -> None:
    assert service.get("/health/ready").status == 200
