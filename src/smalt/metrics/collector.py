"""What is asked of others every few seconds: Envoy and inference servers, what tasks use, how many jobs wait."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.platform import Platform
from smalt.arm.ports import NotReady, Traffic
from smalt.arm.ports.serving import DEPLOYMENTS
from smalt.metrics.counters import since
from smalt.metrics.inference import Inference
from smalt.metrics.names import CPU, GPU, GPU_MEMORY, LATENCY, MEMORY, QUEUED, REQUESTS
from smalt.metrics.recorder import Recorder
from smalt.store import series
from smalt.store.database import Collision
from smalt.store.series import MINUTE, Key, Point
from smalt.store.spread import GROWTH
from smalt.store.tables import queue, resource

EVERY_S = 10.0
FORGET_EVERY_S = 600.0
MB = 1_000_000
Counted = dict[tuple[Key, int], Point]

log = logging.getLogger("smalt.metrics")


class Collector:
    def __init__(self, platform: Platform, recorder: Recorder) -> None:
        self._platform = platform
        self._recorder = recorder
        self._host = f"{socket.gethostname()} {platform.settings.root}"
        self._cpu: dict[str, tuple[float, float]] = {}  # of each task: processor time used, and when that was seen
        self._queued: set[str] = set()
        self._served: set[str] = set()  # deployments that answered since their inference servers were asked
        self._inference = Inference(platform, recorder, self._host)
        self._forgotten_at = float("-inf")

    def run(self, stopped: threading.Event) -> None:
        """Until `stopped`; then once more, so that an orderly end loses nothing."""
        while not stopped.wait(EVERY_S):
            self.collect()
        self.collect()

    def collect(self) -> None:
        for part in (self._usage, self._queues, self._traffic, self._replicas, self._flush, self._forget):
            try:
                part()
            except (SQLAlchemyError, Collision, NotReady, OSError) as error:
                log.warning("%s: %s", part.__name__.strip("_"), error)

    def _flush(self) -> None:
        self._recorder.flush(self._platform.database)

    def _usage(self) -> None:
        now, found = self._platform.clock(), self._platform.engine.usage()
        before, self._cpu = self._cpu, {one.task: (one.cpu_s, now) for one in found}
        for one in found:
            labels = {"instance": one.task}
            self._recorder.record(one.owner, MEMORY.name, one.memory_bytes / MB, labels)
            if one.gpu_memory_bytes:
                self._recorder.record(one.owner, GPU.name, one.gpus * 1000, labels)
                self._recorder.record(one.owner, GPU_MEMORY.name, one.gpu_memory_bytes / MB, labels)
            used_s, at = before.get(one.task, (0.0, now))
            if now > at:
                self._recorder.record(one.owner, CPU.name, 1000 * max(one.cpu_s - used_s, 0) / (now - at), labels)

    def _queues(self) -> None:
        query = select(queue.c.compute_id, func.count().label("number")).group_by(queue.c.compute_id)
        with self._platform.database.read() as connection:
            waiting = {row.compute_id: row.number for row in connection.execute(query)}
        for compute in self._queued | waiting.keys():  # once more where it has become none
            self._recorder.record("", QUEUED.name, waiting.get(compute, 0), {"compute": compute})
        self._queued = set(waiting)

    def _traffic(self) -> None:
        """Envoy counts from its start on; what is new since the last look belongs to this minute.

        A deployment whose replicas change is counted anew: what it answered since the last look before that is lost.
        """
        epoch, found = self._platform.gateway.traffic()
        totals = {f"{self._host} {'/'.join(where)}": (where, _flat(one)) for where, one in found.items()}
        if not totals:
            return
        with self._platform.database.read() as connection:
            before = series.taken_over(connection, list(totals), epoch)
        news = {name: one for name, one in totals.items() if one[1] != before.get(name)}
        if not news:
            return
        with self._platform.database.write() as connection:
            points = self._points(connection, news, before)
            series.add(connection, points)
            series.take_over(connection, {name: flat for name, (_, flat) in news.items()}, epoch)
        self._recorder.note(points)

    def _points(
        self,
        connection: Connection,
        news: Mapping[str, tuple[tuple[str, str], dict[str, float]]],
        before: Mapping[str, dict[str, float]],
    ) -> Counted:
        scopes, points = _deployments(connection), Counted()
        minute = int(self._platform.clock() // MINUTE) * MINUTE
        for name, (where, counters) in news.items():
            if (scope := scopes.get(where)) is not None:
                new = since({"": before.get(name, {})}, {"": counters})
                points |= {(key, minute): point for key, point in _counted(scope, new)}
                self._served.add(scope)
        return points

    def _replicas(self) -> None:
        self._inference.collect(self._served)
        self._served = set()

    def _forget(self) -> None:
        now = self._platform.clock()
        if now - self._forgotten_at < FORGET_EVERY_S:
            return
        with self._platform.database.write() as connection:
            there = {name for where, scope in _deployments(connection).items() for name in (scope, "/".join(where))}
            series.forget_taken_over(connection, f"{self._host} ", there)
            if not series.forget(connection, now):
                self._forgotten_at = now


def _flat(one: Traffic) -> dict[str, float]:
    return {**one.codes, "sum": one.sum_ms, **{f"{bound:g}": count for bound, count in one.buckets.items()}}


def _counted(scope: str, new: Mapping[str, float]) -> list[tuple[Key, Point]]:
    """What came since: answers by class, and how long they took."""
    found: list[tuple[Key, Point]] = []
    for code in [key for key in new if key.endswith("xx")]:
        key = Key(scope, REQUESTS.name, (("statusCodeClass", code),))
        found.append((key, Point(int(new[code]), new[code], 1, 1, 1)))
    buckets = {float(key): int(value) for key, value in new.items() if not key.endswith("xx") and key != "sum"}
    if count := sum(buckets.values()):
        total = new.get("sum", 0.0)
        point = Point(count, total, min(buckets) / GROWTH, max(buckets), total / count, buckets)
        found.append((Key(scope, LATENCY.name), point))
    return found


def _deployments(connection: Connection) -> dict[tuple[str, str], str]:
    """Ids by the names that Envoy knows: the endpoint's and its own."""
    rows = connection.execute(select(resource.c.id, resource.c.written).where(resource.c.kind == DEPLOYMENTS))
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        *_, endpoint, _, deployment = row.written.split("/")
        found[endpoint, deployment] = row.id
    return found
