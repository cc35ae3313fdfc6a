"""What tasks use, and how many instances deployments have: as the engine says, at each look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from smalt.arm.platform import Platform
from smalt.arm.ports import Capacity, Usage
from smalt.arm.ports.serving import DEPLOYMENTS
from smalt.metrics.names import (
    CAPACITY,
    CPU,
    CPU_PART,
    DISK,
    GPU,
    GPU_ENERGY,
    GPU_MEMORY,
    GPU_MEMORY_PART,
    GPU_PART,
    INSTANCE,
    MEMORY,
    MEMORY_PART,
    STATE,
)
from smalt.metrics.recorder import Recorder
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row
from smalt.store.series import MINUTE

MB = 1_000_000
READY, NOT_READY, DRAINING = "Ready", "NotReady", "Draining"  # requests come, none come yet (or now), no more come
SizeOf = Callable[[str, Capacity], Capacity]  # what an instance of a size has on a machine


class InUse:
    """One thread calls it."""

    def __init__(self, platform: Platform, recorder: Recorder, size_of: SizeOf) -> None:
        self._platform = platform
        self._recorder = recorder
        self._size_of = size_of
        self._cpu: dict[str, tuple[float, float]] = {}  # of each task: processor time used, and when that was seen
        self._there: set[tuple[str, str, str]] = set()  # of the last look: deployment, instance, state
        self._seen: set[tuple[str, str, str]] = set()  # of all looks of this minute
        self._minute, self._looks = 0.0, 0

    def look(self) -> None:
        now, found = self._platform.clock(), self._platform.engine.usage()
        rows = self._deployments(found)
        sizes = self._sizes(rows)
        before, self._cpu = self._cpu, {one.task: (one.cpu_s, now) for one in found}
        for one in found:
            used_s, at = before.get(one.task, (0.0, now))
            cpus = max(one.cpu_s - used_s, 0) / (now - at) if now > at else None
            self._note(one, cpus)
            if one.owner in sizes:
                self._note_parts(one, cpus, sizes[one.owner])
                self._note_machine(one, now - at)
        self._count({one: _state(rows[one.owner], one.task) for one in found if one.owner in rows})

    def _note(self, one: Usage, cpus: float | None) -> None:
        labels = {INSTANCE: one.task}
        self._recorder.record(one.owner, MEMORY.name, one.memory_bytes / MB, labels)
        if one.gpu_memory_bytes:
            self._recorder.record(one.owner, GPU.name, one.gpus * 1000, labels)
            self._recorder.record(one.owner, GPU_MEMORY.name, one.gpu_memory_bytes / MB, labels)
        if cpus is not None:
            self._recorder.record(one.owner, CPU.name, 1000 * cpus, labels)

    def _note_parts(self, one: Usage, cpus: float | None, of: Capacity) -> None:
        labels = {INSTANCE: one.task}
        self._recorder.record(one.owner, MEMORY_PART.name, 100 * one.memory_bytes / of.memory_bytes, labels)
        if cpus is not None:
            self._recorder.record(one.owner, CPU_PART.name, 100 * cpus / of.cpus, labels)
        if one.gpu_memory_bytes and of.gpus:
            self._recorder.record(one.owner, GPU_PART.name, 100 * one.gpus / of.gpus, labels)

    def _note_machine(self, one: Usage, passed_s: float) -> None:
        """`passed_s`: since the task was seen before."""
        labels = {INSTANCE: one.task}
        if one.disk:
            self._recorder.record(one.owner, DISK.name, one.disk_percent, {**labels, "disk": one.disk})
        if one.gpu_memory_total_bytes:
            part = 100 * one.gpu_memory_bytes / one.gpu_memory_total_bytes
            self._recorder.record(one.owner, GPU_MEMORY_PART.name, part, labels)
        if joules := one.gpu_watts * passed_s:
            self._recorder.record(one.owner, GPU_ENERGY.name, joules, labels)

    def _count(self, states: Mapping[Usage, str]) -> None:
        """Of all instances together, and of each in each state: there as often as it was looked for since its minute
        began, so that the means of a minute add up to the whole."""
        minute = self._platform.clock() // MINUTE
        if minute != self._minute:
            self._minute, self._looks, self._seen = minute, 0, self._there  # once more where none is left
        there = {(one.owner, one.task, state) for one, state in states.items()}
        for key in sorted(there | self._seen):
            owner, task, state = key
            for value in (*(0 if key in self._seen else self._looks) * (0,), int(key in there)):
                self._recorder.record(owner, CAPACITY.name, value, {INSTANCE: task, STATE: state})
        running = Counter((owner, state) for owner, _, state in there)
        for owner in {owner for owner, _, _ in there | self._there}:
            counts = {state: running[owner, state] for state in (READY, NOT_READY, DRAINING)}
            self._recorder.record(owner, CAPACITY.name, sum(counts.values()))
            for state, count in counts.items():
                self._recorder.record(owner, CAPACITY.name, count, {STATE: state})
        self._there, self._seen, self._looks = there, self._seen | there, self._looks + 1

    def _deployments(self, found: Sequence[Usage]) -> dict[str, Row]:
        """Those that run something."""
        owners = {one.owner for one in found if "/deployments/" in one.owner}
        if not owners:
            return {}
        with self._platform.database.read() as connection:
            there = resources.get_many(connection, owners)
        return {key: row for key, row in there.items() if row.kind == DEPLOYMENTS}

    def _sizes(self, rows: Mapping[str, Row]) -> dict[str, Capacity]:
        """What an instance of each deployment has; the machine's where it is unsaid."""
        if not rows:
            return {}
        machine = self._platform.engine.capacity()
        sizes = {
            key: part(row.status, "target").get("size") or row.properties.get("instanceType")
            for key, row in rows.items()
        }
        return {key: self._size_of(str(size or ""), machine) for key, size in sizes.items()}


def _state(row: Row, instance: str) -> str:
    """Of one that runs."""
    live = part(row.status, "live")
    if instance in live.get("addresses", {}):
        return READY
    return DRAINING if instance in row.status.get("old", []) else NOT_READY
