"""The clock: set while it is looked at, before what exists already, and not synchronised."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.machines import machine
from smalt.doctor import clock
from smalt.doctor.finding import Finding, State


class Clocks:
    """Two, of which one jumps by `jump` s while it is slept, and `slow` s pass more."""

    def __init__(self, now: float, jump: float = 0.0, slow: float = 0.0) -> None:
        self.now, self.count, self.jump, self.slow = now, 1000.0, jump, slow

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.slow + self.jump
        self.count += seconds + self.slow

    def look(self, *known: Path) -> Finding:
        return clock.clock_found(known, lambda: self.now, lambda: self.count, self.sleep)


def test_a_good_clock(tmp_path: Path) -> None:
    assert clock.clock(machine(tmp_path)).state is State.OK
    assert Clocks(1_800_000_000).look().fact == "2027-01-15 08:00:00 UTC, and it goes steadily"
    assert Clocks(1_800_000_000, slow=2.0).look().state is State.OK  # a busy machine is no bad clock


@pytest.mark.parametrize("jump", [-3600.0, -0.5, 0.5, 86_400.0])
def test_a_clock_that_is_being_set(jump: float) -> None:
    found = Clocks(1_800_000_000, jump).look()
    assert found.state is State.WARN and f"set by {jump:+.2f} s" in found.fact


def test_a_clock_before_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    os.utime(file, (1_800_000_000, 1_800_000_000))
    assert Clocks(1_800_000_000 - 10).look(file, tmp_path / "missing").state is State.OK
    found = Clocks(1_800_000_000 - 3600).look(tmp_path / "missing", file)
    assert found.state is State.WARN and "before" in found.fact and "not valid yet" in found.means


def refused() -> int:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize(
    ("told", "state", "fact"),
    [
        (lambda: 4200, State.OK, "within 4 ms at most"),
        (lambda: None, State.WARN, "nothing keeps the clock synchronised"),
        (refused, State.NONE, "cannot be asked (Operation not permitted)"),
    ],
)
def test_synchronised(told: Callable[[], int | None], state: State, fact: str) -> None:
    found = clock.synchronised_found(told)
    assert (found.state, found.fact) == (state, fact)


def test_the_kernel_is_asked(tmp_path: Path) -> None:
    assert clock.synchronised(machine(tmp_path)).fact
