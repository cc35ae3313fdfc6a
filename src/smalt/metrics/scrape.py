"""What inference servers count of themselves: asked where they listen, together and within a bounded time.

A user's code runs in the same process, so what it answers is read as that of a stranger: a little of it, numbers only,
and of names that are known.
"""

from __future__ import annotations

import contextlib
import math
import re
import selectors
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from smalt.agent.wire import Address
from smalt.metrics.counters import disjoint
from smalt.metrics.names import BATCH, CALL, COLLECTED, FAILURES, INSTANCE, REASON, TYPE, UNCOLLECTED, WAIT, Metric
from smalt.store.series import Key, Point

PATIENCE_S = 1.0  # for all that are asked together
AT_ONCE, _DIALLED_AT_ONCE = 256, 16
MOST_BYTES = 64 << 10  # of an answer: a server's own has six thousand
MOST = 1e15  # of a number
_ASK = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nUser-Agent: smalt-metrics\r\nConnection: close\r\n\r\n"
_LINE = re.compile(
    r"(smalt_inference_\w+|process_start_time_seconds)"
    r'(?:\{(?:le="([^"]+)"|type="([\w.\-]{1,128})"(?:,reason="(\w{1,32})")?)\})? ([\d.e+]+)'
)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_BOUNDS = {*SECONDS, *SIZES, math.inf}  # those of inject/metrics.py: no others are kept, so that they stay few
_COUNTERS = {"smalt_inference_run_failures_total": FAILURES}
_COLLECTED = {"smalt_inference_collected_lines_total": COLLECTED, "smalt_inference_collected_lost_total": UNCOLLECTED}
_REASONS = ("Overload", "WriteFailed", "Stopped")  # those of inject/collected.py
_APART = "/"  # between a counter's name, its collection and its reason
_HISTOGRAMS: Mapping[str, tuple[Metric, float]] = {  # and how many of the metric's unit one of theirs is
    "smalt_inference_wait_seconds": (WAIT, 1000),
    "smalt_inference_call_seconds": (CALL, 1000),
    "smalt_inference_batch_requests": (BATCH, 1),
}
One = TypeVar("One")


@dataclass(frozen=True)
class Said:
    """`began`: when the process started, as it says. `counters`: name, name of a sum or name and bound → how much."""

    began: str
    counters: Mapping[str, float]
    in_flight: float


Dial = Callable[[Address, float], socket.socket]  # a connection to a replica on a node, within so many seconds


def unreachable(address: Address, timeout_s: float) -> socket.socket:
    raise OSError(f"{address} is on a node")


def ask(addresses: Mapping[One, Address], dial: Dial = unreachable) -> dict[One, Said]:
    """What those said that answered in time."""
    every, found = list(addresses.items()), dict[One, Said]()
    here = [(name, Path(one.path)) for name, one in every if one.path]
    for begin in range(0, len(here), AT_ONCE):
        for name, answer in _answers(here[begin : begin + AT_ONCE], time.monotonic() + PATIENCE_S):
            if (said := _read(answer)) is not None:
                found[name] = said
    away = [(name, one) for name, one in every if one.name]
    if away:
        with ThreadPoolExecutor(min(len(away), _DIALLED_AT_ONCE)) as threads:
            answers = threads.map(partial(_dialled, dial), [one for _, one in away])
            read = {name: _read(answer) for (name, _), answer in zip(away, answers, strict=True)}
        found |= {name: said for name, said in read.items() if said is not None}
    return found


def _dialled(dial: Dial, address: Address) -> bytes:
    """Empty where it does not answer in time."""
    answer, end = bytearray(), time.monotonic() + PATIENCE_S
    try:
        with dial(address, PATIENCE_S) as connection:
            connection.sendall(_ASK)
            while len(answer) <= MOST_BYTES and (left_s := end - time.monotonic()) > 0:
                connection.settimeout(left_s)
                if not (more := connection.recv(MOST_BYTES)):
                    return bytes(answer)
                answer += more
    except OSError:
        return b""
    return b""


