"""What an agent finds of its task's services, without a task: programs, their logs, and how often it tells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from smalt.agent import services
from smalt.agent.service_spec import ServiceSpec, ServiceState
from smalt.agent.services import Services

Told = list[dict[str, ServiceState]]


def begun(specs: list[ServiceSpec], folder: Path, told: Told, start: Callable[[list[str], int], int]) -> Services:
    return Services(specs, lambda: [os.getpid()], start, lambda program: True, folder, told.append)


def test_each_program_has_a_log_of_its_own_also_where_one_cannot_be_started(tmp_path: Path) -> None:
    told: Told = []
    logs: list[tuple[int, str]] = []

    def start(argv: list[str], log: int) -> int:
        logs.append((log, str(Path(f"/proc/self/fd/{log}").readlink())))
        if argv == ["broken"]:
            raise OSError(12, "no memory")
        return os.getpid()

    names = ("one", "broken", "two", "broken", "three")
    specs = [ServiceSpec(f"{name}{number}", programs=[[name]]) for number, name in enumerate(names)]
    begun(specs, tmp_path, told, start)
    (states,) = told
    assert {name: one.status for name, one in states.items() if one.status == "Failed"}.keys() == {"broken1", "broken3"}
    assert all("no memory" in states[name].error for name in ("broken1", "broken3"))
    assert len({place for _, place in logs}) == 5
    open_ = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink() and one.exists()}
    assert [place in open_ for _, place in logs] == [True, False, True, False, True]


class Machine:
    """Ports that are listened at, of the task or of others, and the time, which only the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.ports, self.own = time.monotonic(), set[int](), True
        clock = SimpleNamespace(monotonic=lambda: self.now, process_time=time.process_time)
        monkeypatch.setattr(services, "time", clock)
        monkeypatch.setattr(services, "sockets_of", lambda pids: {"1"} if pids != [os.getpid()] else set())
        monkeypatch.setattr(Services, "_is_own", lambda one, listener, pids: self.own)
        listener = services.Listener("1", "127.0.0.1")
        monkeypatch.setattr(services, "listeners", lambda pid: {port: [listener] for port in {1, *self.ports}})

    def next(self, found: Services) -> float:
        """The next look, and the pause after it."""
        self.now = found.due
        found.look()
        return found.due - self.now


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_what_comes_and_goes_is_told_once_a_second(tmp_path: Path, machine: Machine) -> None:
    """After it has been there; until then it is looked for often."""
    told: Told = []
    found = begun([ServiceSpec("app", 80)], tmp_path, told, lambda argv, log: 0)
    assert machine.next(found) < 0.1
    machine.ports = {80}
    machine.next(found)
    assert told[-1]["app"].status == "Running"
    pauses: list[float] = []
    for _ in range(10):
        machine.ports ^= {80}
        pauses.append(machine.next(found))
    assert len(told) == 13 and min(pauses) >= 1.0


@pytest.mark.parametrize("own", [True, False])
def test_several_that_come_and_go_in_turn_are_told_seldom_and_in_the_end_as_they_are(
    tmp_path: Path, machine: Machine, own: bool
) -> None:
    """Also where it is somebody else's program that does so."""
    told: Told = []
    machine.own = own
    found = begun([ServiceSpec("a", 80), ServiceSpec("b", 81)], tmp_path, told, lambda argv, log: 0)
    first = machine.now
    for turn in range(3000):
        machine.ports = {80 + turn % 2}
        machine.next(found)
    assert 20 <= len(told) <= 22 + (machine.now - first) / 30
    machine.ports, before = {80, 81}, machine.now
    while machine.now < before + 31:
        machine.next(found)
    assert {one.status for one in told[-1].values()} == {"Running" if own else "Failed"}
