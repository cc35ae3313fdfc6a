"""The supervisor with small real programs: what dies comes back, what is stopped ends, nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from live.patience import PATIENCE_S
from live.processes import alive
from smalt.cli.program import restart_delay_s
from smalt.cli.supervisor import View, read_view
from smalt.cli.watch import memory_limit
from smalt.unix_socket import say

DRIVER = """
import asyncio, json, sys
from pathlib import Path
from smalt.cli.program import Program
from smalt.cli.supervisor import StartFailed, Supervisor
from smalt.cli.watch import Health

folder, programs, options = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])

async def answers():
    if (folder / "answers").exists():
        return True
    with (folder / "unanswered").open("a") as probes:
        probes.write(".")
    return False

async def main():
    table = [Program(**{**one, "health": Health(**one["health"]) if "health" in one else None}) for one in programs]
    needs = folder / "needs.sock"
    await Supervisor(table, folder / "state.json", folder, answers, url="https://localhost:1", needs=needs, **options).run()

try:
    asyncio.run(main())
except StartFailed as error:
    sys.exit(f"failed: {error}")
"""
SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
UNTIL_TOLD = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: exit(0)); print('here', flush=True); time.sleep(60)",
]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]

LISTENER = """
import os, socketserver, sys
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 503 Later\\r\\n\\r\\n")
        print("asked", flush=True)
if os.path.exists(sys.argv[1]): os.unlink(sys.argv[1])
with socketserver.UnixStreamServer(sys.argv[1], Answer) as server:
    server.serve_forever()
