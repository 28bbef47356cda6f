"""Target groups, their targets, and the health checks of both as ALB makes them.

Rules, words and ranges as of these pages, read 2026-11-24 (below: HC and TG):
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rehearsal.properties import BalancerError, Properties
from templates import Value

ALGORITHMS = ("round_robin", "least_outstanding_requests", "weighted_random")
# More than this of an answer's head fails a check. Source: load-balancer-limits.html, 32K.
_HEAD = 32 * 1024
_CODES = re.compile(r"(\d{3})(?:-(\d{3}))?")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True)
class TargetHealth:
    """What DescribeTargetHealth says of a target."""

    state: str
    reason: str | None = None
    description: str | None = None


# Source: HC, "Target health status" and "Health check reason codes", word for word.
REGISTERING = TargetHealth(
    "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
)
INITIAL = TargetHealth("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = TargetHealth("healthy")
TIMED_OUT = TargetHealth("unhealthy", "Target.Timeout", "Request timed out")
FAILED = TargetHealth("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
DRAINING = TargetHealth(
    "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
)
NOT_IN_USE = TargetHealth(
    "unused",
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)
NOT_REGISTERED = TargetHealth(
    "unused", "Target.NotRegistered", "Target is not registered to the target group"
)


@dataclass(frozen=True)
class Target:
    """Something that answers at an address; its id names it within its group.

    AWS tells targets of an instance apart by their ports, so an id here is one such pair.
    """

    id: str
    host: str
    port: int

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.host)
        except ValueError as error:
            raise BalancerError(
                f"{self.id}.host: expected an IP address, got {self.host!r}"
            ) from error
        Properties(self.id, {"port": self.port}).number("port", 1, 65_535)


@dataclass(frozen=True)
class TargetGroup:
    """One target group: how its targets are checked, chosen and let go. Defaults are AWS's."""

    arn: str
    name: str
    protocol: str = "HTTP"
    path: str = "/"
    interval_seconds: int = 30
    timeout_seconds: int = 5
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    matcher: str = "200"
    health_check_port: str = "traffic-port"
    health_check_protocol: str = "HTTP"
    attributes: Mapping[str, str] = field(default_factory=dict)
    departures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        read = self._properties()
        read.text("Protocol", of=("HTTP",))
        read.text("HealthCheckProtocol", of=("HTTP",))
        path = read.text("HealthCheckPath")
        if not re.fullmatch(r"/[\x21-\x7e]{0,1023}", path):
            raise read.error("HealthCheckPath", "a path that begins with /, of visible ASCII")
        read.number("HealthCheckIntervalSeconds", 5, 300)
        read.number("HealthCheckTimeoutSeconds", 2, 120)
        read.number("HealthyThresholdCount", 2, 10)
        read.number("UnhealthyThresholdCount", 2, 10)
        if self.health_check_port != "traffic-port":
            read.number("HealthCheckPort", 1, 65_535)
        self.expected_codes()
        slow_start = self.slow_start_seconds
        if self.algorithm != "round_robin" and slow_start:
            raise self._attributes().error("slow_start.duration_seconds", "0 but with round_robin")
        _ = self.deregistration_seconds, self.minimum_healthy(1)
        self._attributes().text("stickiness.enabled", "false", of=("false",))

    @classmethod
    def from_properties(cls, arn: str, properties: Mapping[str, Value]) -> TargetGroup:
        """Read an AWS::ElasticLoadBalancingV2::TargetGroup."""
        read = Properties(arn, properties)
        read.text("TargetType", "instance", of=("instance", "ip"))
        read.text("ProtocolVersion", "HTTP1", of=("HTTP1",))
        if not read.flag("HealthCheckEnabled", default=True):
            raise read.error("HealthCheckEnabled", "true, as for every instance or IP address")
        read.part("Matcher").only("HttpCode")
        attributes = read.pairs("TargetGroupAttributes")
        departures = []
        if attributes.get("load_balancing.algorithm.anomaly_mitigation", "off") != "off":
            departures.append(f"{arn}: load_balancing.algorithm.anomaly_mitigation is not played")
        return cls(
            arn=arn,
            # arn:...:targetgroup/<name>/<id>, where the template leaves the name to AWS.
            name=read.text("Name", arn.split("/")[1] if arn.count("/") > 1 else arn),
            protocol=read.text("Protocol"),
            path=read.text("HealthCheckPath", "/"),
            interval_seconds=read.number("HealthCheckIntervalSeconds", 5, 300, 30),
            timeout_seconds=read.number("HealthCheckTimeoutSeconds", 2, 120, 5),
            healthy_threshold=read.number("HealthyThresholdCount", 2, 10, 5),
            unhealthy_threshold=read.number("UnhealthyThresholdCount", 2, 10, 2),
            matcher=read.part("Matcher").text("HttpCode", "200"),
            health_check_port=str(properties.get("HealthCheckPort") or "traffic-port"),
            health_check_protocol=read.text("HealthCheckProtocol", "HTTP"),
            attributes=attributes,
            departures=tuple(departures),
        )

    @property
    def deregistration_seconds(self) -> int:
        """How long a deregistered target may finish what it has begun."""
        return self._attributes().number("deregistration_delay.timeout_seconds", 0, 3600, 300)

    @property
    def slow_start_seconds(self) -> int:
        """For how long a target's share grows after it became healthy; 0 for not at all."""
        name = "slow_start.duration_seconds"
        seconds = self._attributes().number(name, 0, 900, 0)
        if 0 < seconds < 30:
            raise self._attributes().error(name, "0, or an integer from 30 to 900")
        return seconds

    @property
    def algorithm(self) -> str:
        """How a target is chosen."""
        name = "load_balancing.algorithm.type"
        return self._attributes().text(name, "round_robin", of=ALGORITHMS)

    def minimum_healthy(self, registered: int) -> int:
        """Give how many healthy targets it takes for only these to get traffic.

        Source: load-balancer-target-groups.html#target-group-attributes, read 2026-11-24.
        """
        name = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"
        attributes = self._attributes()
        count = attributes.number(f"{name}.count", 1, 1000, 1)
        if self.attributes.get(f"{name}.percentage", "off") == "off":
            return count
        percentage = attributes.number(f"{name}.percentage", 1, 100)
        return max(count, -(-registered * percentage // 100))

    def expected_codes(self) -> list[range]:
        """Give the codes that pass a check, as ranges."""
        found = [_CODES.fullmatch(part) for part in self.matcher.split(",")]
        ranges = [range(int(one[1]), int(one[2] or one[1]) + 1) for one in found if one]
        if len(ranges) < len(found) or not all(
            one and one[0] >= 200 and one[-1] <= 499 for one in ranges
        ):
            raise BalancerError(
                f"{self.arn}.Matcher.HttpCode: expected codes from 200 to 499 as 200, 200,202 or "
                f"200-299, got {self.matcher!r}"
            )
        return ranges

    def _attributes(self) -> Properties:
        return Properties(f"{self.arn}.TargetGroupAttributes", self.attributes)

    def _properties(self) -> Properties:
        return Properties(
            self.arn,
            {
                "Protocol": self.protocol,
                "HealthCheckPath": self.path,
                "HealthCheckIntervalSeconds": self.interval_seconds,
                "HealthCheckTimeoutSeconds": self.timeout_seconds,
                "HealthyThresholdCount": self.healthy_threshold,
                "UnhealthyThresholdCount": self.unhealthy_threshold,
                "HealthCheckPort": self.health_check_port,
                "HealthCheckProtocol": self.health_check_protocol,
            },
        )


class Health:
    """What is known of one target's health: each result of a check moves it on."""

    def __init__(self) -> None:
        self.now = REGISTERING
        self._passed = 0
        self._failed = 0

    def begin(self) -> None:
        """Note that its checks have begun."""
        if self.now == REGISTERING:
            self.now = INITIAL

    def take(self, result: TargetHealth, group: TargetGroup) -> None:
        """Count a check's result: HEALTHY, or what an unhealthy target's health would be."""
        if result == HEALTHY:
            self._passed, self._failed = self._passed + 1, 0
            # "After your target is registered, it must pass one health check to be considered
            # healthy": the threshold is for those that come back. Source: HC.
            if self.now.state == "initial" or self._passed >= group.healthy_threshold:
                self.now = HEALTHY
            return
        self._passed, self._failed = 0, self._failed + 1
        # That an initial target fails as often as a healthy one before it is unhealthy is not on
        # AWS's pages: unverified.
        if self.now.state == "unhealthy" or self._failed >= group.unhealthy_threshold:
            self.now = result


class Check:
    """One health check under way: a request on a connection of its own, and what came of it."""

    def __init__(self, group: TargetGroup, target: Target, *, ends: float) -> None:
        """Begin; it has timed out at `ends`, on the clock of whoever calls `step`."""
        self._group = group
        self._ends = ends
        named = group.health_check_port
        port = target.port if named == "traffic-port" else int(named)
        host = f"[{target.host}]" if ":" in target.host else target.host
        # Source of both: load-balancer-troubleshooting.html, read 2026-11-24.
        name = host if port == 80 else f"{host}:{port}"
        self._to_send = (
            f"GET {group.path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n"
            "User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
        ).encode("ascii")
        self._received = b""
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setblocking(False)
        error = self._socket.connect_ex((target.host, port))
        self._refused = error not in (0, errno.EINPROGRESS)

    def close(self) -> None:
        """End it, with or without a result."""
        self._socket.close()

    def step(self, now: float) -> TargetHealth | None:
        """Go on as far as is possible without waiting; give the result once there is one."""
        try:
            result = FAILED if self._refused else self._go_on()
        except OSError:
            # Refused, reset, unreachable. Source: the page of API_TargetHealth,
            # "an error while establishing a connection to the target".
            result = FAILED
        return TIMED_OUT if result is None and now >= self._ends else result

    def _go_on(self) -> TargetHealth | None:
        try:
            if self._to_send:
                self._to_send = self._to_send[self._socket.send(self._to_send) :]
            while True:
                received = self._socket.recv(65536)
                self._received += received
                if b"\r\n\r\n" in self._received:
                    return self._judge()
                if not received or len(self._received) > _HEAD:
                    return FAILED
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return None
            raise

    def _judge(self) -> TargetHealth:
        match = _STATUS.match(self._received)
        if match is None:
            return FAILED
        code = int(match[1])
        if any(code in codes for codes in self._group.expected_codes()):
            return HEALTHY
        return TargetHealth(
            "unhealthy",
            "Target.ResponseCodeMismatch",
            f"Health checks failed with these codes: [{code}]",
        )


class Checking:
    """The health checks of one target: when the next is due, and those under way."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._running: list[Check] = []

    def results(
        self, group: TargetGroup, target: Target, *, now: float, speed: float
    ) -> Iterator[TargetHealth]:
        """Go on with what is under way, begin what is due, and give what has a result.

        A check begins an interval after the one before, whatever became of that; only the
        interval is divided by the speed, since it is the target's own time that a timeout bounds.
        Source: HC, "each health check request is independent".
        """
        if self._due is None or now >= self._due:
            self._running.append(Check(group, target, ends=now + group.timeout_seconds))
            interval = group.interval_seconds / speed
            # After a long pause of the caller's there is one check to make and not a row of them.
            self._due = max((self._due or now) + interval, now + interval / 2)
        for check in tuple(self._running):
            result = check.step(now)
            if result is not None:
                check.close()
                self._running.remove(check)
                yield result

    def close(self) -> None:
        """End all that is under way."""
        for check in self._running:
            check.close()
        self._running.clear()
        self._due = None
