"""Kill anything: no crash starts a task twice, loses one unseen, or leaves a process behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.refs import FINDER
from live.patience import PATIENCE_S
from live.processes import alive, parent_of, standing
from smalt.agent.wire import Outcome, Phase
from smalt.arm.errors import ArmError
from smalt.engines.local import Finder, LocalEngine
from smalt.engines.local import engine as engine_module
from smalt.engines.local.folders import Folders

DESCENDANTS = "sleep 300 & setsid sleep 301 & (setsid bash -c 'sleep 302 & sleep 303' &) ; echo up; wait"


def processes_of(folder: Path) -> list[int]:
    """Every living process whose working directory is the task's."""
    return standing(folder / "user" / "work", below=True)


def eventually(holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def started_with_descendants(local: Any, name: str = "t") -> Any:
    local.engine.ensure(local.task(name, command=DESCENDANTS))
    state = local.changes.running(name)
    assert eventually(lambda: len(processes_of(local.folder(name))) >= 6)
    return state


@pytest.mark.serial
def test_a_killed_agent_is_noticed_at_once_and_leaves_nothing(local: Any) -> None:
    took: list[float] = []
    for name in ("t", "again"):
        state = started_with_descendants(local, name)
        before = time.monotonic()
        os.kill(state.agent_pid, signal.SIGKILL)
        ended = local.changes.ended(name)
        took.append(time.monotonic() - before)
        assert ended.outcome is Outcome.LOST
        assert "vanished" in ended.error
        assert processes_of(local.folder(name)) == []
    assert min(took) < 1, took  # measured in bench/: some 10 ms on a quiet machine


def test_killed_agent_and_warden_are_noticed_too(local: Any) -> None:
    state = started_with_descendants(local)
    warden = parent_of(state.agent_pid)
    os.kill(warden, signal.SIGKILL)
    os.kill(state.agent_pid, signal.SIGKILL)
    assert local.changes.ended("t").outcome is Outcome.LOST
    assert processes_of(local.folder("t")) == []


def test_without_its_warden_a_task_goes_on(local: Any) -> None:
    local.engine.ensure(local.task("t"))
    state = local.changes.running("t")
    os.kill(parent_of(state.agent_pid), signal.SIGKILL)
    local.finish("t", 0)
    assert local.changes.ended("t").outcome is Outcome.EXITED


def test_killed_while_no_server_runs(local: Any) -> None:
    state = started_with_descendants(local)
    local.engine.close()
    os.kill(state.agent_pid, signal.SIGKILL)
    local.engine = LocalEngine(local.settings, FINDER)
    assert type(local.changes)(local.engine).ended("t").outcome is Outcome.LOST
    assert processes_of(local.folder("t")) == []


def test_everything_killed_while_no_server_runs(local: Any) -> None:
    state = started_with_descendants(local)
    local.engine.close()
    os.kill(parent_of(state.agent_pid), signal.SIGKILL)
    os.kill(state.agent_pid, signal.SIGKILL)
    local.engine = LocalEngine(local.settings, FINDER)
    assert type(local.changes)(local.engine).ended("t").outcome is Outcome.LOST
    assert processes_of(local.folder("t")) == []


def test_a_new_engine_adopts_a_running_task(local: Any) -> None:
    local.engine.ensure(local.task("t"))
    before = local.changes.running("t")
    local.engine.close()
    local.engine = LocalEngine(local.settings, FINDER)
    changes = type(local.changes)(local.engine)
    assert changes.running("t") == before
    local.engine.ensure(local.task("other", command="true"))
    changes.ended("other")
    local.finish("t", 4)
    assert changes.ended("t").exit_code == 4
    assert local.started() == 1


def test_an_adopted_agent_that_is_killed_is_noticed(local: Any) -> None:
    local.engine.ensure(local.task("t"))
    before = local.changes.running("t")
    local.engine.close()
    local.engine = LocalEngine(local.settings, FINDER)
    changes = type(local.changes)(local.engine)
    changes.running("t")
    assert eventually(lambda: "/owner/t" in changes.owners)
    os.kill(parent_of(before.agent_pid), signal.SIGKILL)
    os.kill(before.agent_pid, signal.SIGKILL)
    assert changes.ended("t").outcome is Outcome.LOST


@pytest.mark.parametrize(
    "strange", [b"\xff", b"[]", b'{"owner": "x", "task": "\\ud800"}', b'{"owner": 1, "task": null}']
)
def test_a_strange_datagram_ends_the_news_of_nobody(local: Any, strange: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(strange, str(local.settings.hints_socket))
    local.engine.ensure(local.task("t", command="true"))
    assert local.changes.ended("t").exit_code == 0


def test_a_task_outlives_the_process_that_started_it(local: Any, tmp_path: Path) -> None:
    task = local.task("t")
    server = subprocess.run([sys.executable, "-c", ENSURE, str(local.settings.root), task.to_json()], check=False)
    assert server.returncode == -signal.SIGKILL
    local.changes.until("t", lambda state: state.phase is not Phase.EXITED)
    local.finish("t", 0)
    assert local.changes.ended("t").exit_code == 0


ENSURE = """
import os, signal, sys
from pathlib import Path
from smalt.agent.wire import TaskSpec
from smalt.engines.local import Finder, LocalEngine
from smalt.settings import Settings
LocalEngine(Settings(root=Path(sys.argv[1])), Finder(lambda *ref: Path(ref[2]), Path)).ensure(TaskSpec.from_json(sys.argv[2]))
if len(sys.argv) == 3:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_processes_ensure_at_once(local: Any) -> None:
    tasks = [local.task(f"t{index}") for index in range(3)]
    for task in tasks:
        command = [sys.executable, "-c", ENSURE, str(local.settings.root), task.to_json(), "stay"]
        servers = [subprocess.Popen(command) for _ in range(3)]
        assert [server.wait() for server in servers] == [0, 0, 0]
    for task in tasks:
        local.finish(task.name, 0)
        assert local.changes.ended(task.name).exit_code == 0
    assert local.started() == 3


class Crash(BaseException):
    """As if the server had been killed at this line: nothing handles it."""


def _crash(*_: object) -> None:
    raise Crash


@pytest.mark.parametrize("line", ["write_fence", "take_lock", "write_whole"])
def test_ensure_goes_on_after_a_crash_before(local: Any, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    task = local.task("t")
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, line, _crash)
        with pytest.raises(Crash):
            local.engine.ensure(task)
    assert local.engine.observe("t") is None
    local.engine.ensure(task)
    local.finish("t", 0)
    assert local.changes.ended("t").exit_code == 0
    assert local.started() == 1


def test_ensure_goes_on_after_a_crash_right_behind_the_spawn(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = local.task("t")
    real = local.engine._starters()

    def start_and_crash(*arguments: Any) -> None:
        real[0](*arguments)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(local.engine, "_starters", lambda: [start_and_crash])
        with pytest.raises(Crash):
            local.engine.ensure(task)
    local.engine.ensure(task)
    local.engine.ensure(task)
    local.finish("t", 0)
    assert local.changes.ended("t").exit_code == 0
    assert local.started() == 1


def test_an_agent_killed_at_any_moment_starts_nothing_twice(local: Any) -> None:
    """Kill the whole agent after ever longer pauses from its spawn: whatever it had reached, one start at most."""
    for index in range(8):
        name = f"t{index}"
        task = local.task(name, command=f"echo {name} >> '{local.starts}'; sleep 30")
        local.engine.ensure(task)
        time.sleep(index * 0.02)
        assert eventually(lambda name=name: kill_agents_of(local, name))
        seen = local.engine.observe(name)
        local.engine.ensure(task)
        if seen is None:
            local.changes.running(name)
        else:
            assert seen.outcome is Outcome.LOST
    starts = local.starts.read_text().split()
    assert len(starts) == len(set(starts))


def kill_agents_of(local: Any, name: str) -> bool:
    """Kill those that can be seen (one just forked is not in its folder yet); whether none is left."""
    for agent in agents_of(local.folder(name)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, signal.SIGKILL)
    return not Folders(local.settings.tasks).attended(local.folder(name))


def agents_of(folder: Path) -> list[int]:
    """Agent and warden: both work in the task's folder itself."""
    return standing(folder)


def nursery_of(engine: LocalEngine) -> int:
    process = engine._nursery._process  # type: ignore[union-attr]
    assert process is not None
    return process.pid


def test_a_killed_nursery_is_replaced_and_its_agents_live(local: Any) -> None:
    local.engine.ensure(local.task("before"))
    local.changes.running("before")
    os.kill(nursery_of(local.engine), signal.SIGKILL)
    local.engine.ensure(local.task("after"))
    local.engine.ensure(local.task("later"))
    for name in ("before", "after", "later"):
        local.finish(name, 0)
        assert local.changes.ended(name).exit_code == 0
    assert local.started() == 3


def test_a_nursery_that_dies_after_it_started_an_agent_starts_no_second(
    local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = local.engine._nursery.start_agent

    def start_and_fail(*arguments: Any) -> None:
        real(*arguments)
        raise ConnectionResetError("killed right after")

    monkeypatch.setattr(local.engine._nursery, "start_agent", start_and_fail)
    for index in range(5):
        local.engine.ensure(local.task(f"t{index}"))
    for index in range(5):
        local.finish(f"t{index}", 0)
        local.changes.ended(f"t{index}")
    assert local.started() == 5


def test_the_nursery_ends_with_its_server(local: Any) -> None:
    task = local.task("t")
    command = ENSURE.replace(
        "os.kill(os.getpid()", "print(engine._nursery._process.pid); sys.stdout.flush(); os.kill(os.getpid()"
    )
    command = command.replace(
        "LocalEngine(Settings(root=Path(sys.argv[1])), Finder(lambda *ref: Path(ref[2]), Path))", "engine"
    ).replace(
        "engine.ensure",
        "engine = LocalEngine(Settings(root=Path(sys.argv[1])), Finder(lambda *ref: Path(ref[2]), Path))\nengine.ensure",
    )
    arguments = [sys.executable, "-c", command, str(local.settings.root), task.to_json()]
    server = subprocess.run(arguments, check=False, stdout=subprocess.PIPE, text=True)
    assert eventually(lambda: not alive(int(server.stdout)))
    local.finish("t", 0)
    assert local.changes.ended("t").exit_code == 0


def test_remove_kills_what_runs(local: Any) -> None:
    started_with_descendants(local)
    folder = local.folder("t")
    local.engine.remove("t")
    assert local.engine.observe("t") is None
    assert not folder.exists()
    assert eventually(lambda: not list((local.settings.tasks / ".trash").iterdir()))
    assert [one for one in Path("/proc").iterdir() if one.name.isdigit() and b"sleep\x00303" in _cmdline(one)] == []


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_remove_right_after_ensure(local: Any) -> None:
    for index in range(5):
        task = local.task(f"t{index}", command="sleep 300")
        local.engine.ensure(task)
        time.sleep(index * 0.01)
        before = time.monotonic()
        local.engine.remove(task.name)
        assert time.monotonic() - before < 60
        assert agents_of(local.folder(task.name)) == []


def test_an_interrupted_removal_is_finished_at_the_next_start(local: Any) -> None:
    started_with_descendants(local)
    grave = local.engine._folders.discard(local.folder("t"))
    LocalEngine(local.settings, FINDER)
    assert not grave.exists()
    assert agents_of(local.folder("t")) == []


def test_a_task_of_an_older_version_is_observed_ended_and_followed(local: Any) -> None:
    """It names paths, and has no places beside it."""
    task = local.task("t")
    local.engine.ensure(task)
    state = local.changes.running("t")
    folder = local.folder("t")
    older = {"name": "t", "owner": "/owner/t", "log": "/p", "code": "", "inputs": [{"name": "i", "source": "/s"}]}
    (folder / "task.json").write_text(json.dumps({**older, "ready": {"socket": "/s"}}))
    (folder / "places.json").unlink()
    local.engine.close()
    local.engine = LocalEngine(local.settings, FINDER)
    local.changes = type(local.changes)(local.engine)
    local.changes.told("/owner/t")
    assert local.engine.observe("t").phase is Phase.RUNNING
    for agent in agents_of(folder):
        os.kill(agent, signal.SIGKILL)
    lost = local.changes.ended("t")
    assert (lost.outcome, lost.pid) == (Outcome.LOST, state.pid)
    assert not alive(state.pid)
    local.engine.remove("t")
    assert local.engine.observe("t") is None


def test_what_cannot_be_found_here_is_said_and_nothing_starts(local: Any) -> None:
    def nowhere(account: str, container: str, name: str) -> Path:
        raise ArmError(400, "UserError", f"Blobs of '{account}' are in a remote store.")

    task = local.task("t")
    local.engine.close()
    local.engine = LocalEngine(local.settings, Finder(nowhere, Path))
    local.changes = type(local.changes)(local.engine)
    with pytest.raises(ArmError, match="remote store"):
        local.engine.ensure(task)
    assert local.engine.observe("t") is None and local.started() == 0
    local.engine.close()
    local.engine = LocalEngine(local.settings, FINDER)
    local.changes = type(local.changes)(local.engine)
    local.engine.ensure(task)
    local.finish("t", 0)
    assert local.changes.ended("t").exit_code == 0
