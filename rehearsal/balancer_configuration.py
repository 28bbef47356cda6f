"""The configuration with which HAProxy plays an Application Load Balancer.

AWS's pages are named by their last part and were read 2026-11-24; they are all of
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rehearsal.listener_rules import (
    KEYWORD,
    Attributes,
    FixedResponse,
    Listener,
    Redirect,
    Rule,
    quoted,
)

# "Load balancer can't establish a TCP connection": load-balancer-troubleshooting.html, HTTP 504.
CONNECT_SECONDS = 10
# The key in the map of slots by which every answer ends its client's connection.
LEAVING = "leaving"
NOWHERE = "\nbackend nowhere from all\n"
# Retries and redispatch are off: AWS sends a request to one target, once ("target:port_list can
# contain one item", load-balancer-access-logs.html). Connections to targets are kept and used for
# any client's requests, and those of either side end when they were idle for so long
# (edit-load-balancer-attributes.html).
_DEFAULTS = """
defaults all
    mode http
    log global
    option dontlog-normal
    log-format "E %b %s %ST"
    retries 0
    no option redispatch
    http-reuse always
    timeout connect {connect}s
    timeout client {idle}s
    timeout server {idle}s
    timeout tunnel {idle}s
    timeout http-request {idle}s
    timeout http-keep-alive {idle}s
    http-error status 502 content-type text/html string '{bad_gateway}' hdr Server awselb/2.0
    http-error status 503 content-type text/html string '{unavailable}' hdr Server awselb/2.0
    http-error status 504 content-type text/html string '{timed_out}' hdr Server awselb/2.0
"""
# Of a target that refuses or cannot be reached HAProxy says 503, AWS 502 and 504 (load-balancer-
# troubleshooting.html); a 503 of the target's own stays one. Only where HAProxy had to answer by
# itself is a line in the log of use.
_BACKEND = """
backend {name} from all
    balance {balance}
    http-request set-var(txn.began) date(0,ms)
    http-response set-var(txn.answered) bool(true)
    http-response set-log-level silent
    acl theirs var(txn.answered) -m found
    acl chosen srv_name -m found
    acl waited date(0,ms),sub(txn.began) ge {waited}
    acl failed status 503
    http-after-response set-status 504 reason 'Gateway Time-out' if failed !theirs chosen waited
    http-after-response set-status 502 reason 'Bad Gateway' if failed !theirs chosen
    http-after-response set-status 502 reason 'Bad Gateway' if {{ status 502 }} !theirs
