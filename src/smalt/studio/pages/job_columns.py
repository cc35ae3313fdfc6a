"""Columns of lists of jobs, of the reader's choice: what is known of every job, and any metric, parameter or tag.

In the URL they are words with commas: `columns=duration,metrics.auc,params.lr,tags.team`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smalt.studio.metrics import Values
from smalt.studio.rendering import moment

KNOWN = {"type": "Type", "experiment": "Experiment", "created": "Submitted", "by": "By", "duration": "Took",
         "compute": "Compute", "tags": "Tags", "description": "Description"}  # fmt: skip
USUAL = ("type", "experiment", "created", "by")
ORDERED = ("created", "duration")  # of KNOWN
LOGGED = ("metrics", "params", "tags")
MOST = 30
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_QUOTABLE = re.compile(r"[^\"'`\\\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Column:
    """`kind` is one of LOGGED with the metric's, parameter's or tag's name as `key`, or '' with one of KNOWN."""

    kind: str
    key: str

    @property
    def spelled(self) -> str:
        return f"{self.kind}.{self.key}" if self.kind else self.key

    @property
    def label(self) -> str:
        return self.key if self.kind else KNOWN[self.key]

    @property
    def order(self) -> str:
        """How a list is ordered by it; '': it cannot be."""
        if not self.kind:
            return self.key if self.key in ORDERED else ""
        if _PLAIN.fullmatch(self.key):
            return self.spelled
        return f'{self.kind}."{self.key}"' if _QUOTABLE.fullmatch(self.key) else ""

    def of(self, job: Mapping[str, Any], logged: Values | None) -> Any:
        """Of a job as lists show it: a text, a number, or None."""
        if self.kind == "metrics":
            return logged.metrics.get(self.key) if logged else None
        if self.kind == "params":
            return logged.params.get(self.key) if logged else None
        if self.kind == "tags":
            return job["tags"].get(self.key)
        if self.key == "duration":
            return (logged.ended or moment()) - logged.started if logged and logged.started else None
        if self.key == "tags":
            return ", ".join(f"{name}={value}" if value else name for name, value in sorted(job["tags"].items()))
        return job[self.key]


def read(text: str) -> tuple[Column, ...]:
    """What is no column is left out; without any, the usual ones."""
    found: list[Column] = []
    for word in (text or ",".join(USUAL)).split(","):
        kind, dot, key = word.strip().partition(".")
        column = Column(kind, key) if dot and key and kind in LOGGED else Column("", kind)
        if (column.kind or column.key in KNOWN) and column not in found:
            found.append(column)
    return tuple(found[:MOST]) or read("")


def logged_keys(columns: Sequence[Column]) -> list[str]:
    return [one.key for one in columns if one.kind in ("metrics", "params")]


def needs_values(columns: Sequence[Column]) -> bool:
    return bool(logged_keys(columns)) or Column("", "duration") in columns
