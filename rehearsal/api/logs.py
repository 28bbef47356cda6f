"""Brings what containers write to moto's CloudWatch Logs, in batches."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from queue import Empty, SimpleQueue

from moto.logs.models import LogsBackend, logs_backends

from rehearsal.stacks import ACCOUNT
from rehearsal.tasks import LogLine

INTERVAL_SECONDS = 0.5
# The lines of a stream that are kept; a rehearsal that runs for days must not fill the memory.
KEPT = 20_000
# Streams that are kept of a group; each task has one of its own.
STREAMS = 500
_LOG = logging.getLogger("rehearsal.logs")


class LogShipper:
    """Takes the agent's lines from their queue, in a thread of its own, until it is closed."""

    def __init__(self, lines: SimpleQueue[LogLine], *, region: str) -> None:
        self._lines = lines
        self._region = region
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def start(self) -> None:
        """Begin to ship."""
        self._thread.start()

    def close(self) -> None:
        """Ship what is left, and end."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self.ship()

    def ship(self) -> int:
        """Ship what waits in the queue now; give the number of lines."""
        batches: dict[tuple[str, str], list[LogLine]] = defaultdict(list)
        count = 0
        try:
            while True:
                line = self._lines.get_nowait()
                batches[line.group, line.stream].append(line)
                count += 1
        except Empty:
            pass
        for (group, stream), lines in batches.items():
            self._put(group, stream, lines)
        return count

    def _put(self, group: str, stream: str, lines: list[LogLine]) -> None:
        backend: LogsBackend = logs_backends[ACCOUNT][self._region]
        backend.ensure_log_group(group)
        backend.ensure_log_stream(group, stream)
        # Those of two containers' streams may cross on the way here.
        ordered = sorted(lines, key=lambda line: line.timestamp)
        backend.put_log_events(
            log_group_name=group,
            log_stream_name=stream,
            log_events=[{"timestamp": line.timestamp, "message": line.message} for line in ordered],
        )
        streams = backend.groups[group].streams
        events = streams[stream].events
        del events[: max(0, len(events) - KEPT)]
        for oldest in list(streams)[: max(0, len(streams) - STREAMS)]:
            del streams[oldest]

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL_SECONDS):
            try:
                self.ship()
            except Exception:
                _LOG.exception("lines of containers are lost")
