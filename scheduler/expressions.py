"""The cluster query language, in which a memberOf constraint says which instances it takes.

Source, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache

from scheduler.model import Instance

Matches = Callable[[Instance], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>==|!=|>=|<=|=~|!~|&&|\|\||[()\[\],<>!])"""
    r"""|(?P<quote>["'])(?P<quoted>.*?)(?P=quote)|(?P<word>[^\s()\[\],=!<>~&|"']+))"""
)
# The same operators in words.
_WORDS = {
    "equals": "==", "not_equals": "!=", "greater_than": ">", "greater_than_equal": ">=",
    "less_than": "<", "less_than_equal": "<=", "not_exists": "!exists", "not_in": "!in",
    "matches": "=~", "not_matches": "!~", "and": "&&", "or": "||", "not": "!",
}  # fmt: skip
_COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "==": lambda found, asked: found == asked,
    "!=": lambda found, asked: found != asked,
    ">": lambda found, asked: found > asked,  # type: ignore[operator]
    ">=": lambda found, asked: found >= asked,  # type: ignore[operator]
    "<": lambda found, asked: found < asked,  # type: ignore[operator]
    "<=": lambda found, asked: found <= asked,  # type: ignore[operator]
}
_SUBJECTS = ("agentConnected", "agentVersion", "ec2InstanceId", "registeredAt", "runningTasksCount")


class ExpressionError(ValueError):
    """Says which expression cannot be read, at which word, and what was expected there."""


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Matches:
    """Turn an expression into a test of instances; raise ExpressionError where it cannot be read.

    Regular expressions are Python's; ECS has Java's, which differ in corners only.
    """
    parser = _Parser(text)
    matches = parser.either()
    parser.end()
    return matches


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def either(self) -> Matches:
        sides = [self._both()]
        while self._take("||"):
            sides.append(self._both())
        return sides[0] if len(sides) == 1 else lambda one: any(side(one) for side in sides)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._error("its end")

    def _both(self) -> Matches:
        sides = [self._term()]
        while self._take("&&"):
            sides.append(self._term())
        return sides[0] if len(sides) == 1 else lambda one: all(side(one) for side in sides)

    def _term(self) -> Matches:
        if self._take("!"):
            inner = self._term()
            return lambda one: not inner(one)
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise self._error("a closing parenthesis")
            return inner
        subject = self._word("a subject like attribute:ecs.instance-type")
        if not subject.startswith(("attribute:", "task:")) and subject not in _SUBJECTS:
            self._at -= 1
            raise self._error(f"attribute:NAME, task:group, or one of {', '.join(_SUBJECTS)}")
        return self._comparison(subject)

    def _comparison(self, subject: str) -> Matches:
        operator = self._next("an operator like ==")
        if operator == "!":
            operator += self._next("exists or in")
        if operator in {"exists", "!exists"}:
            exists = operator == "exists"
            return lambda one: bool(_values(one, subject)) is exists
        if operator in {"in", "!in"}:
            wanted = self._list()
            return _any(subject, lambda found: str(found) in wanted, inverted=operator == "!in")
        if operator in {"=~", "!~"}:
            word = self._word("a regular expression")
            try:
                pattern = re.compile(word)
            except re.error as error:
                self._at -= 1
                raise self._error(f"a regular expression ({error})") from error
            return _any(
                subject,
                lambda found: pattern.fullmatch(str(found)) is not None,
                inverted=operator == "!~",
            )
        if operator in _COMPARISONS:
            compare, asked = _COMPARISONS[operator], self._word("a value")
            if subject == "registeredAt":
                moment = self._moment(asked)
                return _any(subject, lambda found: compare(found, moment))
            if operator == "!=":
                return _any(subject, lambda found: str(found) == asked, inverted=True)
            if operator == "==":
                return _any(subject, lambda found: str(found) == asked)
            return _any(subject, lambda found: compare(_order(found), _order(asked)))
        self._at -= 1
        raise self._error("an operator like ==, in, =~ or exists")

    def _moment(self, text: str) -> float:
        """Read a day or a time, in UTC where it does not say otherwise, as seconds since 1970."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            self._at -= 1
            raise self._error("a time like 2018-02-13 or 2018-02-13T12:00:00Z") from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def _list(self) -> frozenset[str]:
        if not self._take("["):
            raise self._error("a list like [a, b]")
        found = [self._word("a value")]
        while self._take(","):
            found.append(self._word("a value"))
        if not self._take("]"):
            raise self._error("a closing bracket")
        return frozenset(found)

    def _take(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == (token, False):
            self._at += 1
            return True
        return False

    def _next(self, expected: str) -> str:
        if self._at >= len(self._tokens):
            raise self._error(expected)
        self._at += 1
        return self._tokens[self._at - 1][0]

    def _word(self, expected: str) -> str:
        token = self._next(expected)
        if not self._tokens[self._at - 1][1]:
            self._at -= 1
            raise self._error(expected)
        return token

    def _error(self, expected: str) -> ExpressionError:
        got = repr(self._tokens[self._at][0]) if self._at < len(self._tokens) else "the end"
        return ExpressionError(f"{self._text!r}: expected {expected}, got {got}")


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Give each token, and whether it is a word or value and no operator."""
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"{text!r}: expected a word or an operator, got {text[at:]!r}")
        at = match.end()
        if match["quoted"] is not None:
            yield match["quoted"], True
        elif match["word"] is None:
            yield match["operator"], False
        elif match["word"] in _WORDS:
            yield _WORDS[match["word"]], False
        else:
            yield match["word"], True


def _any(subject: str, holds: Callable[[object], bool], *, inverted: bool = False) -> Matches:
    return lambda one: any(holds(found) for found in _values(one, subject)) is not inverted


def _values(instance: Instance, subject: str) -> list[object]:
    if subject.startswith("attribute:"):
        value = instance.attributes.get(subject.removeprefix("attribute:"))
        return [] if value is None else [value]
    if subject == "task:group":
        return [group for group, number in instance.of_group.items() if number]
    known: dict[str, object] = {
        "agentConnected": "true" if instance.agent else "false",
        "agentVersion": instance.attributes.get("ecs.agent-version", ""),
        "ec2InstanceId": instance.id,
        "registeredAt": instance.in_service_at,
        "runningTasksCount": sum(task.status == "RUNNING" for task in instance.tasks.values()),
    }
    return [known[subject]]


def _order(value: object) -> tuple[tuple[int, float, str], ...]:
    """Make versions and numbers comparable part by part: 1.9 before 1.14."""
    parts = re.split(r"[.\-:T]", str(value))
    return tuple((0, float(part), "") if part.isdecimal() else (1, 0.0, part) for part in parts)
