"""Docker, Podman, or no engine at all: whatever runs containers, behind the same calls."""

from rehearsal.engines.commands import Engine
from rehearsal.engines.processes import Processes
from rehearsal.engines.runtime import (
    Change,
    EngineError,
    EngineTimeoutError,
    Image,
    Line,
    Network,
    Runtime,
    State,
    Usage,
    Watch,
)

__all__ = [
    "Change",
    "Engine",
    "EngineError",
    "EngineTimeoutError",
    "Image",
    "Line",
    "Network",
    "Processes",
    "Runtime",
    "State",
    "Usage",
    "Watch",
]
