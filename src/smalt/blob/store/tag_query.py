"""The expressions over index tags: `"status" = 'done' AND @container = 'data'`.

Find Blobs by Tags takes comparisons joined by AND; the condition `x-ms-if-tags` also `<>`, OR, NOT and parentheses.
https://learn.microsoft.com/rest/api/storageservices/find-blobs-by-tags
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s*(?:"(?P<quoted>(?:[^"]|"")*)" | '(?P<value>(?:[^']|'')*)' | """
    r"(?P<name>@?[A-Za-z0-9_]+) | (?P<sign><>|<=|>=|[=<>()]))",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "<>": operator.ne,
}
CONTAINER = "@container"
_DEEPEST = 50

Test = Callable[[Mapping[str, str]], bool]


class BadQuery(Exception):
    """Says what is wrong with an expression, for people."""


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison of a tag, or of `@container`."""

    key: str
    sign: str
    value: str

    def __call__(self, tags: Mapping[str, str]) -> bool:
        """Of a tag that is not there only `<>` is true."""
        found = tags.get(self.key)
        if found is None:
            return self.sign == "<>"
        return _COMPARE[self.sign](found, self.value)


def parse_find(text: str) -> list[Term]:
    """All of which must be true. Raises BadQuery."""
    parser = _Parser(text)
    terms = [parser.term()]
    while parser.accept("AND"):
        terms.append(parser.term())
    parser.end()
    for term in terms:
        if term.sign == "<>" or (term.key == CONTAINER and term.sign != "="):
            raise BadQuery(f"'{term.sign}' cannot be used with {term.key} here")
    return terms


def parse_condition(text: str) -> Test:
    """Raises BadQuery."""
    parser = _Parser(text)
    test = parser.any_of(0)
    parser.end()
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def any_of(self, depth: int) -> Test:
        tests = [self._all_of(depth)]
        while self.accept("OR"):
            tests.append(self._all_of(depth))
        return tests[0] if len(tests) == 1 else lambda tags: any(test(tags) for test in tests)

    def term(self) -> Term:
        kind, key = self._next("a tag's name")
        if kind not in ("quoted", "name"):
            raise BadQuery(f"'{key}' stands where a tag's name is expected")
        if kind == "name" and key.startswith("@") and key.lower() != CONTAINER:
            raise BadQuery(f"{key} is not known; there is only {CONTAINER}")
        _, sign = self._next("an operator")
        if sign not in _COMPARE:
            raise BadQuery(f"'{sign}' stands where an operator is expected")
        kind, value = self._next("a value in single quotes")
        if kind != "value":
            raise BadQuery(f"'{value}' stands where a value in single quotes is expected")
        return Term(key.lower() if key.startswith("@") else key, sign, value)

    def accept(self, word: str) -> bool:
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind in ("name", "sign") and text.upper() == word:
                self._at += 1
                return True
        return False

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise BadQuery(f"'{self._tokens[self._at][1]}' stands where AND or the end is expected")

    def _all_of(self, depth: int) -> Test:
        tests = [self._one(depth)]
        while self.accept("AND"):
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda tags: all(test(tags) for test in tests)

    def _one(self, depth: int) -> Test:
        if depth > _DEEPEST:
            raise BadQuery("it is nested too deeply")
        if self.accept("NOT"):
            test = self._one(depth + 1)
            return lambda tags: not test(tags)
        if self.accept("("):
            inner = self.any_of(depth + 1)
            if not self.accept(")"):
                raise BadQuery("a ) is missing")
            return inner
        term = self.term()
        if term.key == CONTAINER:
            raise BadQuery(f"{CONTAINER} cannot be used in a condition")
        return term

    def _next(self, what: str) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise BadQuery(f"it ends where {what} is expected")
        self._at += 1
        return self._tokens[self._at - 1]


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadQuery(f"it cannot be read from '{text[at : at + 20].strip()}' on")
        kind = str(match.lastgroup)
        quote = {"quoted": '"', "value": "'"}.get(kind, "")
        found.append((kind, match[kind].replace(quote * 2, quote) if quote else match[kind]))
        at = match.end()
    return found
