"""Early termination: which of the trials that run are to end, by what all have logged of the primary metric so far.

An interval is one logging of the primary metric. A policy is applied to a trial at the newest multiple of its
`evaluation_interval` that the trial has reached, from `delay_evaluation` on. It is compared with those that have
reached that interval too, and with those that completed before it, each by what it had logged until then.

https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#early-termination
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median


@dataclass(frozen=True)
class Logged:
    """What one trial has logged of the primary metric, in order. It runs, has completed, or was cut off (neither)."""

    values: Sequence[float]
    runs: bool = False
    completed: bool = False


@dataclass(frozen=True)
class Bandit:
    """Ends who is further from the best than a slack, a ratio or an amount, by the best that each has logged."""

    factor: float = 0.0
    amount: float = 0.0

    def is_worse(self, one: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        """All is to be maximized."""
        best = max(max(values) for values in (one, *others))
        if self.amount:
            return max(one) < best - self.amount
        return max(one) < (best / (1 + self.factor) if best > 0 else best * (1 + self.factor))


@dataclass(frozen=True)
class MedianStopping:
    """Ends who has never been as good as the median of all trials' averages."""

    def is_worse(self, one: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        return max(one) < median(fmean(values) for values in (one, *others))


@dataclass(frozen=True)
class Truncation:
    """Ends the worst `percentage` of all, by the best that each has logged. Who is as good as one that stays, stays."""

    percentage: int
    ended_ones: bool = True  # those that completed are compared with, too

    def is_worse(self, one: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        ranked = sorted(max(values) for values in (one, *others))
        return max(one) < ranked[len(ranked) * self.percentage // 100]


@dataclass(frozen=True)
class EarlyTermination:
    policy: Bandit | MedianStopping | Truncation
    maximize: bool
    interval: int = 1
    delay: int = 0

    def to_end(self, trials: Mapping[int, Logged]) -> list[int]:
        """The numbers of the trials that run and are to end."""
        turned = {number: self._turned(one) for number, one in trials.items()}
        return sorted(number for number, one in turned.items() if one.runs and self._is_worse(number, turned))

    def applies_at(self, count: int) -> int:
        """The newest interval at which the policy applies to a trial that has logged `count` times; 0: none yet."""
        newest = count - count % self.interval
        return newest if newest >= self.delay else 0

    def _turned(self, one: Logged) -> Logged:
        """With values to be maximized."""
        return one if self.maximize else replace(one, values=[-value for value in one.values])

    def _is_worse(self, number: int, trials: Mapping[int, Logged]) -> bool:
        at = self.applies_at(len(trials[number].values))
        if not at:
            return False
        with_ended = not isinstance(self.policy, Truncation) or self.policy.ended_ones
        others = [
            one.values[:at]
            for other, one in trials.items()
            if other != number and one.values and self._is_peer(one, at) and (with_ended or not one.completed)
        ]
        return bool(others) and self.policy.is_worse(trials[number].values[:at], others)

    @staticmethod
    def _is_peer(one: Logged, at: int) -> bool:
        return len(one.values) >= at or one.completed
