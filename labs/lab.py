"""What a lab is made of: a page, a beginning to compare with, a check, hints, and a way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from labs.place import Place

# What a lab keeps from `start` to `check`, as JSON has it.
Remembered = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One thing that a check looked at: what was found and, where it is not right, what to do."""

    right: bool
    words: str


@dataclass(frozen=True)
class Lab:
    """One lab of the course; `page` is its file in docs/labs, `minutes` how long it takes.

    `begin` looks at what is there before anything was done, so that a check can tell what has
    changed since. `check` compares; it must find something missing as long as nothing was done, and
    may add to what is remembered what it saw and AWS soon forgets, such as stopped tasks. `reset`
    puts back what the lab changed, and says each thing that it did. All three may raise
    ops.environment.Failed, or botocore's errors. A lab that `needs_environment` is started on one,
    and belongs to that cluster; any other is begun without one, so its `begin` may not look for it.
    One that `changes_settings` lays values over cdk.local.json; `reset` takes them off by itself.
    """

    number: int
    title: str
    minutes: int
    page: str
    begin: Callable[[Place], Remembered]
    check: Callable[[Place, MutableMapping[str, Any]], Iterable[Item]]
    hints: tuple[str, ...]
    reset: Callable[[Place, Remembered], Iterable[str]]
    is_minimum: bool = False
    needs_environment: bool = True
    changes_settings: bool = False
