"""The bounds between which values are counted, so that any quantile is off by a tenth at most."""

from __future__ import annotations

import math
from functools import cache

GROWTH = 1.25
_LOG = math.log(GROWTH)
_STEPS_MS = range(-4, 53)  # 0.4 ms to two minutes


def bound_of(value: float) -> float:
    """The least bound that is not below `value`."""
    return 0.0 if value <= 0 else _bound(math.ceil(round(math.log(value) / _LOG, 6)))


def bounds_ms() -> list[float]:
    """Those that milliseconds of requests need."""
    return [_bound(step) for step in _STEPS_MS]


@cache
def _bound(step: int) -> float:
    return float(f"{GROWTH**step:.4g}")
