"""Watches an engine's containers, by its events and, after each gap in them, by a list."""

from __future__ import annotations

import json
import logging
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from queue import SimpleQueue
from typing import Protocol

from rehearsal.engines.runtime import Change, EngineError, State
from templates import Value

_LOG = logging.getLogger("rehearsal")
# An engine that is being restarted is asked again after that.
PAUSE_SECONDS = 0.3
_KINDS = {"docker": ("start", "die", "oom", "health_status"), "podman": ("start", "died")}


class Watched(Protocol):
    """The engine that is watched."""

    command: str
    name: str

    def state(self, container: str) -> State: ...

    def states(self, label: str) -> Mapping[str, State]: ...


class Events:
    """Puts what happens to the containers of a label into `changes`, until it is closed.

    Nothing is missed where the stream of events ends: it is opened anew, and what a list shows
    that no event has told is put too. A change is put once.
    """

    def __init__(self, engine: Watched, label: str, *, watches_processes: bool) -> None:
        """Watch the containers of a label, `name=value`.

        `watches_processes` also waits for the end of each container's first process, which then
        must be one of this machine's: for an engine that is slow to tell.
        """
        self.changes: SimpleQueue[Change] = SimpleQueue()
        self._engine = engine
        self._label = label
        self._watches_processes = watches_processes
        self._since = time.time()
        self._known: dict[str, tuple[bool, float]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._watch, name="events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            self._closed.set()
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _watch(self) -> None:
        try:
            while not self._closed.is_set():
                try:
                    self._stream()
                except EngineError:
                    pass  # the next round lists again
                except Exception:
                    _LOG.exception("the events of %s are asked for anew", self._label)
                self._closed.wait(PAUSE_SECONDS)
        finally:
            for key in list(self._selector.get_map().values()):
                self._forget(key.fd)
            self._selector.close()

    def _stream(self) -> None:
        """Read one stream of events to its end."""
        form = "{{json .}}" if self._engine.name == "docker" else "json"
        kinds = [f"--filter=event={kind}" for kind in _KINDS[self._engine.name]]
        command = [
            self._engine.command, "events", f"--since={self._since:.3f}",
            f"--filter=label={self._label}", *kinds, "--format", form,
        ]  # fmt: skip
        with self._lock:
            if self._closed.is_set():
                return
            process = subprocess.Popen(  # noqa: S603 - an engine chosen by the user, and no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._process = process
        try:
            self._list()
            self._read(process)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _list(self) -> None:
        states = self._engine.states(self._label)
        for container, state in states.items():
            if state.running:
                self._began(container, state.started or 0, state)
            elif state.finished is not None:
                self._died(container, state.finished, state.exit_code)
        for container in [one for one, (alive, _) in self._known.items() if alive]:
            if container not in states:
                self._died(container, time.time(), None)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        begun = b""
        stream = process.stdout.fileno() if process.stdout else -1
        self._selector.register(stream, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fd != stream:
                        self._forget(key.fd)
                        self._died(key.data, time.time(), None)
                        continue
                    chunk = os.read(stream, 1 << 16)
                    if not chunk:
                        return
                    *lines, begun = (begun + chunk).split(b"\n")
                    for line in lines:
                        self._happened(json.loads(line))
        finally:
            self._selector.unregister(stream)

    def _happened(self, event: Mapping[str, Value]) -> None:
        if self._engine.name == "docker":
            container, kind = event["Actor"]["ID"], event["Action"]
            when = event["timeNano"] / 1e9
            code = event["Actor"]["Attributes"].get("exitCode")
        else:
            container, kind = event["ID"], event["Status"]
            when = datetime.fromisoformat(event["Time"]).timestamp()
            code = event.get("ContainerExitCode", 0)
        self._since = max(self._since, when)
        if kind == "start":
            self._began(container, when)
        elif kind in ("die", "died"):
            self._died(container, when, None if code is None else int(code))
        elif kind == "oom":
            self.changes.put(Change(container, "oom", when))
        elif kind.startswith("health_status: "):
            health = kind.partition(": ")[2]
            self.changes.put(Change(container, "health", when, health=health))

    def _began(self, container: str, when: float, state: State | None = None) -> None:
        alive, known = self._known.get(container, (False, 0.0))
        # An older stream's events come again, and a list may have told what came after them.
        if alive or when < known:
            return
        self._known[container] = (True, when)
        self.changes.put(Change(container, "started", when))
        if self._watches_processes:
            self._await_end(container, state)

    def _died(self, container: str, when: float, exit_code: int | None) -> None:
        alive, known = self._known.get(container, (True, 0.0))
        if not alive or when < known:
            return
        self._known[container] = (False, when)
        self.changes.put(Change(container, "died", when, exit_code))

    def _await_end(self, container: str, state: State | None) -> None:
        try:
            pid = (state or self._engine.state(container)).pid
            if pid and sys.platform == "linux":
                end = os.pidfd_open(pid)
                self._selector.register(end, selectors.EVENT_READ, data=container)
        except (EngineError, OSError):
            pass  # it has ended: its event will tell

    def _forget(self, end: int) -> None:
        self._selector.unregister(end)
        os.close(end)
