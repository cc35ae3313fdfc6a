"""What each layer of tests may take: the seconds of its tests added up, whichever worker ran them.

They are about twice what they took on two slow cores when they were set. Who passes one makes tests quicker, or moves
them to the layer where they belong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

BUDGETS_S: Mapping[str, float] = {"unit": 450, "contract": 3800, "crash": 1300, "browser": 320, "e2e": 1800}


class Spent:
    """Counted from the reports of tests; a few tests by themselves are within any budget."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def add(self, nodeid: str, seconds: float) -> None:
        layer = nodeid.removeprefix("tests/").partition("/")[0]
        if layer in BUDGETS_S:
            self._seconds[layer] += seconds

    def lines(self) -> list[str]:
        """For the summary."""
        return [
            f"{layer:9} {self._seconds[layer]:5.0f} s of {BUDGETS_S[layer]:.0f}"
            for layer in BUDGETS_S
            if self._seconds[layer]
        ]

    def over(self) -> list[str]:
        return [layer for layer, most in BUDGETS_S.items() if self._seconds[layer] > most]
