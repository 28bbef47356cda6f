"""Reads resolved CloudFormation properties; an error names place, expectation and value."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from templates import Unresolved, Value, is_true


class BalancerError(RuntimeError):
    """Says what of a load balancer cannot be played, where it stands, and what was expected."""


class Properties:
    """One mapping and where it stands; whoever reads it says what each of its names must hold.

    Numbers and flags may be texts, since CloudFormation takes both. `left` gives what nobody asked
    for. Whatever is not as expected is raised as the error given, for the parts inside too.
    """

    def __init__(
        self, place: str, values: Value, *, raises: type[Exception] = BalancerError
    ) -> None:
        if not isinstance(values, Mapping):
            raise raises(f"{place}: expected a mapping, got {values!r}")
        self.place = place
        self._values = values
        self._raises = raises
        self._asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def error(self, name: str, expected: str) -> Exception:
        """Give the error that one of the values is not as expected."""
        return self._raises(
            f"{self.place}.{name}: expected {expected}, got {self._values.get(name)!r}"
        )

    def any(self, name: str) -> Value:
        """Give a value as it is; None where there is none."""
        self._asked.add(name)
        return self._values.get(name)

    def text(
        self, name: str, default: str | None = None, *, of: Collection[str] | None = None
    ) -> str:
        """Give a text, or the default where there is none; `of` names all that it may be."""
        value = self.any(name)
        if value is None:
            value = default
        if not isinstance(value, str) or isinstance(value, Unresolved):
            raise self.error(name, "a text")
        if of is not None and value not in of:
            raise self.error(name, _one_of(of))
        return value

    def number(
        self, name: str, low: int, high: int | None = None, default: int | None = None
    ) -> int:
        """Give an integer of at least `low`, at most `high`, or the default where there is none."""
        value = self.any(name)
        if value is None and default is not None:
            return default
        written = str(value)
        is_number = not isinstance(value, bool) and written.isdecimal()
        if not is_number or int(written) < low or (high is not None and int(written) > high):
            within = f"of at least {low}" if high is None else f"from {low} to {high}"
            raise self.error(name, f"an integer {within}")
        return int(written)

    def number_or_none(self, name: str, low: int = 0) -> int | None:
        """Give an integer of at least `low`; None where there is none."""
        self._asked.add(name)
        return self.number(name, low) if name in self else None

    def flag(self, name: str, *, default: bool) -> bool:
        """Give true or false, or the default where there is neither."""
        value = self.any(name)
        if value is None:
            return default
        if value not in (True, False, "true", "false"):
            raise self.error(name, "true or false")
        return is_true(value)

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Give a list of texts; the default, or where there is none an error, for an empty one."""
        value = self.any(name)
        if default is not None and value in (None, [], ()):
            return default
        if not isinstance(value, list | tuple) or not value:
            raise self.error(name, "a list of texts")
        if not all(isinstance(one, str) and not isinstance(one, Unresolved) for one in value):
            raise self.error(name, "a list of texts")
        return tuple(value)

    def part(self, name: str) -> Properties:
        """Give a mapping inside; an empty one where there is none."""
        value = self.any(name)
        return Properties(
            f"{self.place}.{name}", {} if value is None else value, raises=self._raises
        )

    def parts(self, name: str) -> tuple[Properties, ...]:
        """Give a list of mappings; an empty one where there is none."""
        value = self.any(name)
        if not isinstance(value, list | tuple | None):
            raise self.error(name, "a list of mappings")
        return tuple(
            Properties(f"{self.place}.{name}[{index}]", one, raises=self._raises)
            for index, one in enumerate(value or ())
        )

    def pairs(self, name: str) -> dict[str, str]:
        """Give attributes as CloudFormation lists them: mappings with a Key and a Value."""
        return {one.text("Key"): one.text("Value", "") for one in self.parts(name)}

    def only(self, *names: str) -> None:
        """Refuse every other name: what is not known here would silently not be played."""
        for name in self._values:
            if name not in names and self._values[name] is not None:
                raise self.error(name, f"none but {', '.join(names)}")

    def refuse(self, name: str, why: str) -> None:
        """Refuse whatever stands under a name, but for false and nothing at all."""
        value = self.any(name)
        if value not in (None, False, "false", [], {}):
            raise self._raises(f"{self.place}.{name}: refused, got {value!r}: {why}")

    def left(self) -> dict[str, Value]:
        """Give by its name each value that nobody has asked for."""
        return {name: one for name, one in self._values.items() if name not in self._asked}


def _one_of(names: Collection[str]) -> str:
    *first, last = sorted(names)
    return f"{', '.join(first)} or {last}" if first else last
