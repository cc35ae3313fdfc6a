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


def test_what_comes_and_goes_is_told_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has been there; until then it is looked for often."""
    told: Told = []
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now, process_time=time.process_time)
    monkeypatch.setattr(services, "time", clock)
    monkeypatch.setattr(services, "sockets_of", lambda pids: {"1"} if pids != [os.getpid()] else set())
    monkeypatch.setattr(Services, "_is_own", lambda self, one, pids: True)
    there = False
    listener = services.Listener("1", "127.0.0.1")
    monkeypatch.setattr(services, "listeners", lambda pid: {80: [listener]} if there else {81: [listener]})
    found = begun([ServiceSpec("app", 80)], tmp_path, told, lambda argv, log: 0)
    found.look()
    assert found.due - now < 0.1
    now = found.due
    there = True
    found.look()
    assert told[-1]["app"].status == "Running"
    pauses: list[float] = []
    for _ in range(10):
        there = not there
        now = found.due
        found.look()
        pauses.append(found.due - now)
    assert len(told) == 13 and min(pauses) >= 1.0
