"""The AWS API of a rehearsal: ECS and its neighbours from the World, a few others by moto."""

from rehearsal.api.logs import LogShipper
from rehearsal.api.metadata import metadata_file
from rehearsal.api.server import PortError, Server, serve

__all__ = ["LogShipper", "PortError", "Server", "metadata_file", "serve"]
