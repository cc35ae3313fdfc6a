"""Counters in Prometheus' text form. Written and read in the HTTP thread alone, hence without locks."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        total, lines = 0, [f"# TYPE {name} histogram"]
        for bound, count in zip(self._bounds, self._counts):
            total += count
            lines.append(f'{name}_bucket{{le="{bound:g}"}} {total}')
        total += self._counts[-1]
        return [*lines, f'{name}_bucket{{le="+Inf"}} {total}', f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


class Metrics:
    """What happened since the start; `in_flight` counts scoring requests that have no answer yet.

    The server takes them over (`smalt/metrics/scrape.py`) and knows by `process_start_time_seconds` where they began.
    """

    def __init__(self) -> None:
        self._started = time.time()
        self._requests: dict[int, int] = {}
        self._failures = 0
        self._latency = Histogram(SECONDS)
        self._waited = Histogram(SECONDS)
        self._called = Histogram(SECONDS)
        self._batches = Histogram(SIZES)
        self.in_flight = 0

    def scored(self, status: int, failed: bool, seconds: float) -> None:
        self._requests[status] = self._requests.get(status, 0) + 1
        self._failures += failed
        self._latency.observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """One call of the model with `size` requests."""
        self._batches.observe(size)
        self._called.observe(seconds)

    def waited(self, seconds: float) -> None:
        """A request, from its arrival until a worker took it."""
        self._waited.observe(seconds)

    def text(self, more: Sequence[str] = ()) -> bytes:
        """`more`: lines of what others count."""
        lines = ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {self._started:.6f}"]
        lines += ["# TYPE smalt_inference_requests_total counter"]
        lines += [f'smalt_inference_requests_total{{code="{code}"}} {n}' for code, n in sorted(self._requests.items())]
        lines += ["# TYPE smalt_inference_run_failures_total counter"]
        lines += [f"smalt_inference_run_failures_total {self._failures}"]
        lines += ["# TYPE smalt_inference_in_flight gauge", f"smalt_inference_in_flight {self.in_flight}"]
        lines += self._latency.lines("smalt_inference_request_seconds")
        lines += self._waited.lines("smalt_inference_wait_seconds")
        lines += self._called.lines("smalt_inference_call_seconds")
        lines += self._batches.lines("smalt_inference_batch_requests")
        return ("\n".join([*lines, *more]) + "\n").encode()
