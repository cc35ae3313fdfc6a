"""What tasks use, and how many instances deployments have: as the engine says, at each look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

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
)
from smalt.metrics.recorder import Recorder
from smalt.store import resources
from smalt.store.document import part

MB = 1_000_000
SizeOf = Callable[[str, Capacity], Capacity]  # what an instance of a size has on a machine


class InUse:
    """One thread calls it."""

    def __init__(self, platform: Platform, recorder: Recorder, size_of: SizeOf) -> None:
        self._platform = platform
        self._recorder = recorder
        self._size_of = size_of
        self._cpu: dict[str, tuple[float, float]] = {}  # of each task: processor time used, and when that was seen
        self._running: set[str] = set()  # deployments that had an instance at the last look

    def look(self) -> None:
        now, found = self._platform.clock(), self._platform.engine.usage()
        sizes = self._sizes(found)
        before, self._cpu = self._cpu, {one.task: (one.cpu_s, now) for one in found}
        for one in found:
            used_s, at = before.get(one.task, (0.0, now))
            cpus = max(one.cpu_s - used_s, 0) / (now - at) if now > at else None
            self._note(one, cpus)
            if one.owner in sizes:
                self._note_parts(one, cpus, sizes[one.owner])
                self._note_machine(one, now - at)
        self._count(found, set(sizes))

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

    def _count(self, found: Sequence[Usage], deployments: set[str]) -> None:
        running = Counter(one.owner for one in found if one.owner in deployments)
        for owner in running.keys() | self._running:  # once more where none is left
            self._recorder.record(owner, CAPACITY.name, running[owner])
        self._running = set(running)

    def _sizes(self, found: Sequence[Usage]) -> dict[str, Capacity]:
        """Of each deployment that runs something: what an instance has; the machine's where it is unsaid."""
        owners = {one.owner for one in found if "/deployments/" in one.owner}
        if not owners:
            return {}
        with self._platform.database.read() as connection:
            rows = [row for row in resources.get_many(connection, owners).values() if row.kind == DEPLOYMENTS]
        machine = self._platform.engine.capacity()
        sizes = {row.id: part(row.status, "target").get("size") or row.properties.get("instanceType") for row in rows}
        return {id_: self._size_of(str(size or ""), machine) for id_, size in sizes.items()}
