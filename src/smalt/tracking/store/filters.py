"""Filters and orders of a search of runs, as far as they are plain: each word known, each value of its type.

    metrics.loss < 0.1 AND params."batch size" = '32' AND tags.team ILIKE '%vision%' AND attributes.status != 'FAILED'
    metrics.loss DESC

MLflow reads them with a parser of SQL, which takes more than it says and refuses some of what looks right. What is not
read here (None) is MLflow's to read or to refuse; what is read here means the same there
(`tests/unit/tracking/test_tracking_filters.py` has both read the same texts).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

METRIC, PARAM, TAG, ATTRIBUTE, DATASET = "metric", "param", "tag", "attribute", "dataset"
_ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), METRIC),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), PARAM),
    **dict.fromkeys(("tag", "tags"), TAG),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), ATTRIBUTE),
    **dict.fromkeys(("dataset", "datasets"), DATASET),
}
_TEXT_ATTRIBUTES = frozenset({"run_id", "run_name", "status", "user_id", "artifact_uri"})
_NUMBER_ATTRIBUTES = frozenset({"start_time", "end_time"})
_ALIASES = {"created": "start_time", "Created": "start_time"} | dict.fromkeys(
    ("run name", "Run name", "Run Name"), "run_name"
)
_OF_DATASETS = frozenset({"name", "digest", "context"})
_ORDERED = frozenset({"=", "!=", "<", "<=", ">", ">="})
_LIKENESS = frozenset({"=", "!=", "LIKE", "ILIKE"})
_LISTED = frozenset({"IN", "NOT IN"})
_KEYWORDS = re.compile(r"\b(case|in|values|using|from|as)\b", re.IGNORECASE)  # no names, unless quoted

_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_QUOTABLE = r"[^\"'`\\\x00-\x1f\x7f]"  # what stands in quotes and needs no other sign for it
_KEY = rf"(?P<key>{_WORD}(?:\.{_WORD})*|\"{_QUOTABLE}+\"|`{_QUOTABLE}+`)"
_COLUMN = rf"(?:(?P<entity>[a-z]+)\.)?{_KEY}"
_TEXT = rf"'{_QUOTABLE}*'"
_NUMBER = r"-?\d{1,18}(?:\.\d{1,18})?(?:E-?\d{1,2})?"
_CLAUSE = re.compile(
    rf"{_COLUMN}"
    rf"(?:[ ]*(?P<sign>!=|<=|>=|=|<|>)[ ]*(?:(?P<number>{_NUMBER})(?![\w.])|(?P<text>{_TEXT}))"
    rf"|[ ]+(?P<likeness>I?LIKE)[ ]+(?P<pattern>{_TEXT})"
    rf"|[ ]+(?P<listed>(?:NOT[ ]+)?IN)[ ]*\([ ]*(?P<list>{_TEXT}(?:[ ]*,[ ]*{_TEXT})*)[ ]*\)"
    r"|[ ]+(?P<absent>IS[ ]+(?:NOT )?NULL)(?!\w))",
    re.IGNORECASE | re.ASCII,
)
_AND = re.compile(r"[ ]+AND[ ]+", re.IGNORECASE)
_ORDER = re.compile(rf"{_COLUMN}(?:[ ]+(?P<way>ASC|DESC))?", re.IGNORECASE | re.ASCII)
_ITEM = re.compile(_TEXT)


@dataclass(frozen=True)
class Clause:
    """`kind` of `key` compared by `sign` (in capitals) with `value`: a number, a text, several texts, None for IS …."""

    kind: str
    key: str
    sign: str
    value: float | str | tuple[str, ...] | None


@dataclass(frozen=True)
class Order:
    kind: str
    key: str
    ascending: bool


@lru_cache(256)
def read_filter(text: str) -> Sequence[Clause] | None:
    """All that has to hold; None for what is not plain."""
    clauses: list[Clause] = []
    at = 0
    while at < len(text) or (not clauses and text):
        found = _CLAUSE.match(text, at)
        clause = _clause(found) if found else None
        if found is None or clause is None:
            return None
        clauses.append(clause)
        at = found.end()
        if at < len(text):
            joined = _AND.match(text, at)
            if joined is None or joined.end() == len(text):
                return None
            at = joined.end()
    return tuple(clauses)


@lru_cache(256)
def read_order(text: str) -> Order | None:
    """One column of an order; None for what is not plain."""
    found = _ORDER.fullmatch(text)
    column = _column(found) if found else None
    if found is None or column is None or column[0] == DATASET:
        return None
    if column[0] == ATTRIBUTE and " " in found["key"]:  # an alias that only filters have
        return None
    return Order(*column, ascending=(found["way"] or "asc").lower() == "asc")


def _column(found: re.Match[str]) -> tuple[str, str] | None:
    key = found["key"]
    quoted = key[0] in '"`'
    kind = _ENTITIES.get(found["entity"]) if found["entity"] else ATTRIBUTE
    if kind is None or (quoted and not found["entity"]) or (not quoted and _KEYWORDS.search(key)):
        return None
    if quoted:
        key = key[1:-1]
        if key != key.strip():
            return None
    if kind == ATTRIBUTE:
        key = _ALIASES.get(key, key)
        return (kind, key) if key in _TEXT_ATTRIBUTES | _NUMBER_ATTRIBUTES else None
    if key in _ALIASES or (kind == DATASET and key not in _OF_DATASETS):  # for MLflow such a metric has the other name
        return None
    return kind, key


def _clause(found: re.Match[str]) -> Clause | None:
    column = _column(found)
    if column is None:
        return None
    kind, key = column
    if found["absent"]:
        sign = " ".join(found["absent"].upper().split())
        return Clause(kind, key, sign, None) if kind in (PARAM, TAG) else None
    if found["listed"]:
        sign = " ".join(found["listed"].upper().split())
        takes = kind == DATASET or (kind, key) == (ATTRIBUTE, "run_id")
        values = tuple(one[1:-1] for one in _ITEM.findall(found["list"]))
        return Clause(kind, key, sign, values) if takes and all(values) else None
    sign = (found["sign"] or found["likeness"]).upper()
    if kind == METRIC or (key in _NUMBER_ATTRIBUTES and kind == ATTRIBUTE):
        return _of_numbers(kind, key, sign, found["number"])
    text = found["text"] or found["pattern"]
    return Clause(kind, key, sign, text[1:-1]) if text is not None and sign in _LIKENESS else None


def _of_numbers(kind: str, key: str, sign: str, number: str | None) -> Clause | None:
    """Times are whole numbers: PostgreSQL would round another one."""
    if number is None or sign not in _ORDERED:
        return None
    if kind == METRIC:
        return Clause(kind, key, sign, float(number))
    return Clause(kind, key, sign, int(number)) if number.removeprefix("-").isdecimal() else None
