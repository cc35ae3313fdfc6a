"""What a sweep keeps between its steps (`JobStatus.decided`). It grows with the trials where the sampler learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from smalt.kinds.jobs.sweeps.samplers import Tried

BEST = ("best_child_run_id", "score", "best_metric_status", "best_data_container_id")  # a sweep's properties


@dataclass(frozen=True)
class Best:
    """The trial that is best so far. One that completed is better than any that did not."""

    number: int
    score: float
    completed: bool = True

    def is_better(self, other: Best | None, maximize: bool) -> bool:
        if other is None or self.completed != other.completed:
            return other is None or self.completed
        return self.score > other.score if maximize else self.score < other.score


@dataclass
class Progress:
    """Trials are their numbers.

    - `submitted`: how many; `open`: those that have not ended, when last looked at; `asked`: those of them that were
      told to end early; `early`: all that ever were.
    - `ended`: how many ended in which state; `cut`: those that ended and did not complete, where a policy compares.
    - `error`: what the first that failed said.
    - `compared_at`: when a policy last compared all, in seconds since the epoch.
    - `tried`: values and score of each, in order, where the sampler learns.
    - `log`: the length of the journal.
    """

    submitted: int = 0
    open: list[int] = field(default_factory=list[int])
    asked: list[int] = field(default_factory=list[int])
    ended: dict[str, int] = field(default_factory=dict[str, int])
    cut: list[int] = field(default_factory=list[int])
    early: list[int] = field(default_factory=list[int])
    compared_at: float = 0.0
    best: Best | None = None
    error: str = ""
    tried: list[tuple[Mapping[str, Any], float | None]] = field(
        default_factory=list[tuple[Mapping[str, Any], float | None]]
    )
    log: int = 0

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        read = cls(**{name: deepcopy(one) for name, one in document.items() if name != "best"})
        if best := document.get("best"):
            read.best = Best(**best)
        return read

    def document(self) -> dict[str, Any]:
        return {name: one for name, one in asdict(self).items() if one}

    @property
    def all_ended(self) -> int:
        return sum(self.ended.values())

    def before(self) -> Sequence[Tried]:
        return [Tried(values, score, number in self.open) for number, (values, score) in enumerate(self.tried)]