"""
_BALANCE = {
    "round_robin": "roundrobin",
    "least_outstanding_requests": "leastconn",
    "weighted_random": "random(1)",
}
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
# To one header the address is appended, as AWS does; to several it is added as one more, which
# RFC 9110, 5.3, calls the same list (x-forwarded-headers.html).
_FORWARDED_FOR = {
    "append": (
        "http-request set-var-fmt(txn.forwarded) '%[req.fhdr(x-forwarded-for)], %[src]' "
        "if { req.fhdr_cnt(x-forwarded-for) eq 1 }",
        "http-request set-header X-Forwarded-For %[var(txn.forwarded)] "
        "if { var(txn.forwarded) -m found }",
        "http-request add-header X-Forwarded-For %[src] if !{ var(txn.forwarded) -m found }",
    ),
    "preserve": (),
    "remove": ("http-request del-header X-Forwarded-For",),
}
# A root of its own where there is none, else another self before it
# (load-balancer-request-tracing.html).
_TRACE = (
    "http-request set-var-fmt(txn.unique) %[uuid]",
    "http-request set-var-fmt(txn.trace) "
    "1-%[date,hex,bytes(8,8),lower]-%[var(txn.unique),regsub(-,,g),bytes(0,24)]",
    "http-request set-header X-Amzn-Trace-Id "
    "Self=%[var(txn.trace)];%[req.fhdr(x-amzn-trace-id),regsub(Self=[^;]*;?,)] "
    "if { req.fhdr(x-amzn-trace-id) -m sub Root= }",
    "http-request set-header X-Amzn-Trace-Id Root=%[var(txn.trace)] "
    "if !{ req.fhdr(x-amzn-trace-id) -m sub Root= }",
)


def defaults(attributes: Attributes) -> str:
    """Write what holds for every listener and every target group."""
    return _DEFAULTS.format(
        connect=CONNECT_SECONDS,
        idle=attributes.idle_timeout_seconds,
        bad_gateway=_PAGE.format("502 Bad Gateway"),
        # Without a code, since it is also the page of what is a 502 or 504 only afterwards.
        unavailable=_PAGE.format("No target answered"),
        timed_out=_PAGE.format("504 Gateway Time-out"),
    )


def backend(name: str, *, algorithm: str, servers: Iterable[str]) -> str:
    """Write the part for a target group; `servers` each as a name, an address and a weight."""
    written = _BACKEND.format(name=name, balance=_BALANCE[algorithm], waited=CONNECT_SECONDS * 1000)
    return written + "".join(f"    server {one}\n" for one in servers)


def frontend(
    listener: Listener,
    *,
    name: str,
    descriptor: int,
    attributes: Attributes,
    slots: Path,
    keys: Mapping[str, str],
    file_of: Callable[[str], Path],
) -> str:
    """Write the part for a listener, on a socket that is open already.

    A rule that matches is noted by its key (`keys`, by ARN). One that forwards then draws a slot
    from the map of `slots`, which the runtime socket can change: there the key leads to the
    number of slots, and key and slot to a backend. `file_of` gives a file with a body.
    """
    lines = [
        f"\nfrontend {name} from all",
        f"bind fd@{descriptor}",
        "tcp-request connection set-var(sess.began) date(0,ms)",
        # One more request is answered after that time, and its answer closes
        # (edit-load-balancer-attributes.html, HTTP client keepalive duration).
        "http-after-response set-header Connection close if "
        f"{{ date(0,ms),sub(sess.began) ge {attributes.client_keep_alive_seconds * 1000} }}",
        # Here too, since a client may be about to ask once more.
        "http-after-response set-header Connection close if "
        f"{{ str({LEAVING}),map({slots}) -m found }}",
        # load-balancer-troubleshooting.html, HTTP 405.
        "http-request return status 405 hdr Server awselb/2.0 if METH_TRACE",
    ]
    if attributes.drop_invalid_header_fields:
        # Those that [-A-Za-z0-9]+ does not describe (application-load-balancers.html).
        lines.append("http-request del-header '[^-A-Za-z0-9]' -m reg")
    for rule in sorted(listener.rules, key=lambda rule: rule.priority):
        lines += _matching(rule, keys[rule.arn])
    lines.append(
        f"http-request set-var(txn.rule) str({keys[listener.arn]}) if !{{ var(txn.rule) -m found }}"
    )
    for arn, action in listener.actions.items():
        condition = f"if {{ var(txn.rule) -m str {keys[arn]} }}"
        if isinstance(action, FixedResponse):
            lines.append(_answering(action, file_of, condition))
        elif isinstance(action, Redirect):
            lines += _redirecting(action, listener, condition)
    lines += [
        f"http-request set-var(txn.slots) var(txn.rule),map({slots})",
        "http-request set-var(txn.slot) rand,mod(txn.slots) if { var(txn.slots) -m found }",
        "http-request set-var-fmt(txn.slot) %[var(txn.rule)].%[var(txn.slot)]",
        f"http-request set-var(txn.group) var(txn.slot),map({slots})",
        *_FORWARDED_FOR[attributes.forwarded_for],
        # That these replace what a client sends is not on AWS's pages: unverified.
        f"http-request set-header X-Forwarded-Proto {listener.protocol.lower()}",
        f"http-request set-header X-Forwarded-Port {listener.port}",
        *_TRACE,
        "use_backend %[var(txn.group)] if { var(txn.group) -m found }",
        "default_backend nowhere\n",
    ]
    return "\n    ".join(lines)


def _matching(rule: Rule, key: str) -> list[str]:
    lines, names = [], []
    for index, alternatives in enumerate(rule.matches()):
        names.append(f"{key}c{index}")
        lines += [f"acl {names[-1]} {one}" for one in alternatives]
    return [
        *lines,
        f"http-request set-var(txn.rule) str({key}) "
        f"if !{{ var(txn.rule) -m found }} {' '.join(names)}",
    ]


def _answering(action: FixedResponse, file_of: Callable[[str], Path], condition: str) -> str:
    content = (
        f"content-type {action.content_type} file {quoted(str(file_of(action.body)))} "
        if action.body
        else ""
    )
    return f"http-request return status {action.code} {content}hdr Server awselb/2.0 {condition}"


def _redirecting(action: Redirect, listener: Listener, condition: str) -> list[str]:
    # Keywords of the address stand for what a client of AWS's balancer would have used, so also
    # for the port as it is declared.
    address = f"{action.protocol.lower()}://{action.host}:{action.port}{action.path}"
    lines = [
        f"http-request return status {action.code} hdr Server awselb/2.0 hdr Location "
        f"{quoted(_filled(address, listener) + '%[var(txn.query)]')} {condition}"
    ]
    if action.query:
        # No question mark where there was none.
        present = " { query -m len gt 0 }" if action.query == "#{query}" else ""
        query = quoted(f"?{_filled(action.query, listener)}")
        lines.insert(0, f"http-request set-var-fmt(txn.query) {query} {condition}{present}")
    return lines


def _filled(text: str, listener: Listener) -> str:
    """Give a format of HAProxy's for a text with keywords of AWS's."""
    keywords = {
        "protocol": listener.protocol.lower(),
        "host": "%[req.hdr(host),host_only]",
        "port": str(listener.port),
        "path": "%[path,bytes(1)]",
        "query": "%[query]",
    }
    # Every other part is a keyword.
    return "".join(
        keywords[part] if index % 2 else part.replace("%", "%%")
        for index, part in enumerate(KEYWORD.split(text))
    )
