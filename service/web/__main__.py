"""Starts the service: python -m web."""

from dock.terminate import leave_on_sigterm

leave_on_sigterm()

from dock.serve import serve  # noqa: E402 - the handler must stand before what takes long

from web.service import make  # noqa: E402

serve(make)
