"""How a task on this machine ends, and what its log says until then. Real processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from fakes.carriers import BOTH
from fakes.refs import ref
from live.platform import eventually
from smalt.agent.wire import InputSpec, Limits, Outcome, Phase

pytestmark = BOTH


def test_the_log_is_live_and_the_error_has_its_tail(local: Any) -> None:
    os.mkfifo(local.root / "go")
    task = local.task("t", command=f"printf partial; read x < {local.root}/go; seq 100; echo oops >&2; exit 2")
    Path(task.log.name).parent.mkdir()
    Path(task.log.name).write_text("an earlier attempt\n")
    local.engine.ensure(task)
    local.changes.running("t")
    wait_for_log(task, "partial")
    assert Path(task.log.name).read_text() == "an earlier attempt\npartial"
    (local.root / "go").write_text("\n")
    state = local.changes.ended("t")
    assert state.error.startswith("Execution failed. User process 'bash' exited with status code 2.")
    assert state.error.endswith("99\n100\noops")
    assert len(state.error.splitlines()) == 20


@pytest.mark.parametrize(("command", "code", "part"), [
    ("exit 300", 44, "status code 44"),
    ("kill -9 $$", 137, "signal 9 (SIGKILL)"),
    ("python3 -c 'import sys; sys.exit(5)'", 5, "'python3' exited with status code 5"),
    ("no-such-command", 127, "status code 127"),
])  # fmt: skip
def test_exit_codes(local: Any, command: str, code: int, part: str) -> None:
    state, _ = local.run(command=command)
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, code)
    assert part in state.error


def test_stop_lets_the_command_clean_up(local: Any) -> None:
    command = "trap 'echo cleaning; sleep 0.2; echo done; exit 0' TERM; echo up; sleep 300 & wait"
    task = local.task("t", command=command)
    local.engine.ensure(task)
    wait_for_log(task, "up")
    local.engine.stop("t", 20)
    state = local.changes.ended("t")
    assert (state.outcome, state.exit_code) == (Outcome.STOPPED, 0)
    assert Path(task.log.name).read_text() == "up\ncleaning\ndone\n"


def test_stop_kills_after_the_grace(local: Any) -> None:
    command = "trap '' TERM; (setsid bash -c \"trap '' TERM; sleep 300\" &); echo up; while :; do sleep 300; done"
    task = local.task("t", command=command)
    local.engine.ensure(task)
    wait_for_log(task, "up")
    before = time.monotonic()
    local.engine.stop("t", 300)
    local.engine.stop("t", 0.5)
    state = local.changes.ended("t")
    assert 0.5 <= time.monotonic() - before < 60
    assert (state.outcome, state.exit_code) == (Outcome.STOPPED, 137)


def test_stop_before_the_command_started(local: Any, tmp_path: Path) -> None:
    task = local.task("t", command=f"touch {tmp_path}/ran; sleep 300")
    local.engine.ensure(task)
    local.engine.stop("t", 0)
    state = local.changes.ended("t")
    assert state.outcome is Outcome.STOPPED
    assert (tmp_path / "ran").exists() <= (state.started_at > 0)


def test_stop_breaks_off_a_long_preparation(local: Any, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.mkdir()
    for index in range(3000):
        (source / f"{index}").write_bytes(b"x" * 65536)
    task = local.task("t", command="sleep 300", inputs=[InputSpec("d", "uri_folder", "download", source=ref(source))])
    local.engine.ensure(task)
    eventually(
        lambda: (state := local.engine.observe("t")) is not None and state.agent_pid > 0, "an agent", pause_s=0.001
    )
    local.engine.stop("t", 30)
    state = local.changes.ended("t")
    assert state.outcome is Outcome.STOPPED
    assert state.started_at == 0


def test_timeout(local: Any) -> None:
    state, log = local.run(command="echo up; sleep 300", timeout_s=1.5, grace_s=5)
    assert state.outcome is Outcome.TIMEOUT
    assert "limit of 1.5 s" in state.error
    assert 1.5 <= state.ended_at - state.started_at < 60
    assert log == "up\n"


def test_daemons_end_with_the_command(local: Any, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    daemon = f"import os,time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); open('{pids}','a').write(str(os.getpid())+' '); time.sleep(300)"
    state, _ = local.run(command=f'env -i python3 -c "{daemon}"; while [ ! -s {pids} ]; do sleep 0.05; done')
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 0)
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_out_of_memory_is_told_apart(local: Any) -> None:
    eat = "x = []\nwhile True: x.append(bytearray(8 << 20))"
    state, _ = local.run(command=f"python3 -c '{eat}'", limits=Limits(memory_bytes=96 << 20))
    assert state.outcome is Outcome.OUT_OF_MEMORY
    assert "(96 MiB)" in state.error
    assert state.peak_memory_bytes > 32 << 20


def test_a_task_has_so_many_processes_and_says_so(local: Any) -> None:
    fork = "import os, time\nfor _ in range(100):\n  if os.fork() == 0: time.sleep(60)"
    state, log = local.run(command=f"python3 -c '{fork}'", processes_most=20)
    if "no limit of processes" in local.system_log() or "no pids cgroup" in local.system_log():
        pytest.skip("this machine lets us write no pids cgroup")
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 1)
    assert "It had 20 processes and threads" in state.error and "BlockingIOError" in log


def test_a_log_beyond_its_bound_keeps_its_beginning_and_its_end(local: Any) -> None:
    most = 1 << 20
    command = (
        "echo first; yes middle | head -c 5000000; sleep 3; yes later | head -c 3000000; echo; echo last words; exit 3"
    )
    task = local.task("t", command=command, log_most_bytes=most)
    Path(task.log.name).parent.mkdir()
    Path(task.log.name).write_text("an earlier attempt\n")
    local.engine.ensure(task)
    wait_for_log(task, "What comes now is dropped")
    assert Path(task.log.name).stat().st_size < 2 * most
    state = local.changes.ended("t")
    lines = Path(task.log.name).read_text().splitlines()
    assert Path(task.log.name).stat().st_size < most + (100 << 10)
    assert (lines[:2], lines[-2]) == (["an earlier attempt", "first"], "last words")
    assert "bytes are missing above" in lines[-1]
    missing = int(lines[-1].split()[1])
    assert missing == pytest.approx(8_000_000 - most, abs=100_000)
    assert "last words" in state.error


def test_argv_runs_as_it_is(local: Any) -> None:
    state, log = local.run(argv=["printf", "%s|", "${{inputs.x}}", "a b", "$HOME"])
    assert (state.exit_code, log) == (0, "${{inputs.x}}|a b|$HOME|")


def test_phases_are_reported_in_order(local: Any) -> None:
    local.engine.ensure(local.task("t"))
    state = local.changes.running("t")
    assert state.agent_pid > 0
    assert state.pid > 0
    assert state.phase is Phase.RUNNING
    local.finish("t", 0)
    last = local.changes.ended("t")
    assert last.pid == state.pid
    assert last.peak_memory_bytes > 0
    local.changes.told("/owner/t", times=2)  # the state may be seen before it is told


def wait_for_log(task: Any, text: str) -> None:
    log = Path(task.log.name)
    eventually(lambda: log.exists() and text in log.read_text(), repr(text), pause_s=0.01)
