"""Reads again and again while somebody looks, and keeps the latest state with its age."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError

from ops.environment import Failed
from ops.preflight import credentials_fault
from ops.watch.connection import Connect
from ops.watch.faults import Faults
from ops.watch.finding import Finder, NotDeployedError, find
from ops.watch.rates import CloudWatchRates, Rates, RehearsalRates, Sample
from ops.watch.read import Reader, Versions
from ops.watch.rehearsal import NotPlayedError, RefusedError
from ops.watch.snapshot import Record, Snapshot

# A rehearsal throttles nobody, and things happen in it at many times their speed.
REHEARSAL_SECONDS = 0.5
AWS_SECONDS = 1.0
# ECS lets an account read tasks and instances 20 times a second, and services as often; everybody
# who asks shares it, so half of it is left to them. Source, read 2026-11-25:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
CALLS_A_SECOND = 10
GROUPS_SECONDS = 5.0
# How long to wait after what went wrong; each time twice as long, up to the second.
RETRY_SECONDS, LONGEST_SECONDS = 1.0, 30.0
THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
}
# Five minutes of seconds, or half an hour of AWS's minutes and then some.
SAMPLES = 300


@dataclass(frozen=True)
class State:
    """What is known: records by key, the samples that there are, and how often it was changed."""

    version: int
    records: Mapping[str, Record]
    samples: tuple[Sample, ...]


class Reads(Protocol):
    """What gives snapshots."""

    def read(self) -> Snapshot: ...


@dataclass(frozen=True)
class Source:
    """An environment found at a place, and what reads it there."""

    place: str
    is_rehearsal: bool
    reader: Reads
    rates: Rates
    faults: Faults | None = None

    def every(self, calls: int) -> float:
        """Say how many seconds to leave between two looks that take so many calls of ECS."""
        return REHEARSAL_SECONDS if self.is_rehearsal else max(AWS_SECONDS, calls / CALLS_A_SECOND)


def open_source(
    connect: Connect,
    versions: Versions,
    *,
    now: Callable[[], float],
    wall: Callable[[], float],
) -> Source:
    """Find an environment where `connect` looks; raises what that and `find` raise.

    `versions` are handed on from source to source, so that their letters stay what they are.
    """
    connection = connect()
    aws, rehearsal = connection.aws, connection.rehearsal
    finder = Finder(partial(find, aws, connection.environment), now=now)
    if rehearsal is None:
        return Source(
            connection.place,
            is_rehearsal=False,
            reader=Reader(aws, finder, now=now, groups_every=GROUPS_SECONDS, versions=versions),
            rates=CloudWatchRates(aws.cloudwatch, lambda: finder.found.balancers, wall=wall),
        )
    return Source(
        connection.place,
        is_rehearsal=True,
        reader=Reader(aws, finder, now=now, versions=versions),
        rates=RehearsalRates(rehearsal.requests),
        faults=Faults(rehearsal, aws, finder.found.cluster),
    )


class Watcher:
    """Keeps the state of one environment; `run` reads it, everybody else waits for changes.

    `find_source` is called again after whatever went wrong: other credentials, another cluster of
    that name, a rehearsal that is elsewhere now. `now` gives seconds that only go forward, `wall`
    seconds since the epoch.
    """

    def __init__(
        self,
        environment: str,
        find_source: Callable[[], Source],
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._environment = environment
        self._find_source = find_source
        self._now = now
        self._wall = wall
        self._say = say
        self._source: Source | None = None
        self._changed = threading.Condition()
        self._looking = 0
        self._ending = False
        self._hurried = False
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._place = ""
        self._read_at = 0.0
        self._error = ""
        self._rates_error = ""
        self._slow = 1.0
        self._failures = 0
        self.state = State(0, {"meta": self._meta(None)}, ())

    @property
    def faults(self) -> Faults | None:
        """What can be broken; None on AWS, and while nothing is connected."""
        return self._source.faults if self._source else None

    # For whoever looks.

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Be read anew as long as this goes on: nobody's quota is used for a page that is shut."""
        with self._changed:
            self._looking += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._looking -= 1

    def wait(self, version: int, seconds: float) -> State:
        """Give the state once it is another than that version, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.state.version != version or self._ending, seconds)
            return self.state

    def hurry(self) -> None:
        """Read again at once: something was just changed."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def end(self) -> None:
        """Have `run` return, and nobody wait."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    @property
    def ending(self) -> bool:
        return self._ending

    # For the one thread that reads.

    def begin(self) -> None:
        """Find where to look; raise Failed where there is nowhere, as without credentials.

        That nothing is deployed there (yet) is told, and is no reason to give up.
        """
        try:
            self._source = self._open()
        except NotDeployedError as error:
            self._failed(error)
        except (NotPlayedError, RefusedError, BotoCoreError, ClientError) as error:
            raise Failed(_words(error)) from error

    def run(self) -> None:
        """Read until the end; what goes wrong is told and tried again."""
        while not self._ending:
            seconds = self.look()
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._hurried, seconds)
                self._changed.wait_for(lambda: self._ending or self._looking > 0)
                self._hurried = False

    def look(self) -> float:
        """Read once; give how many seconds later to do so again."""
        began = self._now()
        try:
            source = self._source = self._source or self._open()
            snapshot = source.reader.read()
        except (BotoCoreError, ClientError, Failed, NotPlayedError, RefusedError) as error:
            return self._failed(error)
        if self._error:
            self._say(f"Reading {self._environment} again.")
        self._error, self._failures = "", 0
        self._slow = max(1.0, self._slow / 2)
        self._read_at = self._wall()
        self._rate(source)
        every = self._slow * source.every(snapshot.calls)
        records: dict[str, Record] = snapshot.records()
        records["meta"] = self._meta(source, cluster=snapshot.cluster, every=every)
        self._publish(records)
        return max(0.0, every - (self._now() - began))

    def _open(self) -> Source:
        source = self._find_source()
        self._say(f"Showing {self._environment} on {source.place}.")
        self._place = source.place
        self._samples.clear()
        return source

    def _rate(self, source: Source) -> None:
        """Add what is new of the rates; without them the rest is still worth seeing."""
        try:
            self._samples.extend(source.rates.read())
        except (BotoCoreError, ClientError, NotPlayedError, RefusedError) as error:
            self._rates_error = _words(error)
        else:
            self._rates_error = ""

    def _failed(self, error: Exception) -> float:
        words = _words(error)
        throttled = isinstance(error, ClientError) and _code(error) in THROTTLED
        if words != self._error:
            self._say(words)
        self._error = words
        self._failures += 1
        if throttled:
            self._slow = min(self._slow * 2, LONGEST_SECONDS)
        else:
            self._source = None
        self._publish({**self.state.records, "meta": self._meta(self._source)})
        if throttled:
            return min(self._slow * AWS_SECONDS, LONGEST_SECONDS)
        return float(min(RETRY_SECONDS * 2 ** (self._failures - 1), LONGEST_SECONDS))

    def _publish(self, records: Mapping[str, Record]) -> None:
        with self._changed:
            self.state = State(self.state.version + 1, records, tuple(self._samples))
            self._changed.notify_all()

    def _meta(self, source: Source | None, *, cluster: str = "", every: float = 0) -> Record:
        """Say what is shown and how old it is; with an error it is what was read before that."""
        before = self.state.records["meta"] if hasattr(self, "state") else {}
        faults = source.faults.offered() if source and source.faults else []
        latest = self._samples[-1] if self._samples else None
        return {
            "environment": self._environment,
            "place": self._place,
            "rehearsal": source.is_rehearsal if source else before.get("rehearsal", False),
            "cluster": cluster or before.get("cluster", ""),
            "read_at": self._read_at,
            "every": every or before.get("every", 0),
            "error": self._error,
            "rates": source.rates.source if source else before.get("rates", ""),
            "rates_error": self._rates_error,
            "sampled_at": latest.at if latest else 0,
            "faults": [asdict(one) for one in faults],
        }


def _words(error: Exception) -> str:
    if isinstance(error, Failed):
        return "; ".join(error.lines)
    if isinstance(error, ClientError):
        code = _code(error)
        if code in THROTTLED:
            return f"AWS asks to be asked less often ({code}); the next look is later"
        if "Token" in code or "Expired" in code or code in {"UnrecognizedClientException"}:
            return credentials_fault(error)
        return f"AWS refused: {error}"
    if isinstance(error, BotoCoreError):
        return credentials_fault(error)
    return str(error)


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])
