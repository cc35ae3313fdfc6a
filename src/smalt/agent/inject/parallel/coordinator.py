"""Who works on which mini-batch: given out on demand, given again where a try failed, until enough went wrong.

It starts nothing and waits for nothing: nodes ask (`pull`) and report (`done`, `failed`, `back`), in one thread.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Callable, Sequence

from .ledger import Ledger, Record
from .settings import Settings
from .splitting import Batch
from .words import in_a_line

_FEWER = "run() returned fewer rows than it was given items: it is to return one for each."


@dataclass(frozen=True)
class Given:
    """A mini-batch for a worker; `tried` times it was tried before."""

    number: int
    batch: Batch
    tried: int


class Coordinator:
    """`ended` is called once: all mini-batches have come to their end, or `problem` says why no more are given out."""

    def __init__(
        self, settings: Settings, batches: Sequence[Batch], ledger: Ledger, ended: Callable[[], None] = lambda: None
    ) -> None:
        self._settings, self._batches, self._ledger, self._ended = settings, batches, ledger, ended
        self._waiting: deque[int] = deque(at for at in range(len(batches)) if at not in ledger.records)
        self._tries: dict[int, int] = {}
        self._held: dict[str, set[int]] = {}
        self._stuck: dict[str, str] = {}
        self.resumed = len(ledger.records)
        self.problem = ""
        self.heard_at = time.monotonic()
        known = ledger.records.values()
        self.failed_batches = sum(bool(one.error) for one in known)
        self.failed_items = sum(one.failed for one in known)
        self._check()

    @property
    def total(self) -> int:
        return len(self._batches)

    @property
    def finished(self) -> int:
        return len(self._ledger.records)

    @property
    def running(self) -> int:
        return sum(map(len, self._held.values()))

    @property
    def is_over(self) -> bool:
        return bool(self.problem) or self.finished == self.total

    def pull(self, node: str, most: int = 1) -> list[Given]:
        """Up to `most` for a node; empty: nothing waits now."""
        found: list[Given] = []
        held = self._held.setdefault(node, set())
        while self._waiting and len(found) < most and not self.problem:
            number = self._waiting.popleft()
            held.add(number)
            found.append(Given(number, self._batches[number], self._tries.get(number, 0)))
        return found

    def done(self, node: str, record: Record, rows: bytes = b"", header: bytes = b"") -> None:
        """What is reported of a mini-batch that the node does not have any more changes nothing."""
        if self._take(node, record.batch):
            self._add(record, rows, header)

    def failed(self, node: str, record: Record) -> bool:
        """Whether it was the last try."""
        if not self._take(node, record.batch):
            return False
        self._tries[record.batch] = tries = self._tries.get(record.batch, 0) + 1
        if tries <= self._settings.retries:
            self._waiting.append(record.batch)
            return False
        items = record.items or int(self._batches[record.batch].get("items") or 0)
        self._add(Record(record.batch, items, items, record.seconds, tries, record.error, record.worker))
        return True

    def back(self, node: str, number: int) -> None:
        """It was not begun: the next to be given, and no try of it."""
        if self._take(node, number):
            self._waiting.appendleft(number)

    def gone(self, node: str) -> None:
        """The node has hung up: what it had, others get."""
        for number in sorted(self._held.pop(node, ()), reverse=True):
            self._waiting.appendleft(number)

    def stuck(self, node: str, why: str) -> None:
        """No worker of this node becomes ready; where that holds for all, the job fails."""
        self._stuck[node] = why
        if len(self._stuck) >= self._settings.nodes:
            self.give_up(f"The entry script could not be started: {why}")

    def idle(self, now: float) -> None:
        """To be called now and then."""
        limit = self._settings.idle_s
        if limit and self.running and now - self.heard_at > limit:
            self.give_up(f"No mini-batch came to an end for {limit:g} s (progress_update_timeout).")

    def give_up(self, why: str) -> None:
        if not self.is_over:
            self.problem = why
            self._ended()

    def _take(self, node: str, number: int) -> bool:
        held = self._held.get(node)
        if held is None or number not in held:
            return False
        held.remove(number)
        return True

    def _add(self, record: Record, rows: bytes = b"", header: bytes = b"") -> None:
        if self.is_over:
            return
        try:
            self._ledger.add(record, rows, header)
        except OSError as error:
            self.give_up(f"What is done cannot be written down: {error}")
            return
        self.heard_at = time.monotonic()
        self.failed_batches += bool(record.error)
        self.failed_items += record.failed
        self._check()
        if self.finished == self.total and not self.problem:
            self._ended()

    @property
    def last_error(self) -> str:
        """Of a mini-batch that failed, in a line; empty where none has."""
        errors = (one.error for one in reversed(list(self._ledger.records.values())) if one.error)
        return in_a_line(next(errors, ""))

    def _check(self) -> None:
        problem = self._beyond()
        if problem:
            self.problem = f"{problem} {self.last_error or _FEWER}"
            self._ended()

    def _beyond(self) -> str | None:
        """Which threshold is passed."""
        settings = self._settings
        if 0 <= settings.batch_errors < self.failed_batches:
            return (
                f"{self.failed_batches} mini-batches failed, more than mini_batch_error_threshold allows"
                f" ({settings.batch_errors})."
            )
        if 0 <= settings.item_errors < self.failed_items:
            return f"{self.failed_items} items failed, more than error_threshold allows ({settings.item_errors})."
        if settings.failed_percent < 100 and self.failed_batches * 100 > settings.failed_percent * self.total:
            return (
                f"{self.failed_batches} of {self.total} mini-batches failed, more than allowed_failed_percent allows"
                f" ({settings.failed_percent:g})."
            )
        return None
