"""What a listener of an Application Load Balancer does with a request, and the same for HAProxy.

Conditions, actions and wildcards as of these pages, read 2026-11-24:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-action-types.html
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rehearsal.properties import BalancerError, Properties
from templates import Value

# Source: the page of API_FixedResponseActionConfig, read 2026-11-24.
CONTENT_TYPES = (
    "text/plain",
    "text/css",
    "text/html",
    "application/javascript",
    "application/json",
)
# Where each of these may stand. Source: the page of API_RedirectActionConfig, read 2026-11-24.
_KEYWORDS = {
    "Protocol": ("protocol",),
    "Host": ("host",),
    "Port": ("port",),
    "Path": ("host", "path", "port"),
    "Query": ("protocol", "host", "port", "path", "query"),
}
_SAME = {"Protocol": "#{protocol}", "Host": "#{host}", "Port": "#{port}", "Path": "/#{path}"}
KEYWORD = re.compile(r"#\{([^}]*)\}")
_VISIBLE = re.compile(r"[\x20-\x7e]*")
_TOKEN = re.compile(r"[-!#$%&*+.^_`|~0-9A-Za-z]{1,40}")
_METHOD = re.compile(r"[-_A-Z]{1,40}")


@dataclass(frozen=True)
class Forward:
    """Sends a request to one of the target groups (by ARN), drawn by their weights."""

    weights: Mapping[str, int]

    def slots(self) -> list[str]:
        """Give as many entries as the weights, in lowest terms, have parts.

        All weights may be 0, and then there is none. AWS's pages do not say what follows; here it
        is a 503.
        """
        parts = math.gcd(*self.weights.values()) or 1
        return [arn for arn, weight in self.weights.items() for _ in range(weight // parts)]


@dataclass(frozen=True)
class Redirect:
    """Answers with another address, whose parts may hold the keywords of AWS, as #{host}."""

    code: int
    protocol: str
    host: str
    port: str
    path: str
    query: str


@dataclass(frozen=True)
class FixedResponse:
    """Answers by itself."""

    code: int
    content_type: str
    body: str


Action = Forward | Redirect | FixedResponse


@dataclass(frozen=True)
class Rule:
    """One rule of a listener; conditions and actions as CloudFormation has them, resolved."""

    arn: str
    priority: int
    conditions: Sequence[Mapping[str, Value]]
    actions: Sequence[Mapping[str, Value]]

    def __post_init__(self) -> None:
        self.matches()
        self.action()

    @classmethod
    def from_properties(cls, arn: str, properties: Mapping[str, Value]) -> Rule:
        """Read an AWS::ElasticLoadBalancingV2::ListenerRule."""
        read = Properties(arn, properties)
        read.only("Actions", "Conditions", "ListenerArn", "Priority", "Tags")
        return cls(
            arn=arn,
            # Source: load-balancer-access-logs.html, matched_rule_priority.
            priority=read.number("Priority", 1, 50_000),
            conditions=properties.get("Conditions") or (),
            actions=properties.get("Actions") or (),
        )

    def action(self) -> Action:
        """Read what it does."""
        return action_of(self.arn, "Actions", self.actions)

    def matches(self) -> list[list[str]]:
        """Give for each condition what HAProxy matches, any of which is enough."""
        read = Properties(self.arn, {"Conditions": self.conditions})
        conditions = read.parts("Conditions")
        if not conditions:
            raise read.error("Conditions", "a list of at least one condition")
        return [_matches(one) for one in conditions]


@dataclass(frozen=True)
class Listener:
    """One listener: its port as declared, its protocol, and its rules beside the default one."""

    arn: str
    port: int
    protocol: str
    default_actions: Sequence[Mapping[str, Value]]
    rules: Sequence[Rule] = ()
    departures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        read = Properties(self.arn, {"Port": self.port, "Protocol": self.protocol})
        read.number("Port", 1, 65_535)
        read.text("Protocol", of=("HTTP", "HTTPS"))
        priorities: dict[int, str] = {}
        for rule in self.rules:
            other = priorities.setdefault(rule.priority, rule.arn)
            if other != rule.arn:
                raise BalancerError(
                    f"{rule.arn}.Priority: expected one of its own on its listener, "
                    f"got {rule.priority}, which {other} has"
                )
        for place, action in self.actions.items():
            if self.protocol == "HTTPS" and isinstance(action, Redirect):
                Properties(place, {"Protocol": action.protocol}).text(
                    "Protocol", of=("HTTPS", "#{protocol}")
                )

    @classmethod
    def from_properties(
        cls, arn: str, properties: Mapping[str, Value], rules: Sequence[Rule] = ()
    ) -> Listener:
        """Read an AWS::ElasticLoadBalancingV2::Listener."""
        read = Properties(arn, properties)
        departures = [
            f"{arn}: its attribute {key} = {value} is not played"
            for key, value in read.pairs("ListenerAttributes").items()
        ]
        if read.part("MutualAuthentication").text("Mode", "off") != "off":
            departures.append(f"{arn}: clients are not asked for certificates")
        return cls(
            arn=arn,
            port=read.number("Port", 1, 65_535),
            protocol=read.text("Protocol"),
            default_actions=properties.get("DefaultActions") or (),
            rules=tuple(rules),
            departures=tuple(departures),
        )

    @cached_property
    def actions(self) -> Mapping[str, Action]:
        """Give each rule's action by its ARN, in the order of evaluation; the default has ours."""
        ordered = sorted(self.rules, key=lambda rule: rule.priority)
        return {rule.arn: rule.action() for rule in ordered} | {
            self.arn: action_of(self.arn, "DefaultActions", self.default_actions)
        }


