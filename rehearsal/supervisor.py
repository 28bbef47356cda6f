"""The process that plays an environment: begins, ticks, takes commands, and cleans up."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import templates
from rehearsal import api
from rehearsal.api.guard import shows
from rehearsal.engines import Runtime
from rehearsal.faults import Faults
from rehearsal.folder import COMMANDS, Folder
from rehearsal.images import build_environment
from rehearsal.summary import summary
from rehearsal.world import LABEL, World

TICK_SECONDS = 0.1
# A tick that fails is logged and tried again; so many in a row mean that it will not mend.
FAILURES = 50
LIMIT = 1 << 20
_LOG = logging.getLogger("rehearsal")


@dataclass(frozen=True)
class Options:
    """What an environment is played with; ports of 127.0.0.1, and waits of AWS's sped up.

    `engine` is what --engine takes to mean this engine.
    """

    environment: str
    assembly: Path
    speed: float
    port: int
    endpoint_port: int
    engine: str
    secrets: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Plays one environment until it is told to end."""

    def __init__(self, options: Options, folder: Folder, engine: Runtime) -> None:
        self.options = options
        self.folder = folder
        self.engine = engine
        self.ending = threading.Event()
        self.phase = "starting"
        # What is to be done, and since when, in AWS's time, the phase is what it is: two threads
        # read and write them, and nobody may judge a change by what was there before it.
        self._lock = threading.RLock()
        self._change: templates.Graph | None = None
        self._since = 0.0
        self.world: World | None = None
        self.faults: Faults

    def run(self) -> int:
        """Play until the end; give the exit code. Whatever happens, clean up."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ending.set())
        with ExitStack() as closing:
            closing.callback(self.engine.clean, f"{LABEL}={self.folder.owner}")
            try:
                world = self._begin()
                closing.callback(world.close)
                world.begin()
                server = api.serve(
                    world,
                    self.options.endpoint_port,
                    control=self.control,
                    token=self.folder.token(),
                    say=self.folder.say,
                )
                closing.callback(server.close)
                self._loop(world)
            except Exception as error:
                _LOG.exception("the rehearsal ends")
                self.folder.say(f"It cannot go on: {error}")
                self.phase = "failed"
                self._tell()
                return 1
        return 0

    def _begin(self) -> World:
        self._tell()
        left = self.engine.clean(f"{LABEL}={self.folder.owner}")
        if left:
            self.folder.say(f"{len(left)} containers and networks of an earlier run are removed.")
        graph = templates.read(self.options.assembly)
        self._build(graph)
        self.world = World(
            self.options.environment,
            graph,
            engine=self.engine,
            speed=self.options.speed,
            owner=self.folder.owner,
            folder=self.folder.path,
            port=self.options.port,
            endpoint_port=self.options.endpoint_port,
            say=self.folder.say,
            secrets=self.options.secrets,
        )
        self.faults = Faults(self.world)
        return self.world

    def _build(self, graph: templates.Graph) -> None:
        """Have the images; the command has built them already, where people see it and end it."""
        build_environment(graph, self.options.environment, self.engine, say=_LOG.info)

    def _loop(self, world: World) -> None:
        failures = 0
        while not self.ending.wait(TICK_SECONDS):
            try:
                self._apply(world)
                world.tick()
                self._judge(world)
                failures = 0
            except Exception:
                failures += 1
                _LOG.exception("a look at the world failed")
                if failures >= FAILURES:
                    raise

    def _apply(self, world: World) -> None:
        with self._lock:
            change, self._change = self._change, None
            if change is None:
                return
            self._since = world.clock.now()
            try:
                self._build(change)
                world.apply(change)
            except Exception as error:
                _LOG.exception("the change cannot be applied")
                self.folder.say(f"The change cannot be applied: {error}")
                self.phase = "failed"

    def _judge(self, world: World) -> None:
        """Say whether what was begun has come to its end, and to which."""
        with self._lock:
            if self.phase in {"starting", "deploying"} and self._change is None:
                self.phase = world.outcome(self._since) or self.phase
                for line in world.failures() if self.phase == "failed" else ():
                    self.folder.say(line)
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            self.folder.write_status(
                phase=self.phase,
                speed=self.options.speed,
                engine=self.engine.name,
                engine_command=self.options.engine,
                **(summary(self.world) if self.world is not None else {}),
            )

    def control(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a command: who has the token may break, mend and change the environment.

        What only reads needs none, as the API beside it needs none.
        """
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("GET", f"{COMMANDS}requests"):
            return _answer(start_response, HTTPStatus.OK, self._requests())
        if not shows(environ, self.folder.token()):
            return _answer(start_response, HTTPStatus.FORBIDDEN, {"error": "expected the token"})
        verbs: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, object]]] = {
            "fail": self._fail,
            "restore": self._restore,
            "deploy": self._deploy,
        }
        verb = str(environ["PATH_INFO"]).removeprefix(COMMANDS)
        if verb not in verbs or environ["REQUEST_METHOD"] != "POST":
            words = f"expected POST to one of {', '.join(verbs)}, got {verb}"
            return _answer(start_response, HTTPStatus.NOT_FOUND, {"error": words})
        try:
            length = min(int(environ.get("CONTENT_LENGTH") or 0), LIMIT)
            asked = json.loads(environ["wsgi.input"].read(length) or b"{}")
            if not isinstance(asked, dict):
                raise ValueError(f"expected a JSON object, got {asked!r:.100}")
            return _answer(start_response, HTTPStatus.OK, verbs[verb](asked))
        except KeyError as error:
            words = f"{verb}: expected the key {error}"
            return _answer(start_response, HTTPStatus.BAD_REQUEST, {"error": words})
        except ValueError as error:
            return _answer(start_response, HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _requests(self) -> Mapping[str, object]:
        """Give what the balancer has counted since it began, and when (since the epoch)."""
        world = self.world
        assert world is not None  # noqa: S101 - it is asked once the API is served
        with world.lock:
            counted = world.balancer.counters().groups
        groups = {
            arn: {
                "requests": one.requests,
                "failures": one.target_5xx + one.balancer_502 + one.balancer_503 + one.balancer_504,
            }
            for arn, one in counted.items()
        }
        return {"at": time.time(), "groups": groups}

    def _fail(self, asked: Mapping[str, Any]) -> Mapping[str, object]:
        done = self.faults.fail(str(asked["kind"]), *(str(one) for one in asked["arguments"]))
        self.folder.say(done.words)
        return {"words": done.words, "command": done.command}

    def _restore(self, _asked: Mapping[str, Any]) -> Mapping[str, object]:
        done = self.faults.restore()
        self.folder.say(done.words)
        return {"words": done.words}

    def _deploy(self, asked: Mapping[str, Any]) -> Mapping[str, object]:
        # What cannot be read changes nothing.
        change = templates.read(Path(str(asked["assembly"])))
        with self._lock:
            self._change, self.phase = change, "deploying"
            self._tell()
        return {"words": "The change is taken up."}


def _answer(
    start_response: StartResponse, status: HTTPStatus, body: Mapping[str, object]
) -> list[bytes]:
    content = json.dumps(body).encode()
    start_response(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
        ],
    )
    return [content]


def wait_for(
    folder: Folder, phases: set[str], *, skip: int, say: Callable[[str], None], seconds: float
) -> str:
    """Tell the progress until a phase is reached, or the process is gone; give the phase."""
    until = time.monotonic() + seconds
    while True:
        played = folder.is_played()
        phase = str(folder.status().get("phase", ""))
        for line in folder.progress(skip):
            say(line.text)
            skip += 1
        if phase in phases:
            return phase
        if not played:
            return "gone"
        if time.monotonic() > until:
            return "late"
        time.sleep(0.2)
