"""Leases, a clock that is set, and changes that are forgotten."""

from __future__ import annotations

from fakes.jobs import JOBS, submit
from fakes.platform import Harness
from smalt.reconcile.heartbeat import Heartbeat
from smalt.reconcile.pace import Pace
from smalt.store import author, changes, resources
from smalt.store.changes import What

KEY = f"{JOBS}/train-1".lower()


class Steady:
    """Goes on with the harness's clock, except where the test sets that."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.set_by = 0.0

    def __call__(self) -> float:
        return self._harness.clock.now - self.set_by

    def set_clock(self, seconds: float) -> None:
        self.set_by += seconds
        self._harness.clock.pass_(seconds)


def test_what_waits_moves_with_a_clock_that_is_set(harness: Harness) -> None:
    steady = Steady(harness)
    heart = Heartbeat(harness.platform, ["workspaces/jobs"], Pace(), steady)
    submit(harness)
    harness.settle()
    before = harness.row(KEY).due_at
    assert before is not None
    for seconds in (-3600.0, 7200.0):
        steady.set_clock(seconds)
        heart.beat()
        after = harness.row(KEY).due_at
        assert after is not None and abs(after - before - seconds) < 0.1, "it waits as long as before"
        before = after


def test_time_that_passes_is_no_jump(harness: Harness) -> None:
    heart = Heartbeat(harness.platform, ["workspaces/jobs"], Pace(), Steady(harness))
    submit(harness)
    harness.settle()
    before = harness.row(KEY).due_at
    harness.clock.pass_(3600)
    heart.beat()
    assert harness.row(KEY).due_at == before


def test_what_is_old_is_forgotten_and_what_is_new_or_somebodys_stays(harness: Harness) -> None:
    heart = Heartbeat(harness.platform, ["workspaces/jobs"], Pace(), Steady(harness))
    now = harness.clock()

    def record(key: str, at: float, what: What = What.STATE) -> None:
        changes.record(connection, key, None, "Done", "", at, what=what, kind="workspaces/jobs")

    with harness.database.write() as connection:
        for _ in range(2500):
            record("/gone", now - changes.KEPT_S - 10)
        record("/there", now)
        with author.on_behalf("r"):
            author.identified("ada", answerable=True)
            record("/ada", now - changes.KEPT_S - 10)
            record("/ada/gone", now - changes.AUDIT_KEPT_S - 10)
    for _ in range(4):  # a piece with each beat
        heart.beat()
    with harness.database.read() as connection:
        left = {key: len(changes.newest(connection, key)) for key in ("/gone", "/there", "/ada", "/ada/gone")}
    assert left == {"/gone": 0, "/there": 1, "/ada": 1, "/ada/gone": 0}


def test_a_lease_that_was_lost_is_kept_no_more(harness: Harness) -> None:
    submit(harness)
    lanes = {"serving": 1, "control": 1, "cleanup": 1, "bulk": 1}
    harness.loop.claim(lanes)
    with harness.database.write() as connection:
        resources.remove(connection, KEY, harness.clock())
    harness.loop.heartbeat.beat()
    assert not harness.loop.heartbeat._held  # pyright: ignore[reportPrivateUsage]