def _answers(sockets: Sequence[tuple[One, Path]], end: float) -> Iterator[tuple[One, bytes]]:
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        asked: dict[socket.socket, tuple[One, bytearray]] = {}
        for name, path in sockets:
            one = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            with contextlib.suppress(OSError):  # nobody listens, or too many wait
                one.connect(str(path))
                one.sendall(_ASK)
                selector.register(one, selectors.EVENT_READ)
                asked[one] = (name, bytearray())
        while asked and (left_s := end - time.monotonic()) > 0:
            for event, _ in selector.select(left_s):
                assert isinstance(event.fileobj, socket.socket)
                one = event.fileobj
                name, answer = asked[one]
                try:
                    more = one.recv(MOST_BYTES)
                except OSError:
                    more, answer = b"", bytearray()
                answer += more
                if not more or len(answer) > MOST_BYTES:
                    selector.unregister(one)
                    del asked[one]
                    yield name, bytes(answer)


def _read(answer: bytes) -> Said | None:
    """None for what is no answer, or none of ours."""
    if not answer.startswith(b"HTTP/1.1 200 ") or len(answer) > MOST_BYTES:
        return None
    values: dict[str, float] = {}
    below: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, bound, type_, reason, written in _LINE.findall(answer.decode("ascii", "replace")):
        with contextlib.suppress(ValueError):
            value = float(written)
            if value <= MOST and bound and float(bound) in _BOUNDS:
                below[name.removesuffix("_bucket")].append((float(bound), value))
            elif value <= MOST and not bound:
                values[_APART.join(filter(None, (name, type_, reason)))] = value
    began = values.get("process_start_time_seconds")
    if began is None:
        return None
    counters = {metric.name: values[name] for name, metric in _COUNTERS.items() if name in values}
    for name, value in values.items():
        begin, apart, rest = name.partition(_APART)
        if metric := _COLLECTED.get(begin):
            counters[f"{metric.name}{apart}{rest}"] = value
    for name, (metric, unit) in _HISTOGRAMS.items():
        counters |= {f"{metric.name}<={bound * unit:g}": count for bound, count in disjoint(below[name]).items()}
        counters[_sum(metric)] = values.get(f"{name}_sum", 0.0) * unit
    return Said(f"{began:.6f}", counters, values.get("smalt_inference_in_flight", 0.0))


def points(scope: str, new: Mapping[str, float]) -> Iterable[tuple[Key, Point]]:
    """What came since, of a deployment's servers together."""
    for metric in _COUNTERS.values():
        if count := new.get(metric.name, 0.0):
            yield Key(scope, metric.name), Point(int(count), count, 1, 1, 1)
    for metric, _ in _HISTOGRAMS.values():
        begin = f"{metric.name}<="
        buckets = {float(name.removeprefix(begin)): int(new[name]) for name in new if name.startswith(begin)}
        if count := sum(buckets.values()):
            total = new.get(_sum(metric), 0.0)
            mean = total / count
            yield Key(scope, metric.name), Point(count, total, min(*buckets, mean), max(*buckets, mean), mean, buckets)


def collected(scope: str, instance: str, types: Set[str], new: Mapping[str, float]) -> dict[Key, Point]:
    """What came since of one instance's collected data. `types`: collections that are told apart, those it has."""
    names = {metric.name for metric in _COLLECTED.values()}
    found: dict[Key, Point] = {}
    for counter, count in new.items():
        name, *rest = counter.split(_APART)
        if name in names:
            type_, reason, *_ = *rest, "", ""
            known = ((INSTANCE, instance), (REASON, reason), (TYPE, type_))
            labels = tuple(one for one in known if one[0] == INSTANCE or one[1] in (*_REASONS, *types))
            found.setdefault(Key(scope, name, labels), Point()).merge(Point(int(count), count, 1, 1, 1))
    return found


def _sum(metric: Metric) -> str:
    return f"{metric.name}.sum"
