"""Reads what an instance's user data tells the ECS agent: the lines of /etc/ecs/ecs.config.

Source, read 2026-11-24: README.md and agent/config/ of github.com/aws/amazon-ecs-agent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from templates import TemplateError

# Docker's own range, which the agent takes where it is not told another. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
DYNAMIC_PORTS = (32768, 65535)
# Source: agent/config/config.go, defaultDockerStopTimeout, and the page of
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
STOP_TIMEOUT_SECONDS = 30
# Source: agent/config/config.go, DefaultTaskCleanupWaitDuration.
CLEANUP_WAIT_SECONDS = 3 * 60 * 60
# Source: README.md; runc on Amazon Linux takes no more.
MAXIMUM_PIDS = 4 * 1024 * 1024

_ECHO = re.compile(
    r"""^[ \t]*echo[ \t]+(?P<quote>["']?)(?P<name>ECS_\w+)=(?P<value>.*?)(?P=quote)"""
    r"""[ \t]*>>?[ \t]*["']?/etc/ecs/ecs\.config""",
    re.MULTILINE,
)
_HEREDOC = re.compile(
    r"""^[^\n]*/etc/ecs/ecs\.config[^\n]*?<<-?[ \t]*["']?(?P<end>\w+)["']?[ \t]*\n"""
    r"""(?P<body>.*?)^[ \t]*(?P=end)[ \t]*$"""
    r"""|^[^\n]*<<-?[ \t]*["']?(?P<end2>\w+)["']?[^\n]*/etc/ecs/ecs\.config[^\n]*\n"""
    r"""(?P<body2>.*?)^[ \t]*(?P=end2)[ \t]*$""",
    re.MULTILINE | re.DOTALL,
)
_SETTING = re.compile(r"^[ \t]*(?P<name>ECS_\w+)=(?P<value>.*?)[ \t]*$", re.MULTILINE)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class AgentSettings:
    """What /etc/ecs/ecs.config says on an instance; None where the agent sets no limit.

    `reserved_memory_mib` is kept from tasks, `host_ports` (first and last) are given to host port
    0, a stopped task's containers are kept for `cleanup_wait_seconds`. `settings` has everything
    as it was written.
    """

    task_pids_limit: int | None = None
    stop_timeout_seconds: int = STOP_TIMEOUT_SECONDS
    cleanup_wait_seconds: int = CLEANUP_WAIT_SECONDS
    reserved_memory_mib: int = 0
    container_metadata: bool = False
    drains_on_notice: bool = False
    host_ports: tuple[int, int] = DYNAMIC_PORTS
    settings: Mapping[str, str] = field(default_factory=dict)


def agent_settings(user_data: str) -> AgentSettings:
    """Read the agent's settings from a launch template's user data, decoded.

    Understood are `echo NAME=value >> /etc/ecs/ecs.config`, as the CDK writes it, and a here
    document into that file. Raises TemplateError for a value that the agent would pass over with
    a warning, since the limit meant by it would silently not be there.
    """
    settings = _written(user_data)
    return AgentSettings(
        task_pids_limit=_number(settings, "ECS_TASK_PIDS_LIMIT", 1, MAXIMUM_PIDS),
        stop_timeout_seconds=_seconds(settings, "ECS_CONTAINER_STOP_TIMEOUT", STOP_TIMEOUT_SECONDS),
        cleanup_wait_seconds=_seconds(
            settings, "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", CLEANUP_WAIT_SECONDS
        ),
        reserved_memory_mib=_number(settings, "ECS_RESERVED_MEMORY", 0, 1 << 32) or 0,
        container_metadata=_is_on(settings, "ECS_ENABLE_CONTAINER_METADATA"),
        drains_on_notice=_is_on(settings, "ECS_ENABLE_SPOT_INSTANCE_DRAINING"),
        host_ports=_host_ports(settings.get("ECS_DYNAMIC_HOST_PORT_RANGE")),
        settings=settings,
    )


def _written(user_data: str) -> Mapping[str, str]:
    """Give each setting as it was written last."""
    found = [(match.start(), match) for match in _ECHO.finditer(user_data)]
    for document in _HEREDOC.finditer(user_data):
        body = document["body"] if document["body"] is not None else document["body2"]
        found += [(document.start() + one.start(), one) for one in _SETTING.finditer(body)]
    found.sort(key=lambda one: one[0])
    return {match["name"]: match["value"].strip("\"'") for _, match in found}


def _is_on(settings: Mapping[str, str], name: str) -> bool:
    return settings.get(name, "").lower() == "true"


def _number(settings: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    value = settings.get(name)
    if value is None:
        return None
    if not value.isdecimal() or not low <= int(value) <= high:
        raise TemplateError(f"{name}: expected an integer from {low} to {high}, got {value!r}")
    return int(value)


def _seconds(settings: Mapping[str, str], name: str, default: int) -> int:
    """Read a duration of Go's, like 1m30s, as the agent does; whole seconds, one at least."""
    text = settings.get(name)
    if text is None:
        return default
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise TemplateError(f"{name}: expected a duration like 30s or 1m30s, got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return max(1, int(hours * 3600 + minutes * 60 + seconds))


def _host_ports(text: str | None) -> tuple[int, int]:
    if text is None:
        return DYNAMIC_PORTS
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise TemplateError(
            f"ECS_DYNAMIC_HOST_PORT_RANGE: expected two ports like 20000-20255, got {text!r}"
        )
    return int(first), int(last)