@dataclass(frozen=True)
class Attributes:
    """Those of a load balancer's attributes that change what becomes of a request."""

    idle_timeout_seconds: int = 60
    client_keep_alive_seconds: int = 3600
    drop_invalid_header_fields: bool = False
    forwarded_for: str = "append"
    departures: tuple[str, ...] = ()

    @classmethod
    def read(cls, attributes: Mapping[str, str]) -> Attributes:
        """Read them by their names, with AWS's defaults and ranges.

        Source: the page of API_LoadBalancerAttribute, read 2026-11-24.
        """
        read = Properties("LoadBalancerAttributes", attributes)
        played = (
            "idle_timeout.timeout_seconds",
            "client_keep_alive.seconds",
            "routing.http.drop_invalid_header_fields.enabled",
            "routing.http.xff_header_processing.mode",
        )
        idle, keep_alive, drop, forwarded = played
        return cls(
            idle_timeout_seconds=read.number(idle, 1, 4000, 60),
            client_keep_alive_seconds=read.number(keep_alive, 60, 604_800, 3600),
            drop_invalid_header_fields=read.flag(drop, default=False),
            forwarded_for=read.text(forwarded, "append", of=("append", "preserve", "remove")),
            departures=tuple(
                f"LoadBalancerAttributes: {key} = {value} is not played"
                for key, value in attributes.items()
                if key.startswith(("routing.", "connection_logs.", "access_logs."))
                # The Host header is always preserved here.
                and key not in (*played, "routing.http.preserve_host_header.enabled")
                and value not in ("false", "")
                and key.endswith((".enabled", ".mode", "_mode"))
            ),
        )


def action_of(place: str, name: str, actions: Sequence[Mapping[str, Value]]) -> Action:
    """Read a rule's actions, of which there must be exactly one that routes, and no other."""
    read = Properties(place, {name: actions})
    found = read.parts(name)
    if len(found) != 1:
        raise read.error(name, "exactly one of forward, redirect or fixed-response")
    (action,) = found
    kind = action.text("Type", of=("forward", "redirect", "fixed-response"))
    if kind == "forward":
        return _forward(action)
    return _redirect(action) if kind == "redirect" else _fixed_response(action)


def quoted(text: str) -> str:
    """Quote a text for HAProxy's configuration, in which nothing inside has a meaning then."""
    return "'" + text.replace("'", "'\\''") + "'"


def _matches(condition: Properties) -> list[str]:
    field = condition.text("Field", of=_FIELDS)
    name, matches = _FIELDS[field]
    condition.only("Field", name, "Values")
    # The older way, for these two fields only.
    if "Values" in condition and field in ("host-header", "path-pattern"):
        return matches(condition)
    values = condition.part(name)
    values.only("Values", *(["HttpHeaderName"] if field == "http-header" else []))
    return matches(values)


def _texts(values: Properties) -> tuple[str, ...]:
    texts = values.texts("Values")
    if not all(_VISIBLE.fullmatch(text) and len(text) <= 128 for text in texts):
        raise values.error("Values", "texts of at most 128 visible ASCII characters")
    return texts


def _path_matches(values: Properties) -> list[str]:
    return [f"path {_wildcards(text)}" for text in _texts(values)]


def _host_matches(values: Properties) -> list[str]:
    return [f"req.hdr(host),host_only -i {_wildcards(text)}" for text in _texts(values)]


def _header_matches(values: Properties) -> list[str]:
    name = values.text("HttpHeaderName")
    if not _TOKEN.fullmatch(name) or name.lower() == "host":
        raise values.error("HttpHeaderName", "the name of a header other than Host")
    return [f"req.fhdr({name}) -i {_wildcards(text)}" for text in _texts(values)]


def _method_matches(values: Properties) -> list[str]:
    texts = _texts(values)
    if not all(_METHOD.fullmatch(text) for text in texts):
        raise values.error("Values", "methods of A-Z, - and _")
    return [f"method -- {text}" for text in texts]


def _address_matches(values: Properties) -> list[str]:
    try:
        networks = [ipaddress.ip_network(text, strict=False) for text in _texts(values)]
    except ValueError as error:
        raise values.error("Values", "address ranges as 192.0.2.0/24") from error
    return [f"src -m ip -- {network}" for network in networks]


