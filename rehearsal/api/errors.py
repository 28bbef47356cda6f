"""The errors that the API answers with: a code and a message, AWS's own where they are known."""

from __future__ import annotations


class ApiError(Exception):
    """An answer that is an error; `code` is what a client sees as the error's name."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class PassOn(Exception):  # noqa: N818 - no error: somebody else knows
    """What was asked is not ours; moto shall answer."""


def invalid(message: str) -> ApiError:
    """Make ECS's InvalidParameterException."""
    return ApiError("InvalidParameterException", message)


def refused(message: str) -> ApiError:
    """Make ECS's ClientException."""
    return ApiError("ClientException", message)


def not_played(what: str) -> ApiError:
    """Say which feature of ECS the rehearsal leaves out."""
    return ApiError("UnsupportedFeatureException", f"The rehearsal does not play {what}.")


def validation(message: str) -> ApiError:
    """Make the ValidationError of the APIs that speak the query protocol."""
    return ApiError("ValidationError", message)
