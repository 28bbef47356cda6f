"""Pages of a list, as AWS gives them: a size within bounds, and a token for the next one.

A token holds the key of the last item that was given. What comes and goes between two pages moves
no other item from one page to the next, so that a paginator sees each item that stays exactly once.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from rehearsal.api.errors import ApiError

T = TypeVar("T")
Key = list[str | int]


def page(
    items: Sequence[T],
    key: Callable[[T], Key],
    *,
    size: int,
    token: str | None = None,
    reverse: bool = False,
    wrong_token: ApiError | None = None,
) -> tuple[list[T], str | None]:
    """Give the items after `token` in the order of their keys, and the token of the next page."""
    ordered = sorted(items, key=key, reverse=reverse)
    if token:
        last = _read(token, wrong_token or ApiError("InvalidParameterException", "Invalid token."))
        try:
            left = [one for one in ordered if (key(one) < last if reverse else key(one) > last)]
        except TypeError:
            raise wrong_token or ApiError("InvalidParameterException", "Invalid token.") from None
    else:
        left = ordered
    found, more = left[:size], left[size:]
    return found, _write(key(found[-1])) if more and found else None


def size_of(asked: int | None, *, default: int, low: int = 1, high: int) -> int:
    """Give the page size that was asked for; raise ApiError where it is out of bounds."""
    if asked is None:
        return default
    if not low <= asked <= high:
        # No page of AWS's has the words of this error.
        raise ApiError("InvalidParameterException", f"maxResults must be between {low} and {high}.")
    return asked


def _write(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read(token: str, wrong: ApiError) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, RecursionError):
        raise wrong from None
    if not isinstance(key, list) or not all(isinstance(one, str | int) for one in key):
        raise wrong
    return key
