"""Plays an Application Load Balancer on this machine, with HAProxy in the path of the requests."""

from __future__ import annotations

import math
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rehearsal.balancer_configuration import LEAVING, NOWHERE, backend, defaults, frontend
from rehearsal.haproxy import Ended, Guard, Process, Served
from rehearsal.listener_rules import Action, Attributes, Forward, Listener, Rule, action_of
from rehearsal.properties import BalancerError
from rehearsal.request_counts import Counters, Counts, Log, Tally
from rehearsal.target_groups import (
    ALGORITHMS,
    DRAINING,
    HEALTHY,
    NOT_IN_USE,
    NOT_REGISTERED,
    Checking,
    Health,
    Target,
    TargetGroup,
    TargetHealth,
)
from templates import Value

__all__ = [
    "NOT_REGISTERED",
    "Balancer",
    "BalancerError",
    "Counters",
    "Counts",
    "Listener",
    "Rule",
    "Target",
    "TargetGroup",
    "TargetHealth",
]

# What a real one does otherwise, whatever it is given.
_DEPARTURES = (
    "a target that ends a request without an answer, on a connection that had one before, ends "
    "the client's connection too, where AWS answers 502; it is counted as a 502",
    "there is one node: each target gets one health check an interval, and all turns are taken "
    "in one place",
    "a path is compared as it was sent, without AWS's normalization of it",
    "the Host header reaches targets as it was sent, also where AWS would set its port",
    "WebSockets are given to targets by their group's own algorithm",
    "Expect: 100-continue is left to the target",
)
# A server's full weight, of at most 256; slow start begins at 1 of it.
_FULL = 100


@dataclass
class _Member:
    """One registration of a target, and the server that stands for it."""

    target: Target
    group: _Group
    server: str
    health: Health = field(default_factory=Health)
    checking: Checking = field(default_factory=Checking)
    tally: Tally = field(default_factory=Tally)
    # Whether it came to a group that had a target at its full share.
    joins: bool = False
    open: bool = False
    weight: int = _FULL
    # When it began to be healthy, in a slow start.
    started: float | None = None
    # When the deregistration delay is over, once that has been asked for and the clock is known.
    ends: float | None = None

    @property
    def path(self) -> str:
        """What HAProxy's commands call it."""
        return f"{self.group.backend}/{self.server}"

    @property
    def declaration(self) -> str:
        """Its server as the configuration has it, without a weight."""
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return f"{self.server} {host}:{self.target.port}"


@dataclass
class _Group:
    group: TargetGroup
    backend: str
    members: dict[str, _Member] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def has_full_share(self) -> bool:
        """Say whether a target of it is healthy and not in slow start."""
        return any(
            one.health.now == HEALTHY and one.started is None for one in self.members.values()
        )


@dataclass
class _Generation:
    """One HAProxy, and which servers it has, with what was last read of each."""

    process: Process
    listeners: int
    servers: dict[str, Served]


def _nothing(_: str) -> None:
    """Say nothing."""


