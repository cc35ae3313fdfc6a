"""What is known of a schedule's times: its row's `status`, typed. Nobody else knows the keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from smalt.kinds.jobs.schedules.definition import Occasion
from smalt.store.document import Document


@dataclass(frozen=True)
class ScheduleStatus:
    """Changed with `dataclasses.replace`.

    - `next`: the next time that nothing was submitted for, in seconds since the epoch; None: there is none.
    - `last`: what became of the last one: `time`, and `jobName` or `error`. `rest`: what others keep there.
    """

    next: int | None = None
    last: Document = field(default_factory=dict[str, Any])
    rest: Document = field(default_factory=dict[str, Any])

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        rest = {name: value for name, value in document.items() if name not in ("next", "last")}
        return cls(document.get("next"), document.get("last") or {}, rest)

    def document(self) -> Document:
        return {**self.rest, "next": self.next, "last": self.last}


def submitted(occasion: Occasion) -> Document:
    return {"time": occasion.written, "jobName": occasion.name}


def refused(occasion: Occasion, error: Mapping[str, Any]) -> Document:
    return {"time": occasion.written, "error": dict(error)}
