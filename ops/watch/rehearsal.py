"""Finds a rehearsal that is played on this machine, by the files that it keeps, and asks it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.cli import PROJECT
from ops.watch.rates import Counts

STATE = PROJECT / ".build" / "rehearsal"
ROUTE = "/_rehearsal/"
TOKEN_HEADER = "X-Drydock-Token"  # noqa: S105 - a header's name
SECONDS = 5
# A fault may have to build an image, or to wait for a tick.
FAULT_SECONDS = 60


class NotPlayedError(Exception):
    """No rehearsal answers; says which, and how it comes back."""


class RefusedError(Exception):
    """The rehearsal does not do what it was asked; in its words."""


@dataclass(frozen=True)
class Rehearsal:
    """An environment's rehearsal at an endpoint; `folder` is where it keeps its token."""

    environment: str
    endpoint: str
    folder: Path

    @classmethod
    def of(cls, environment: str, state: Path = STATE) -> Rehearsal | None:
        """Give the rehearsal that its status file tells of, if it answers."""
        folder = state / environment
        try:
            status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
            found = cls(environment, str(status["endpoint"]), folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.answers() else None

    def answers(self) -> bool:
        """Whether a rehearsal is what listens there."""
        try:
            self.requests()
        except (NotPlayedError, RefusedError):
            return False
        return True

    def requests(self) -> tuple[float, Counts]:
        """Give when it was asked (since the epoch), and its counters by target group."""
        answer = self._ask("requests", SECONDS)
        try:
            counts = {
                group: {name: int(one[name]) for name in ("requests", "failures")}
                for group, one in answer["groups"].items()
            }
            return float(answer["at"]), counts
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NotPlayedError(self.gone) from error

    def may_be_broken(self) -> bool:
        """Whether its token is here, without which it takes no command."""
        return (self.folder / "token").is_file()

    def command(self, verb: str, **body: object) -> str:
        """Have it do `fail` or `restore`; give what it says of that."""
        try:
            token = (self.folder / "token").read_text(encoding="ascii")
        except OSError as error:
            raise NotPlayedError(self.gone) from error
        headers = {TOKEN_HEADER: token, "Content-Type": "application/json"}
        answer = self._ask(verb, FAULT_SECONDS, json.dumps(body).encode(), headers)
        try:
            return str(answer["words"])
        except (KeyError, TypeError) as error:
            raise NotPlayedError(self.gone) from error

    def _ask(
        self,
        verb: str,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever JSON it is: a file may name a port that is another's now
        try:
            request = urllib.request.Request(  # noqa: S310 - http, as the file or the user says
                self.endpoint + ROUTE + verb, body, {**(headers or {})}
            )
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(_words(error)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotPlayedError(self.gone) from error

    @property
    def gone(self) -> str:
        """What to say where it does not answer, or not any more."""
        again = make_local(self.environment)
        return f"no rehearsal answers at {self.endpoint}; it plays again with: {again}"


def make_local(environment: str) -> str:
    """Give the command that plays an environment."""
    return "make local" if environment == "sandbox" else f"make local ENV={environment}"


def _words(error: urllib.error.HTTPError) -> str:
    try:
        body = json.load(error)
        return str(body.get("error") or body.get("message") or error)
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return str(error)