"""
HUNGRY = [sys.executable, "-c", "held = bytearray(200 << 20); import time; time.sleep(60)"]


class Driven:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        (folder / "driver.py").write_text(DRIVER)

    def start(self, *programs: dict[str, object], ready: bool = True, **options: float) -> None:
        if ready:
            (self.folder / "answers").touch()
        command = [sys.executable, str(self.folder / "driver.py"), str(self.folder)]
        command += [json.dumps(programs), json.dumps(options)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def view(self) -> View:
        view = read_view(self.folder / "state.json")
        assert view is not None
        return view

    def pids(self) -> dict[str, int]:
        view = read_view(self.folder / "state.json")
        return {one.name: one.pid for one in view.processes if one.pid} if view else {}

    def restarts(self, name: str) -> int:
        view = read_view(self.folder / "state.json")
        return next(one.restarts for one in view.processes if one.name == name) if view else 0

    def unanswered(self) -> int:
        """How often the supervisor asked in vain."""
        probes = self.folder / "unanswered"
        return probes.stat().st_size if probes.exists() else 0

    def ready(self) -> bool:
        view = read_view(self.folder / "state.json")
        return view is not None and view.ready

    def end(self, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        assert self.process is not None
        _, errors = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, errors


def until(true: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not alive(pid)


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    one = Driven(tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.communicate()


@pytest.mark.serial
def test_a_killed_program_is_back_at_once_and_counted(driven: Driven) -> None:
    driven.start({"name": "one", "command": SLEEPER}, {"name": "two", "command": SLEEPER})
    until(driven.ready)
    pids, took = driven.pids(), dict[str, float]()
    for name in ("one", "two"):
        began = time.monotonic()
        os.kill(pids[name], signal.SIGKILL)
        until(lambda name=name: driven.pids().get(name, pids[name]) != pids[name])
        took[name] = time.monotonic() - began
        assert driven.restarts(name) == 1
        if name == "one":
            assert (driven.pids()["two"], driven.restarts("two")) == (pids["two"], 0)
    assert min(took.values()) < 1.0, took


def test_a_stop_ends_every_program_and_removes_the_state(driven: Driven) -> None:
    driven.start({"name": "one", "command": SLEEPER}, {"name": "two", "command": SLEEPER, "stops_last": True})
    until(driven.ready)
    pids = driven.pids()
    assert driven.process is not None
    driven.process.send_signal(signal.SIGTERM)
    code, errors = driven.end()
    assert (code, errors) == (0, "")
    assert all(gone(pid) for pid in pids.values())
    assert not (driven.folder / "state.json").exists()


def test_a_program_that_ignores_sigterm_is_killed(driven: Driven) -> None:
    driven.start({"name": "deaf", "command": STUBBORN}, grace_s=0.3)
    until(lambda: (driven.folder / "deaf.log").exists() and "deaf" in (driven.folder / "deaf.log").read_text())
    until(driven.ready)
    pid = driven.pids()["deaf"]
    assert driven.process is not None
    driven.process.send_signal(signal.SIGINT)
    assert driven.end()[0] == 0
    assert gone(pid)


def test_no_program_survives_a_kill_of_the_supervisor(driven: Driven) -> None:
    driven.start({"name": "one", "command": STUBBORN}, {"name": "two", "command": SLEEPER, "nice": 5})
    until(driven.ready)
    pids = driven.pids()
    until(lambda: psutil.Process(pids["two"]).nice() == min(os.nice(0) + 5, 19))
    until(lambda: "deaf" in (driven.folder / "one.log").read_text())
    assert driven.process is not None
    driven.process.kill()
    until(lambda: all(gone(pid) for pid in pids.values()))


def test_a_program_on_demand_starts_when_it_is_needed_and_the_platform_answers(driven: Driven) -> None:
    programs = {"name": "one", "command": SLEEPER}, {"name": "later", "command": SLEEPER, "on_demand": True}
    driven.start(*programs, {"name": "never", "command": SLEEPER, "on_demand": True}, ready=False)
    until(lambda: "one" in driven.pids())
    for word in ("later", "later", "nothing", "one"):
        say(driven.folder / "needs.sock", word)
    asked = driven.unanswered()
    until(lambda: driven.unanswered() >= asked + 3)
    assert set(driven.pids()) == {"one"}
    assert not driven.ready()
    (driven.folder / "answers").touch()
    until(lambda: set(driven.pids()) == {"one", "later"})
    assert driven.ready()


def test_a_program_on_demand_may_end_and_comes_back_where_it_is_needed_or_was_killed(driven: Driven) -> None:
    driven.start({"name": "later", "command": UNTIL_TOLD, "on_demand": True})
    until(driven.ready)
    assert driven.pids() == {}
    needs = driven.folder / "needs.sock"
    say(needs, "later")
    until(lambda: "later" in driven.pids())
    first = driven.pids()["later"]
    say(needs, "later")  # it runs already
    until(lambda: "here" in (driven.folder / "later.log").read_text())
    os.kill(first, signal.SIGUSR1)  # it ends by itself
    until(lambda: driven.view().processes[0].state == "waiting")
    assert driven.view().processes[0].restarts == 0
    say(needs, "later")
    until(lambda: driven.pids().get("later") not in (None, first))
    second = driven.pids()["later"]
    os.kill(second, signal.SIGKILL)
    until(lambda: driven.pids().get("later") not in (None, second))
    assert driven.view().processes[0].restarts == 1


def test_a_program_that_cannot_start_fails_the_start_with_its_log(driven: Driven) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    (driven.folder / "broken.log").write_text("of an earlier start\n")
    driven.start({"name": "fine", "command": SLEEPER}, {"name": "broken", "command": broken}, ready=False)
    until(lambda: "fine" in driven.pids())
    fine = driven.pids()["fine"]
    code, errors = driven.end()
    assert code == 1
    assert "broken ends as soon as it is started" in errors
    assert "of an earlier start" not in errors
    assert "no such luck" in errors
    assert gone(fine)


def test_a_missing_binary_is_named(driven: Driven) -> None:
    driven.start({"name": "envoy", "command": ["/nowhere/envoy"]}, ready=False)
    code, errors = driven.end()
    assert code == 1
    assert "/nowhere/envoy: No such file or directory" in errors


def test_what_never_answers_fails_after_the_time_limit(driven: Driven) -> None:
    driven.start({"name": "one", "command": SLEEPER}, ready=False, ready_timeout_s=0.5)
    code, errors = driven.end()
    assert code == 1
    assert "did not answer within 0.5 s" in errors


def test_a_program_keeps_its_log_over_restarts_and_starts(driven: Driven) -> None:
    (driven.folder / "one.log").write_text("its last words\n")
    (driven.folder / "one.log").chmod(0o600)
    for start in range(1, 6):
        driven.start({"name": "one", "command": SLEEPER})
        until(driven.ready)
        until(lambda start=start: (driven.folder / "one.log").read_text().count("here\n") == 2 * start - 1)
        os.kill(driven.pids()["one"], signal.SIGKILL)
        until(lambda start=start: (driven.folder / "one.log").read_text().count("here\n") == 2 * start)
        assert driven.process is not None
        driven.process.send_signal(signal.SIGTERM)
        assert driven.end()[0] == 0
    lines = (driven.folder / "one.log").read_text().splitlines()
    assert lines[0] == "its last words"
    assert [one.startswith("--- smalt up, ") for one in lines[1:4]] == [True, False, False]
    assert list(driven.folder.glob("one.log.*")) == []
    assert (driven.folder / "one.log").stat().st_mode & 0o777 == 0o600


def test_the_first_restart_is_immediate_and_later_ones_wait_longer_to_a_limit() -> None:
    delays = [restart_delay_s(failures) for failures in (1, 2, 3, 4, 20, 100_000)]
    assert delays == [0.0, 0.25, 0.5, 1.0, 5.0, 5.0]


def test_a_program_that_no_longer_answers_is_replaced(driven: Driven) -> None:
    socket = str(driven.folder / "s")
    health = {"socket": socket, "path": "/x", "silent_s": 1.5, "ask_every_s": 0.05}
    driven.start(
        {"name": "one", "command": [sys.executable, "-c", LISTENER, socket], "health": health},
        {"name": "two", "command": SLEEPER},
    )
    log = driven.folder / "one.log"
    until(lambda: log.exists() and log.read_text().count("asked") > 10)  # any answer is one, and so it stays
    first, other = driven.pids()["one"], driven.pids()["two"]
    os.kill(first, signal.SIGSTOP)
    until(lambda: driven.pids().get("one", first) != first)
    assert (gone(first), driven.restarts("one"), driven.pids()["two"]) == (True, 1, other)
    asked = log.read_text().count("asked")
    until(lambda: log.read_text().count("asked") > asked + 10)
    assert driven.restarts("one") == 1


def test_a_program_that_never_answers_has_its_own_time(driven: Driven) -> None:
    health = {"socket": str(driven.folder / "s"), "path": "/", "silent_s": 0.1, "start_s": 0.5, "ask_every_s": 0.05}
    began = time.monotonic()
    driven.start({"name": "mute", "command": SLEEPER, "health": health})
    until(lambda: driven.restarts("mute") >= 1)
    assert time.monotonic() - began > 0.5


def test_a_program_that_takes_too_much_memory_is_replaced(driven: Driven) -> None:
    health = {"socket": "", "path": "/", "ask_every_s": 0.05, "memory_bytes": 100 << 20}
    driven.start({"name": "hungry", "command": HUNGRY, "health": health}, {"name": "two", "command": SLEEPER})
    until(lambda: driven.restarts("hungry") >= 1)
    assert driven.restarts("two") == 0


def test_the_kernel_gives_no_more_memory_than_allowed(driven: Driven) -> None:
    driven.start({"name": "hungry", "command": HUNGRY, "data_bytes": 100 << 20})
    log = driven.folder / "hungry.log"
    until(lambda: log.exists() and "MemoryError" in log.read_text())


@pytest.mark.parametrize(("machine_gib", "limit_gib"), [(1, 2), (8, 2), (16, 4), (32, 8), (512, 8)])
def test_a_programs_share_of_the_machines_memory(machine_gib: int, limit_gib: int) -> None:
    assert memory_limit(machine_gib << 30) == limit_gib << 30
