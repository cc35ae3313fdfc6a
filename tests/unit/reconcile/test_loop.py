"""The control loop by itself, over a kind made for the test: heartbeat, retries, the order of deletes, the running thread."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from fakes.platform import GROUP, Harness
from live.patience import PATIENCE_S
from smalt.arm.kind import BULK, CLEANUP, CONTROL, SERVING, Kind, Step
from smalt.arm.platform import Platform
from smalt.arm.registry import Kinds
from smalt.reconcile import loop as loop_module
from smalt.reconcile.loop import Loop
from smalt.reconcile.pace import Pace
from smalt.store import claims, resources
from smalt.store.resources import Row


class Bench:
    """A kind `things` whose step the test writes, and a loop over it."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.step: Any = lambda platform, row: Step("Succeeded", {}, done=True)
        kind = Kind(path="things", title="thing", reconcile=self._step)
        below = Kind(path="things/parts", title="part")
        self.kinds = Kinds([kind, below])
        self.removed: list[str] = []
        self.loop = self.make()

    def make(self, pace: Pace | None = None) -> Loop:
        return Loop(self.harness.platform, self.kinds, self._remove, pace)

    def claim(self) -> Row:
        (row,) = self.loop.claim({SERVING: 1, CONTROL: 1, CLEANUP: 1, BULK: 1})
        return row

    def pause(self, *lanes: str) -> float:
        """How long the loop would wait with workers in these lanes; all, if none is named."""
        there = self.kinds.lanes()
        pause = self.loop._pause([there[name] for name in lanes or there])  # pyright: ignore[reportPrivateUsage]
        assert pause is not None
        return pause

    def _step(self, platform: Platform, row: Row) -> Step:
        return self.step(platform, row)

    def _remove(self, connection: Any, row: Row, now: float) -> None:
        self.removed.append(row.name)
        resources.remove(connection, row.id, now)

    def add(self, name: str, kind: str = "things", parent: str = GROUP.lower(), due: bool = True) -> str:
        key = f"{parent}/{name}"
        now = self.harness.clock()
        with self.harness.database.write() as connection:
            resources.insert(
                connection,
                key=key,
                written=key,
                kind=kind,
                parent=parent,
                name=name,
                spec={"properties": {}},
                status={},
                state="Creating",
                now=now,
                by="test",
                due_at=now if due else None,
            )
        return key


@pytest.fixture
def bench(harness: Harness) -> Bench:
    return Bench(harness)


def test_a_step_decides_when_it_is_looked_at_again(bench: Bench) -> None:
    key = bench.add("a")
    seen: list[float] = []

    def step(platform: Platform, row: Row) -> Step:
        seen.append(platform.clock())
        return Step("Creating", {"n": len(seen)}, after=10)

    bench.step = step
    bench.loop.run_due()
    bench.loop.run_due()
    assert len(seen) == 1
    bench.harness.clock.pass_(10)
    bench.loop.run_due()
    assert len(seen) == 2 and bench.harness.row(key).status == {"n": 2}


def test_errors_are_retried_with_growing_pauses_then_fail_with_the_error(bench: Bench) -> None:
    key = bench.add("a")
    at: list[float] = []

    def broken(platform: Platform, row: Row) -> Step:
        at.append(platform.clock())
        raise OSError("no space left on device")

    bench.step = broken
    while bench.harness.row(key).state != "Failed":
        bench.loop.run_due()
        bench.harness.clock.pass_(0.05)
    pauses = [after - before for before, after in itertools.pairwise(at)]
    assert len(at) == Pace().tries and pauses[-1] > pauses[0] * 4
    assert "no space left" in bench.harness.row(key).status["error"]["message"]


def test_a_lost_lease_drops_the_result(bench: Bench) -> None:
    key = bench.add("a")

    def slow(platform: Platform, row: Row) -> Step:
        bench.harness.clock.pass_(31)  # longer than the lease, and nobody's heart beats
        with bench.harness.database.write() as connection:
            assert claims.claim(connection, [row.id], bench.harness.clock(), "another", 30)
        return Step("Wrong", {"stale": True}, done=True)

    bench.step = slow
    row = bench.claim()
    bench.loop.step(row)
    assert bench.harness.row(key).state == "Creating" and bench.harness.row(key).status == {}


