"""What is asked of others every few seconds: Envoy and inference servers, what tasks use, how many jobs wait."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.platform import Platform
from smalt.arm.ports import Counted, NotReady
from smalt.metrics.answers import Answers, deployments
from smalt.metrics.inference import Inference
from smalt.metrics.names import ACTIVE, IDLE, QUEUED
from smalt.metrics.recorder import Recorder
from smalt.metrics.scrape import Dial, unreachable
from smalt.metrics.usage import InUse, SizeOf
from smalt.store import series
from smalt.store.database import Collision
from smalt.store.tables import allocation, queue

EVERY_S, AFTER_CHANGE_S = 10.0, 1.0
FORGET_EVERY_S = 600.0

log = logging.getLogger("smalt.metrics")


class Collector:
    def __init__(
        self,
        platform: Platform,
        recorder: Recorder,
        size_of: SizeOf = lambda size, machine: machine,
        dial: Dial = unreachable,
    ) -> None:
        """`dial`: to replicas on nodes."""
        self._platform = platform
        self._recorder = recorder
        self._host = f"{socket.gethostname()} {platform.settings.root}"
        self._usage = InUse(platform, recorder, size_of)
        self._queued: set[str] = set()
        self._with_nodes: set[str] = set()
        self._served: set[str] = set()  # deployments that answered since their inference servers were asked
        self._answers = Answers(platform, recorder, self._host)
        self._inference = Inference(platform, recorder, self._host, dial)
        self._followers: list[Callable[[], None]] = []
        self._woken = threading.Event()
        self._forgotten_at = float("-inf")

    def run(self, stopped: threading.Event) -> None:
        """Until `stopped` and `wake`; then once more, so that an orderly end loses nothing."""
        next_at = time.monotonic() + EVERY_S
        while True:
            self._woken.wait(max(next_at - time.monotonic(), 0))
            self._woken.clear()
            if stopped.is_set():
                break
            if time.monotonic() < next_at:  # told of a change: it is not held up by what can be written later
                self._do(self._ask)
                next_at = min(next_at, time.monotonic() + AFTER_CHANGE_S)
            else:
                next_at = time.monotonic() + EVERY_S
                self.collect()
        self.collect()

    def follow(self, recorded: Callable[[], None]) -> None:
        """`recorded` is called when numbers were written, in this thread; it must not block."""
        self._followers.append(recorded)

    def wake(self) -> None:
        self._woken.set()

    def told(self, process: str, found: Counted) -> None:
        """Of deployments whose counters are about to go, and some of their replicas. Thread-safe, never waits."""
        self._answers.told(process, found)
        self.wake()

    def collect(self) -> None:
        self._do(
            self._usage.look,
            self._queues,
            self._nodes,
            self._last,
            self._traffic,
            self._replicas,
            self._flush,
            self._forget,
        )
        for recorded in self._followers:
            recorded()

    def _do(self, *parts: Callable[[], None]) -> None:
        for part in parts:
            try:
                part()
            except (SQLAlchemyError, Collision, NotReady, OSError) as error:
                log.warning("%s: %s", part.__name__.strip("_"), error)
            except Exception:  # the edge: without this thread nothing is counted any more
                log.exception("%s", part.__name__.strip("_"))

    def _flush(self) -> None:
        self._recorder.flush(self._platform.database)

    def _queues(self) -> None:
        query = select(queue.c.compute_id, func.count().label("number")).group_by(queue.c.compute_id)
        with self._platform.database.read() as connection:
            waiting = {row.compute_id: row.number for row in connection.execute(query)}
        for compute in self._queued | waiting.keys():  # once more where it has become none
            self._recorder.record("", QUEUED.name, waiting.get(compute, 0), {"compute": compute})
        self._queued = set(waiting)

    def _nodes(self) -> None:
        busy = func.count(allocation.c.owner)
        query = select(allocation.c.compute_id, func.count().label("all"), busy.label("busy"))
        query = query.where(allocation.c.compute_id.contains("/computes/"))  # deployments have GPUs in that table
        with self._platform.database.read() as connection:
            rows = connection.execute(query.group_by(allocation.c.compute_id))
            nodes = {row.compute_id: (row.busy, row.all - row.busy) for row in rows}
        for compute in self._with_nodes | nodes.keys():
            for metric, number in zip((ACTIVE, IDLE), nodes.get(compute, (0, 0)), strict=True):
                self._recorder.record(compute, metric.name, number)
        self._with_nodes = set(nodes)

    def _ask(self) -> None:
        self._inference.ask(self._answers.concerned())

    def _last(self) -> None:
        self._served |= self._answers.settle()

    def _traffic(self) -> None:
        self._served |= self._answers.look()

    def _replicas(self) -> None:
        self._inference.collect(self._served)
        self._served = set()

    def _forget(self) -> None:
        now = self._platform.clock()
        if now - self._forgotten_at < FORGET_EVERY_S:
            return
        with self._platform.database.write() as connection:
            there = {name for where, scope in deployments(connection).items() for name in (scope, "/".join(where))}
            series.forget_taken_over(connection, f"{self._host} ", there)
            if not series.forget(connection, now):
                self._forgotten_at = now
