"""Runs the checks, most of them side by side, and is done in time whatever hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smalt.doctor.checks import CHECKS, Check, Turn
from smalt.doctor.finding import Finding, NotTried, State, none, warn
from smalt.doctor.machine import Machine

LIMIT_S = 4.5
FORKED_S = MEASURED_S = 2.0  # of it: no child is begun later; what is measured has as much
_UNKNOWN = "what it would have told is not known"


@dataclass(frozen=True)
class Examined:
    check: Check
    finding: Finding

    @property
    def fatal(self) -> bool:
        return self.check.vital and self.finding.state is State.NO


def examine(machine: Machine, checks: Sequence[Check] = CHECKS, limit_s: float = LIMIT_S) -> list[Examined]:
    """What each check found, in their order. Only while this process has one thread."""
    began, ends = time.monotonic(), time.monotonic() + limit_s
    found: dict[str, Finding] = {}
    for one in checks:
        if one.turn is Turn.FORKS and time.monotonic() < began + FORKED_S:
            found[one.id] = _look(one, machine)
    measured = [[one for one in checks if one.turn is Turn.MEASURES]]
    found |= _beside(machine, measured, min(ends, time.monotonic() + MEASURED_S))
    found |= _beside(machine, ([one] for one in checks if one.turn is Turn.ANY), ends)
    return [Examined(one, found.get(one.id) or _silent(limit_s)) for one in checks]


def _beside(machine: Machine, rows: Iterable[Sequence[Check]], ends: float) -> dict[str, Finding]:
    """Each row in a thread of its own, its checks one after another; what is not there at `ends` is left behind."""
    told: queue.Queue[tuple[str, Finding]] = queue.Queue()

    def work(row: Sequence[Check]) -> None:
        for one in row:
            told.put((one.id, _look(one, machine)))

    count = 0
    for row in rows:
        threading.Thread(target=work, args=(row,), daemon=True).start()
        count += len(row)
    found: dict[str, Finding] = {}
    while len(found) < count:
        try:
            id_, finding = told.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        found[id_] = finding
    return found


def _look(check: Check, machine: Machine) -> Finding:
    """A check that fails itself says so, without the text of an exception that may hold anything."""
    try:
        return check.look(machine)
    except NotTried as error:
        return none(f"not tried: {error}", "the folder has to be writable first", "smalt up --root DIR")
    except OSError as error:
        return warn(f"could not be looked at ({error.strerror or type(error).__name__})", _UNKNOWN, "smalt doctor")
    except Exception as error:  # one check must not take the others along
        return warn(f"could not be looked at ({type(error).__name__})", _UNKNOWN, "smalt doctor")


def _silent(limit_s: float) -> Finding:
    return warn(f"no answer within {limit_s:g} s", _UNKNOWN, "smalt doctor")