def test_a_delete_takes_what_is_below_first(bench: Bench) -> None:
    key = bench.add("a")
    bench.add("part", kind="things/parts", parent=key, due=False)
    child = bench.add("b", parent=key)
    ended: list[str] = []

    def step(platform: Platform, row: Row) -> Step:
        if row.deleting:
            ended.append(row.name)
            return Step(row.state, row.status, gone=True)
        return Step("Succeeded", {}, done=True)

    bench.step = step
    bench.loop.run_due()
    with bench.harness.database.write() as connection:
        row = resources.get(connection, key)
        assert row is not None
        resources.mark_deleting(connection, row, bench.harness.clock(), "test")
    bench.loop.run_due()
    assert bench.removed == ["part"] and ended == ["b", "a"]
    with bench.harness.database.read() as connection:
        assert resources.get(connection, key) is None and resources.get(connection, child) is None


def test_what_appeared_below_while_a_delete_ran_goes_first(bench: Bench) -> None:
    key = bench.add("a")
    ended: list[str] = []

    def step(platform: Platform, row: Row) -> Step:
        if not ended and row.name == "a":
            bench.add("late", parent=key)
        ended.append(row.name)
        return Step(row.state, row.status, gone=True)

    bench.step = step
    with bench.harness.database.write() as connection:
        resources.mark_deleting(connection, bench.harness.row(key), bench.harness.clock(), "test")
    bench.loop.run_due()
    assert ended == ["a", "late", "a"]
    with bench.harness.database.read() as connection:
        assert resources.get(connection, key) is None and resources.children(connection, key) == []


def test_a_result_that_cannot_be_written_is_a_failed_step(bench: Bench) -> None:
    key = bench.add("a")

    def writes(connection: Any) -> None:
        raise ValueError("not a number")

    bench.step = lambda platform, row: Step("Succeeded", {}, done=True, writes=writes)
    while bench.harness.row(key).state != "Failed":
        bench.loop.run_due()
        bench.harness.clock.pass_(0.05)
        assert bench.harness.clock() < 1e6 + bench.harness.row(key).created_at
    assert "not a number" in bench.harness.row(key).status["error"]["message"]


def test_a_row_that_is_poked_during_its_own_step_keeps_nobody_awake(bench: Bench) -> None:
    key = bench.add("a")
    pauses: list[float] = []

    def step(platform: Platform, row: Row) -> Step:
        with platform.database.write() as connection:
            resources.poke(connection, [key], platform.clock())
        pauses.append(bench.pause())
        return Step("Succeeded", {}, done=True, after=None if len(pauses) > 1 else 5)

    bench.step = step
    row = bench.claim()
    bench.loop.step(row)
    assert pauses[0] > 1
    assert bench.pause() < 0.1, "it is looked at again after its step"


def test_what_is_due_in_a_lane_without_a_worker_keeps_nobody_awake(bench: Bench) -> None:
    bench.add("a")
    assert bench.pause(SERVING, CLEANUP) > 1
    assert bench.pause(SERVING, CONTROL) < 0.1


def test_what_is_due_at_once_goes_on_under_the_same_lease(bench: Bench) -> None:
    key, leases = bench.add("a"), list[str | None]()

    def step(platform: Platform, row: Row) -> Step:
        leases.append(row.lease)
        assert int(row.status.get("steps", 0)) == len(leases) - 1, "each step sees what the one before it wrote"
        return Step("Creating", {"steps": len(leases)}, after=0 if len(leases) < 20 else None)

    bench.step = step
    assert bench.loop.run_due() < 20
    assert len(leases) == 20 and 1 < len(set(leases)) < 5, "others have their turn now and then"
    assert bench.harness.row(key).lease is None


def test_a_loop_that_ends_gives_back_what_is_due_at_once(bench: Bench) -> None:
    key = bench.add("a")

    def step(platform: Platform, row: Row) -> Step:
        bench.loop.stop()
        return Step("Creating", {}, after=0)

    bench.step = step
    bench.loop.step(bench.claim())
    row = bench.harness.row(key)
    assert row.lease is None and row.due_at is not None and row.due_at <= bench.harness.clock()


