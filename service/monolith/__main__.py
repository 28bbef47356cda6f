"""Starts the monolith: python -m monolith."""

from dock.terminate import leave_on_sigterm

leave_on_sigterm()

from dock.serve import serve  # noqa: E402 - the handler must stand before what takes long

from monolith.app import make  # noqa: E402

serve(make)