class Balancer:
    """One load balancer, until `close` or the end of a `with`. For one thread at a time.

    Targets come and go, and weights change, at run time; another set of rules takes a new HAProxy
    on the same sockets, which fails no request. Waits that are AWS's own (health check interval,
    deregistration delay, slow start) are divided by `speed`; timeouts are not. Raises
    BalancerError for what it cannot play.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        target_groups: Iterable[TargetGroup] = (),
        *,
        attributes: Mapping[str, str] | None = None,
        ports: Mapping[str, int] | None = None,
        speed: float = 1,
        spares: int = 4,
        say: Callable[[str], None] = _nothing,
    ) -> None:
        """Serve `listeners`, each on its port of `ports` (by ARN) or any free one.

        `spares` is how many more target groups of each algorithm there may be before a new
        HAProxy is needed; `say` is told what a user should know.
        """
        if speed <= 0:
            raise BalancerError(f"speed: expected a number above 0, got {speed!r}")
        self._speed, self._spares, self._say = speed, spares, say
        self._wanted_ports = dict(ports or {})
        self._attributes = Attributes.read(attributes or {})
        self._groups: dict[str, _Group] = {}
        self._backends: dict[str, str] = {}
        self._members: dict[str, _Member] = {}
        self._deregistered: list[_Member] = []
        self._keys: dict[str, str] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._serving: _Generation | None = None
        self._left: list[_Generation] = []
        self._named = 0
        for group in target_groups:
            self._declare(group)
        self._check(listeners)
        self._listeners = tuple(listeners)
        # A short path: that of a socket may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="balancer-"))
        self._log = Log()
        self._guard = Guard(self._folder)
        try:
            self._serving = self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End HAProxy, and whatever it is doing; leave nothing behind."""
        for generation in self._generations():
            generation.process.kill()
        self._serving, self._left = None, []
        for member in self._members.values():
            member.checking.close()
        for listening in self._sockets.values():
            listening.close()
        if self._folder.exists():
            self._guard.dismiss()
            self._log.close()
            shutil.rmtree(self._folder)

    @property
    def ports(self) -> Mapping[str, int]:
        """The port of 127.0.0.1 of each listener, by its ARN."""
        return {arn: int(one.getsockname()[1]) for arn, one in self._sockets.items()}

    @property
    def pid(self) -> int | None:
        """HAProxy's process id; None between its end and the next poll."""
        return self._serving.process.pid if self._serving else None

    @property
    def departures(self) -> list[str]:
        """What is played otherwise than AWS would, in words for a user."""
        found = list(_DEPARTURES)
        for listener in self._listeners:
            if listener.protocol == "HTTPS":
                found.append(
                    f"{listener.arn}: HTTPS is played as plain HTTP on the loopback, where "
                    "X-Forwarded-Proto says https; a redirect to it still names https and "
                    f"port {listener.port}, as on AWS"
                )
            found += listener.departures
        found += self._attributes.departures
        for member in self._groups.values():
            found += member.group.departures
        return found

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Its listeners, with the rules' actions as they are now."""
        return self._listeners

    @property
    def target_groups(self) -> set[str]:
        """The ARNs of its target groups."""
        return set(self._groups)

    def configure(
        self, listeners: Sequence[Listener], attributes: Mapping[str, str] | None = None
    ) -> None:
        """Take other listeners and rules, and other attributes where they are given."""
        before = self._listeners, self._attributes
        self._check(listeners)
        if attributes is not None:
            self._attributes = Attributes.read(attributes)
        self._listeners = tuple(listeners)
        try:
            self._renew()
        except BalancerError:
            self._listeners, self._attributes = before
            raise
        for arn in set(self._sockets) - {one.arn for one in listeners}:
            self._sockets.pop(arn).close()

    def set_actions(self, rule: str, actions: Sequence[Mapping[str, Value]]) -> None:
        """Give a rule (by its ARN; a listener's for its default one) other actions.

        From one forward action to another, no connection notices.
        """
        before = self._actions().get(rule)
        if before is None:
            raise BalancerError(
                f"{rule}: expected a rule or a listener of this balancer, got none of that ARN"
            )
        after = action_of(rule, "Actions", actions)
        listeners = [with_actions(one, rule, actions) for one in self._listeners]
        if not isinstance(before, Forward) or not isinstance(after, Forward):
            self.configure(listeners)
            return
        self._check(listeners)
        self._listeners = tuple(listeners)
        for generation in self._generations():
            left = [] if generation is self._serving else [f"{LEAVING} 1"]
            with self._surviving(generation):
                generation.process.fill(self._slots, [*self._entries(), *left])

    def set_weights(self, rule: str, weights: Mapping[str, int]) -> None:
        """Let a rule forward to these target groups (by ARN) by these weights."""
        self.set_actions(rule, weighted(weights))

    def add_target_group(self, group: TargetGroup) -> None:
        """Take a target group, or another description of one that is known."""
        known = self._groups.get(group.arn)
        if known is not None:
            before, known.group = known.group, group
            if before.algorithm != group.algorithm:
                self._backends[known.backend] = group.algorithm
                self._renew()
            return
        if not self._declare(group):
            self._say(f"{group.name}: no spare backend is left; HAProxy is started anew")
            self._renew()

    def remove_target_group(self, arn: str) -> None:
        """Forget a target group to which no rule forwards, and end what its targets are doing."""
        group = self._known(arn)
        if arn in self._used():
            raise BalancerError(f"{arn}: expected no rule to forward to it before it is removed")
        for name in tuple(group.members):
            self.deregister(arn, name)
        for member in self._deregistered:
            if member.group is group:
                member.ends = float("-inf")
        del self._groups[arn]

    def register(self, target_group: str, target: Target) -> None:
        """Register a target; it gets requests once it has passed a health check.

        AWS asks to wait for the end of draining with an IP address, and not with an instance
        (target-group-register-targets.html, read 2026-11-24). Here neither has to wait.
        """
        group = self._known(target_group)
        present = group.members.get(target.id)
        if present is not None:
            if present.target != target:
                raise BalancerError(
                    f"{target_group}: {target.id}: expected {present.target.host}:"
                    f"{present.target.port}, where it is registered, got "
                    f"{target.host}:{target.port}"
                )
            return
        self._named += 1
        member = _Member(target, group, f"t{self._named}", joins=group.has_full_share())
        group.members[target.id] = self._members[member.server] = member
        for generation in self._generations():
            with self._surviving(generation):
                self._add(generation, member)

    def deregister(self, target_group: str, target_id: str) -> None:
        """Send a target no new request; those under way may finish within the group's delay.

        "If the specified target does not exist, the action returns successfully": the page of
        API_DeregisterTargets, read 2026-11-24.
        """
        group = self._known(target_group)
        member = group.members.pop(target_id, None)
        if member is None:
            return
        member.checking.close()
        self._deregistered.append(member)
        # The others first: of unhealthy ones only they may be left.
        self._route(group)
        self._set_open(member, is_open=False)

    def where(self, target_group: str, target_id: str) -> Target | None:
        """Give a target that is registered; None where there is none of that id."""
        group = self._groups.get(target_group)
        member = group.members.get(target_id) if group is not None else None
        return member.target if member is not None else None

    def poll(self, now: float) -> None:
        """Carry out what is due; to be called 5 to 20 times a second, by any clock of seconds."""
        if self._serving is None or self._serving.process.ended():
            self._revive()
        # Looked for before the counts are read, so that what it did last is among them.
        finished = self._finished()
        self._count()
        used = self._used()
        for group in self._groups.values():
            for member in group.members.values():
                if group.group.arn in used:
                    self._look_after(member, now)
                else:
                    member.checking.close()
                    member.health, member.started = Health(), None
            self._route(group)
        for member in tuple(self._deregistered):
            self._drain(member, now)
        for generation in finished:
            if generation in self._left:
                self._forget(generation)

    def health(self) -> Mapping[tuple[str, str], TargetHealth]:
        """Give the health of every target by its group's ARN and its id.

        One that is not there any more is not registered (NOT_REGISTERED, for whoever is asked).
        """
        used = self._used()
        found = {
            (member.group.group.arn, member.target.id): DRAINING
            for member in self._deregistered
            if member.ends is None or member.ends > float("-inf")
        }
        for arn, group in self._groups.items():
            for name, member in group.members.items():
                found[arn, name] = member.health.now if arn in used else NOT_IN_USE
        return found

    def counters(self) -> Counters:
        """Give what was counted up to the last poll."""
        members = [member for group in self._groups.values() for member in group.members.values()]
        return Counters(
            groups={arn: group.tally.counts() for arn, group in self._groups.items()},
            targets={
                (member.group.group.arn, member.target.id): member.tally.counts()
                for member in (*self._deregistered, *members)
            },
        )

    @property
    def _slots(self) -> Path:
        return self._folder / "slots.map"

    def _generations(self) -> list[_Generation]:
        return [*([self._serving] if self._serving else []), *self._left]

    def _known(self, arn: str) -> _Group:
        if arn not in self._groups:
            known = ", ".join(self._groups) or "none"
            raise BalancerError(f"{arn}: expected a target group of this balancer: {known}")
        return self._groups[arn]

    def _actions(self) -> dict[str, Action]:
        return {arn: action for one in self._listeners for arn, action in one.actions.items()}

    def _used(self) -> set[str]:
        return {
            arn
            for action in self._actions().values()
            if isinstance(action, Forward)
            for arn in action.weights
        }

    def _check(self, listeners: Sequence[Listener]) -> None:
        seen: set[str] = set()
        for listener in listeners:
            for arn, action in listener.actions.items():
                if arn in seen:
                    raise BalancerError(f"{arn}: expected an ARN of its own, got one twice")
                seen.add(arn)
                for group in action.weights if isinstance(action, Forward) else ():
                    if group not in self._groups:
                        raise BalancerError(
                            f"{arn}: expected to forward to target groups of this balancer, "
                            f"got {group}"
                        )

    def _declare(self, group: TargetGroup) -> bool:
        """Give a group a backend; say whether HAProxy has it already."""
        taken = {one.backend for one in self._groups.values()}
        for name, algorithm in self._backends.items():
            if algorithm == group.algorithm and name not in taken:
                self._groups[group.arn] = _Group(group, name)
                return True
        name = self._new_backend(group.algorithm)
        self._groups[group.arn] = _Group(group, name)
        return False

    def _new_backend(self, algorithm: str) -> str:
        name = f"g{len(self._backends) + 1}"
        self._backends[name] = algorithm
        return name

    def _entries(self) -> list[str]:
        entries = []
        for arn, action in self._actions().items():
            if isinstance(action, Forward):
                slots = [self._groups[group].backend for group in action.slots()]
                key = self._key(arn)
                entries += [f"{key}.{index} {backend}" for index, backend in enumerate(slots)]
                if slots:
                    entries.append(f"{key} {len(slots)}")
        return entries

    def _key(self, arn: str) -> str:
        return self._keys.setdefault(arn, f"r{len(self._keys) + 1}")

    def _start(self) -> _Generation:
        """Start a HAProxy that has every target in its place at its first request."""
        for algorithm in ALGORITHMS:
            taken = sum(one.group.algorithm == algorithm for one in self._groups.values())
            declared = sum(one == algorithm for one in self._backends.values())
            for _ in range(taken + self._spares - declared):
                self._new_backend(algorithm)
        self._slots.write_text("".join(f"{entry}\n" for entry in self._entries()))
        self._named += 1
        name = f"haproxy-{self._named}"
        process = Process(
            self._configuration(), folder=self._folder, name=name, log=self._log.writing
        )
        self._guard.watch([process, *(one.process for one in self._generations())])
        members = [one for group in self._groups.values() for one in group.members.values()]
        try:
            for member in members:
                if not member.open:
                    process.tell(f"set server {member.path} state drain")
                    process.tell(f"set weight {member.path} {member.weight}")
        except Ended as error:
            process.kill()
            raise BalancerError("haproxy: expected it to serve, got its end") from error
        return _Generation(process, len(self._listeners), {one.server: Served() for one in members})

    def _configuration(self) -> str:
        parts = [defaults(self._attributes), NOWHERE]
        for index, listener in enumerate(self._listeners):
            parts.append(
                frontend(
                    listener,
                    name=f"listener{index}",
                    descriptor=self._listening(listener).fileno(),
                    attributes=self._attributes,
                    slots=self._slots,
                    keys={arn: self._key(arn) for arn in listener.actions},
                    file_of=self._file_of,
                )
            )
        groups = {one.backend: one for one in self._groups.values()}
        for name, algorithm in self._backends.items():
            members = groups[name].members.values() if name in groups else ()
            # Without weight a server gets nothing before it can be told to drain.
            servers = [
                f"{one.declaration} weight {one.weight if one.open else 0}" for one in members
            ]
            parts.append(backend(name, algorithm=algorithm, servers=servers))
        return "".join(parts)

    def _listening(self, listener: Listener) -> socket.socket:
        """Give the listener's socket: opened once, so that nothing else can take the port."""
        if listener.arn not in self._sockets:
            port = self._wanted_ports.get(listener.arn, 0)
            try:
                self._sockets[listener.arn] = socket.create_server(
                    ("127.0.0.1", port), backlog=1024
                )
            except OSError as error:
                raise BalancerError(
                    f"{listener.arn}: expected port {port} of 127.0.0.1 to be free, got {error}"
                ) from error
        return self._sockets[listener.arn]

    def _file_of(self, body: str) -> Path:
        found = len(list(self._folder.glob("*.body")))
        path = self._folder / f"{found}.body"
        path.write_text(body, encoding="utf-8", newline="")
        return path

    def _renew(self) -> None:
        """Put a new HAProxy in the place of the one that serves, and let that finish.

        Not by its soft stop (SIGUSR1): that also ends its obedience, and a target that drains
        must get nothing more from it. It stops to accept, which leaves sockets that it was given
        as they are, and tells its clients to close.
        """
        before = self._serving
        self._serving, self._left = self._start(), self._generations()
        if before is not None:
            with self._surviving(before):
                for index in range(before.listeners):
                    before.process.tell(f"disable frontend listener{index}")
                before.process.tell(f"add map {self._slots} {LEAVING} 1")

    def _revive(self) -> None:
        ended, self._serving = self._serving, None
        if ended is not None:
            ended.process.kill()
        self._serving = self._start()
        self._say("HAProxy had ended; it was started again with the same targets")

    def _forget(self, generation: _Generation) -> None:
        generation.process.kill()
        if generation is self._serving:
            self._serving = None
        else:
            self._left.remove(generation)
        self._guard.watch(one.process for one in self._generations())

    def _finished(self) -> list[_Generation]:
        """Name those that were left alone and have no client any more."""
        found = []
        for generation in tuple(self._left):
            with self._surviving(generation):
                if generation.process.clients() == 0:
                    found.append(generation)
        return found

    @contextmanager
    def _surviving(self, generation: _Generation) -> Iterator[None]:
        """Forget a HAProxy that turns out to have ended; the next poll starts another."""
        try:
            yield
        except Ended:
            self._forget(generation)

    def _add(self, generation: _Generation, member: _Member) -> None:
        backend, server = member.group.backend, member.declaration
        said = generation.process.ask(f"add server {backend}/{server} weight {member.weight}")
        if generation is not self._serving and said.startswith("No such backend"):
            # One that was left alone before there was this group.
            return
        if said != "New server registered.":
            raise BalancerError(f"{member.target.id}: expected to register it, got {said!r}")
        generation.process.tell(f"set server {member.path} state drain")
        generation.servers[member.server] = Served()

    def _tell(self, member: _Member, command: str) -> None:
        """Tell every HAProxy that has a member's server."""
        for generation in self._generations():
            if member.server in generation.servers:
                with self._surviving(generation):
                    generation.process.tell(command)

    def _set_open(self, member: _Member, *, is_open: bool) -> None:
        if member.open != is_open:
            member.open = is_open
            state = "ready" if is_open else "drain"
            self._tell(member, f"set server {member.path} state {state}")

    def _look_after(self, member: _Member, now: float) -> None:
        """Check a member's health, and let its share grow.

        "Newly registered targets enter slow start mode only when there is at least one healthy
        target that is not in slow start mode", and those that come to an empty group in one
        operation do not. Source: edit-target-group-attributes.html.
        """
        group = member.group.group
        before = member.health.now
        slowly = member.joins if before.state == "initial" else member.group.has_full_share()
        results = member.checking.results(group, member.target, now=now, speed=self._speed)
        for result in results:
            member.health.take(result, group)
        member.health.begin()
        weight = _FULL
        if member.health.now != HEALTHY:
            member.started = None
        elif before != HEALTHY and slowly and group.slow_start_seconds:
            member.started = now
        if member.started is not None:
            passed = (now - member.started) * self._speed / (group.slow_start_seconds or 1)
            weight = max(1, min(_FULL, int(_FULL * passed)))
            if weight == _FULL:
                member.started = None
        if weight != member.weight:
            member.weight = weight
            self._tell(member, f"set weight {member.path} {weight}")

    def _route(self, group: _Group) -> None:
        """Open the servers that shall get requests, and then close the others.

        "If a target group contains only unhealthy registered targets, the load balancer routes
        requests to all those targets" (target-group-health-checks.html). Whether those that are
        still initial are among them AWS's pages do not say; here they are not: unverified.
        """
        members = group.members.values()
        healthy = [one for one in members if one.health.now == HEALTHY]
        chosen = healthy
        if len(healthy) < group.group.minimum_healthy(len(members)):
            chosen = [one for one in members if one.health.now.state in ("healthy", "unhealthy")]
        for member in chosen:
            self._set_open(member, is_open=True)
        for member in members:
            if member not in chosen:
                self._set_open(member, is_open=False)

    def _drain(self, member: _Member, now: float) -> None:
        """Let a deregistered target go: once it has nothing to do, or when the delay is over.

        "If a deregistering target has no in-flight requests and no active connections, Elastic
        Load Balancing immediately completes the deregistration process ... However ... the status
        of the target is displayed as draining until the deregistration delay timeout expires."
        Source: edit-target-group-attributes.html.
        """
        if member.ends is None:
            member.ends = now + member.group.group.deregistration_seconds / self._speed
        over = now >= member.ends
        if over or member.tally.in_flight == 0:
            self._delete(member, cut=over)
        if over and not any(member.server in one.servers for one in self._generations()):
            self._deregistered.remove(member)
            del self._members[member.server]

    def _delete(self, member: _Member, *, cut: bool) -> None:
        name = member.path
        for generation in self._generations():
            if member.server in generation.servers:
                with self._surviving(generation):
                    if cut:
                        generation.process.tell(f"shutdown sessions server {name}")
                    # Idle connections end here.
                    generation.process.tell(f"set server {name} state maint")
                    # It may still hold connections that are closing; the next poll asks again.
                    if generation.process.ask(f"del server {name}") == "Server deleted.":
                        del generation.servers[member.server]

    def _count(self) -> None:
        under_way: dict[str, int] = dict.fromkeys(self._members, 0)
        for generation in self._generations():
            with self._surviving(generation):
                for server, served in generation.process.served().items():
                    before = generation.servers.get(server)
                    if before is None:
                        continue
                    member = self._members[server]
                    member.tally.add(before, served)
                    member.group.tally.add(before, served)
                    generation.servers[server] = served
                    under_way[server] += served.under_way
        for group in self._groups.values():
            group.tally.in_flight = 0
        for server, number in under_way.items():
            member = self._members[server]
            member.tally.in_flight = number
            member.group.tally.in_flight += number
        # After those numbers, so that of a request that failed the log is never the later.
        backends = {one.backend: one for one in self._groups.values()}
        for failure in self._log.failures():
            if failure.server in self._members:
                member = self._members[failure.server]
                member.tally.fail(failure.code)
                member.group.tally.fail(failure.code)
            elif failure.backend in backends and failure.server is None and failure.code == 503:
                backends[failure.backend].tally.without_target += 1


def weighted(weights: Mapping[str, int]) -> list[Mapping[str, Value]]:
    """Make the actions that forward to target groups (by ARN) by weights, in lowest terms."""
    parts = math.gcd(*weights.values()) or 1
    groups = [{"TargetGroupArn": arn, "Weight": weight // parts} for arn, weight in weights.items()]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


def with_actions(listener: Listener, rule: str, actions: Sequence[Mapping[str, Value]]) -> Listener:
    """Give a listener in which a rule (by ARN; the listener's for its default) acts otherwise."""
    if listener.arn == rule:
        return replace(listener, default_actions=actions)
    rules = [replace(one, actions=actions) if one.arn == rule else one for one in listener.rules]
    return replace(listener, rules=rules)