def test_a_write_between_two_steps_of_a_stretch_is_seen_by_the_second(bench: Bench) -> None:
    key, seen = bench.add("a"), list[int]()

    def step(platform: Platform, row: Row) -> Step:
        seen.append(row.generation)
        if len(seen) == 1:
            with platform.database.write() as connection:
                resources.replace_spec(
                    connection,
                    row,
                    {"properties": {"x": 1}},
                    state="Updating",
                    now=platform.clock(),
                    by="test",
                    due=True,
                )
        return Step("Creating", {}, after=0 if len(seen) < 3 else None)

    bench.step = step
    bench.loop.run_due()
    assert seen[:2] == [1, 2], "the first step's result was dropped: it is done again on what was written"
    assert bench.harness.row(key).generation == 2


def test_the_thread_works_at_once_when_hinted_and_stops_when_told(bench: Bench) -> None:
    """Real time: only that it does not wait for the resync of 30 s."""
    done = threading.Event()

    def step(platform: Platform, row: Row) -> Step:
        done.set()
        return Step("Succeeded", {}, done=True)

    bench.step = step
    thread = threading.Thread(target=bench.loop.run)
    thread.start()
    key = bench.add("a")
    bench.harness.platform.hub.notify(key)
    assert done.wait(PATIENCE_S)
    bench.loop.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_the_thread_outlives_what_it_cannot_do(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would go on any more without it: no thread can be started for a step, nothing can be looked at."""
    failed, done = [], threading.Semaphore(0)

    class Scarce(ThreadPoolExecutor):
        def submit(self, *given: Any, **named: Any) -> Future[Any]:
            future = super().submit(*given, **named)
            if "submit" not in failed and len(given) > 1:  # a row's step
                failed.append("submit")
                raise RuntimeError("can't start new thread")
            return future

    def pause(*_: object) -> float:
        if "pause" not in failed:
            failed.append("pause")
            raise RuntimeError("cannot be looked at")
        return 0.05

    monkeypatch.setattr(loop_module, "ThreadPoolExecutor", Scarce)
    monkeypatch.setattr(bench.loop, "_pause", pause)
    bench.step = lambda platform, row: done.release() or Step("Succeeded", {}, done=True)
    for name in ("a", "b"):
        bench.add(name)
    thread = threading.Thread(target=bench.loop.run)
    thread.start()
    try:
        assert all(done.acquire(timeout=30) for _ in range(2))
        bench.harness.platform.hub.notify(bench.add("c"))
        assert done.acquire(timeout=30)
    finally:
        bench.loop.stop()
        thread.join(30)
    assert sorted(failed) == ["pause", "submit"] and not thread.is_alive()


def test_a_long_step_keeps_its_lease_by_the_heartbeat(harness: Harness) -> None:
    import time

    harness.platform = replace(harness.platform, clock=time.time)
    bench = Bench(harness)
    loop = bench.make(Pace(lease_s=3.0))
    begun, release = threading.Event(), threading.Event()
    runs: list[str] = []

    def slow(platform: Platform, row: Row) -> Step:
        runs.append(row.name)
        begun.set()
        release.wait(PATIENCE_S)
        return Step("Succeeded", {}, done=True)

    bench.step = slow
    with harness.database.write() as connection:
        now = time.time()
        resources.insert(
            connection,
            key="/t",
            written="/t",
            kind="things",
            parent="",
            name="t",
            spec={},
            status={},
            state="New",
            now=now,
            by="x",
            due_at=now,
        )
    thread = threading.Thread(target=loop.run)
    thread.start()
    assert begun.wait(PATIENCE_S)
    first = harness.row("/t").lease_until
    deadline = time.monotonic() + PATIENCE_S
    while harness.row("/t").lease_until == first and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert (harness.row("/t").lease_until or 0) > (first or 0), "the lease was not extended"
    release.set()
    loop.stop()
    thread.join(PATIENCE_S)
    assert runs == ["t"] and harness.row("/t").state == "Succeeded"
