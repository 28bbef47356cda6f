"""Reads the properties of a resource so that none of them is passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from templates import TemplateError, Value


class Fields:
    """The properties of one part of a template, each to be taken once; errors name the place."""

    def __init__(self, value: Value, where: str) -> None:
        if not isinstance(value, Mapping):
            raise TemplateError(f"{where}: expected a mapping, got {value!r}")
        self.where = where
        self._left = dict(value)

    def error(self, name: str, expected: str, value: object) -> TemplateError:
        return TemplateError(f"{self.where}.{name}: expected {expected}, got {value!r}")

    def any(self, name: str) -> Value:
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.any(name)
        if value is not None and not isinstance(value, str):
            raise self.error(name, "a text", value)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.any(name)
        # CloudFormation takes the words too.
        if value in (True, "true"):
            return True
        if value in (False, "false"):
            return False
        if value is None:
            return default
        raise self.error(name, "true or false", value)

    def number(self, name: str, low: int = 0) -> int | None:
        value = self.any(name)
        if value is None:
            return None
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) < low:
            raise self.error(name, f"an integer of at least {low}", value)
        return int(value)

    def counted(self, name: str, default: int, low: int = 0) -> int:
        """Take a number that has a default."""
        value = self.number(name, low)
        return default if value is None else value

    def texts(self, name: str) -> list[str]:
        value = self.any(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, "a list of texts", value)
        return value

    def parts(self, name: str) -> list[Fields]:
        value = self.any(name) or []
        if not isinstance(value, list):
            raise self.error(name, "a list", value)
        return [Fields(item, f"{self.where}.{name}.{index}") for index, item in enumerate(value)]

    def part(self, name: str) -> Fields:
        return Fields(self.any(name) or {}, f"{self.where}.{name}")

    def left(self) -> Iterator[tuple[str, Value]]:
        """Give what nobody has taken and what says something."""
        for name, value in self._left.items():
            if value not in (None, False, "false", [], {}):
                yield name, value