def _query_matches(values: Properties) -> list[str]:
    pairs = values.parts("Values")
    if not pairs:
        raise values.error("Values", "a list of mappings with a Value and perhaps a Key")
    return [_query_match(one) for one in pairs]


_FIELDS: dict[str, tuple[str, Callable[[Properties], list[str]]]] = {
    "host-header": ("HostHeaderConfig", _host_matches),
    "http-header": ("HttpHeaderConfig", _header_matches),
    "http-request-method": ("HttpRequestMethodConfig", _method_matches),
    "path-pattern": ("PathPatternConfig", _path_matches),
    "query-string": ("QueryStringConfig", _query_matches),
    "source-ip": ("SourceIpConfig", _address_matches),
}


def _wildcards(pattern: str) -> str:
    """Give how HAProxy matches a pattern with * and ?: by a comparison where that is enough."""
    plain = pattern.removesuffix("*")
    if "*" not in plain and "?" not in plain and plain:
        return f"-m {'beg' if plain != pattern else 'str'} -- {quoted(plain)}"
    return f"-m reg -- {quoted('^' + _expression(pattern, inside='.') + '$')}"


def _expression(pattern: str, *, inside: str) -> str:
    """Turn * and ? into a regular expression; a backslash before one of them takes its meaning."""
    kinds = {"*": f"{inside}*", "?": inside}
    return "".join(
        kinds.get(part) or re.escape(part[-1] if part in ("\\*", "\\?") else part)
        for part in re.findall(r"\\[*?]|.", pattern)
    )


def _query_match(pair: Properties) -> str:
    pair.only("Key", "Value")
    for name in ("Key", "Value"):
        if not _VISIBLE.fullmatch(pair.text(name, "")) or len(pair.text(name, "")) > 128:
            raise pair.error(name, "a text of at most 128 visible ASCII characters")
    # Without a key the value of any key is compared.
    key = _expression(pair.text("Key"), inside="[^&=]") if "Key" in pair else "[^&=]*"
    value = _expression(pair.text("Value"), inside="[^&]")
    return f"query -i -m reg -- {quoted(f'(^|&){key}={value}(&|$)')}"


def _forward(action: Properties) -> Forward:
    action.only("Type", "Order", "TargetGroupArn", "ForwardConfig")
    config = action.part("ForwardConfig")
    config.only("TargetGroups", "TargetGroupStickinessConfig")
    stickiness = config.part("TargetGroupStickinessConfig")
    if stickiness.flag("Enabled", default=False):
        raise stickiness.error("Enabled", "false, since stickiness is not played")
    groups = config.parts("TargetGroups")
    if not groups:
        return Forward({action.text("TargetGroupArn"): 1})
    if len(groups) > 5:
        raise config.error("TargetGroups", "at most 5")
    return Forward({one.text("TargetGroupArn"): one.number("Weight", 0, 999, 1) for one in groups})


def _fixed_response(action: Properties) -> FixedResponse:
    action.only("Type", "Order", "FixedResponseConfig")
    config = action.part("FixedResponseConfig")
    config.only("StatusCode", "ContentType", "MessageBody")
    code = config.number("StatusCode", 200, 599)
    if 300 <= code < 400:
        raise config.error("StatusCode", "a code of 2XX, 4XX or 5XX")
    body = config.text("MessageBody", "")
    if len(body) > 1024:
        raise config.error("MessageBody", "at most 1024 characters")
    return FixedResponse(code, config.text("ContentType", "text/plain", of=CONTENT_TYPES), body)


def _redirect(action: Properties) -> Redirect:
    action.only("Type", "Order", "RedirectConfig")
    config = action.part("RedirectConfig")
    config.only(*_KEYWORDS, "StatusCode")
    parts = {name: config.text(name, same) for name, same in _SAME.items()}
    if parts == _SAME:
        raise action.error("RedirectConfig", "another protocol, host, port or path, against loops")
    parts["Query"] = config.text("Query", "#{query}")
    for name, text in parts.items():
        used = set(KEYWORD.findall(text))
        if used - set(_KEYWORDS[name]) or not _VISIBLE.fullmatch(text) or len(text) > 128:
            known = ", ".join(f"#{{{keyword}}}" for keyword in _KEYWORDS[name])
            raise config.error(
                name, f"at most 128 visible ASCII characters, and of keywords {known}"
            )
    config.text("Protocol", "HTTP", of=("HTTP", "HTTPS", "#{protocol}"))
    if parts["Port"] != "#{port}":
        config.number("Port", 1, 65_535)
    if not parts["Path"].startswith("/"):
        raise config.error("Path", "a path that begins with /")
    code = config.text("StatusCode", of=("HTTP_301", "HTTP_302"))
    return Redirect(
        code=int(code.removeprefix("HTTP_")),
        protocol=parts["Protocol"],
        host=parts["Host"],
        port=parts["Port"],
        path=parts["Path"],
        query=parts["Query"],
    )
