"""What a carried task makes: followed while it runs, in the store before its end is told, whatever fails or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.refs import ref
from live.files import files_below
from live.patience import PATIENCE_S
from smalt.agent.wire import InputSpec, Outcome, OutputSpec, Phase, Ref
from smalt.arm.errors import ArmError
from smalt.engines.local.carry import job, publish


def wait(holds: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def makes(carried: Any, **values: Any) -> Any:
    """A task that writes everything that one can, once it is let."""
    out, gate = carried.root / "blobs", carried.root / "go"
    if not gate.exists():
        os.mkfifo(gate)
    command = (
        f"echo started | tee -a '{carried.starts}'; echo a > outputs/a; echo l > logs/l; echo o > ${{{{outputs.o}}}}/o;"
        f" read x < '{gate}'; echo u > ${{{{outputs.u}}}}/u; echo done"
    )
    outputs = [OutputSpec("o", target=ref(out / "o")), OutputSpec("u", mode="upload", target=ref(out / "u"))]
    return carried.task("t", command=command, outputs=outputs, artifacts=ref(out / "run"), **values)


def everything_is_there(carried: Any, task: Any) -> None:
    out = carried.root / "blobs"
    for name, content in {"o/o": "o", "u/u": "u", "run/outputs/a": "a", "run/logs/l": "l"}.items():
        assert text(out / name) == f"{content}\n", name
    assert text(Path(task.log.name)) == "started\ndone\n"
    assert "command ended: exited, exit code 0" in carried.system_log("t")
    assert {task.log, task.system_log} <= set(carried.carrier.sealed)
    assert carried.started() == 1


def test_all_of_it_is_in_the_store_when_the_end_is_told(carried: Any) -> None:
    task = makes(carried)
    carried.engine.ensure(task)
    (carried.root / "go").write_text("x\n")
    assert carried.changes.ended("t").exit_code == 0
    everything_is_there(carried, task)
    assert len(carried.carrier.stored) == len(set(carried.carrier.stored)), "nothing is stored twice"
    wait(lambda: not (carried.folder("t") / "carry" / "gone").exists(), "the copy to be gone")


@pytest.mark.parametrize("workspace", ["", "/w"])
def test_logs_and_files_are_there_while_it_runs(carried: Any, monkeypatch: pytest.MonkeyPatch, workspace: str) -> None:
    monkeypatch.setattr(publish, "EVERY_S", 0.5)
    carried.settings.tls.mkdir()
    (carried.settings.tls / "bundle.pem").touch()
    command = "echo a > outputs/a; echo o > ${{outputs.o}}/o; while :; do date +%s.%N; sleep 0.3; done"
    out = carried.root / "blobs"
    task = carried.task(
        "t",
        command=command,
        outputs=[OutputSpec("o", target=ref(out / "o"))],
        artifacts=ref(out / "run"),
        workspace=workspace,
    )
    carried.engine.ensure(task)
    late = list[float]()
    while len(late) < 6 or (
        len(late) < 60 and sorted(late[-6:])[3] >= 1
    ):  # by the median, while the machine is at rest
        wait(lambda: len(text(Path(task.log.name)).split()) > len(late), f"line {len(late) + 1}")
        late.append(time.time() - float(text(Path(task.log.name)).split()[len(late)]))
    assert sorted(late[-6:])[3] < 1, f"a line is in the store within a second: {late}"
    wait(lambda: text(out / "run" / "outputs" / "a") + text(out / "o" / "o") == "a\no\n", "files")
    assert carried.engine.observe("t").phase is Phase.RUNNING
    carried.engine.stop("t", 1)
    assert carried.changes.ended("t").outcome is Outcome.STOPPED


def test_a_store_that_is_down_delays_the_end_and_loses_nothing(carried: Any) -> None:
    task = makes(carried)
    carried.engine.ensure(task)
    carried.changes.running("t")
    wait(lambda: carried.started() == 1, "its first line")
    carried.carrier.fails("store", "append", "seal", "list")
    down, tried = carried.carrier.fault, list[str]()
    (carried.root / "go").write_text("x\n")
    wait(lambda: carried.engine.observe("t").phase is Phase.FINALIZING, "the command to end")
    carried.carrier.fault = lambda call, ref: (tried.append(call), down(call, ref))
    wait(lambda: tried.count("store") >= 2, "more than one try to store")
    state = carried.engine.observe("t")
    assert (state.phase, state.outcome, state.exit_code) == (Phase.FINALIZING, None, None)
    carried.carrier.heal()
    assert carried.changes.ended("t", 40).exit_code == 0
    everything_is_there(carried, task)
    assert "503 Service Unavailable" in carried.system_log("t")


def test_who_is_to_stop_does_not_wait_for_a_store_that_goes_on_failing(
    carried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_AFTER_STOP_S", 0.5)
    carried.engine.ensure(makes(carried))
    carried.changes.running("t")
    wait(lambda: carried.started() == 1, "its first line")
    carried.carrier.fails("store", "append", "seal", "list")
    (carried.root / "go").write_text("x\n")
    wait(lambda: carried.engine.observe("t").phase is Phase.FINALIZING, "the command to end")
    carried.engine.stop("t", 0)
    state = carried.changes.ended("t", 40)
    assert state.outcome is Outcome.SETUP and "503 Service Unavailable" in state.error


@pytest.mark.parametrize(("exit_code", "outcome"), [(0, Outcome.SETUP), (3, Outcome.EXITED)])
def test_what_the_store_refuses_fails_what_went_well(carried: Any, exit_code: int, outcome: Outcome) -> None:
    carried.carrier.fails("store", error=ArmError(400, "UserError", "The name is too long."))
    state, _ = carried.run(
        "t",
        command=f"echo x > ${{{{outputs.o}}}}/big; exit {exit_code}",
        outputs=[OutputSpec("o", target=ref(carried.root / "o"))],
    )
    assert (state.outcome, state.exit_code) == (outcome, exit_code)
    assert "Output 'o' could not be stored: The name is too long." in carried.system_log("t")


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from dataclasses import replace
from fakes.carriers import FolderCarrier
from fakes.refs import FINDER
from smalt.agent.wire import TaskSpec
from smalt.engines.local import LocalEngine
from smalt.engines.local.carry import mirror, publish
from smalt.settings import Settings
call = sys.argv[3].rstrip(" 0123456789")
count = int(sys.argv[3].removeprefix(call) or 1)
def fault(made, ref):
    global count
    if made == call:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
publish.EVERY_S = 0.3
carrier = FolderCarrier()
carrier.fault = fault
mark = mirror.Mirror.mark_published
def marked(self):
    fault("before the mark", None)
    mark(self)
    fault("behind the mark", None)
mirror.Mirror.mark_published = marked
engine = LocalEngine(Settings(root=Path(sys.argv[1])), replace(FINDER, carrier=carrier))
engine.watch(lambda owner: None)
engine.ensure(TaskSpec.from_json(Path(sys.argv[2]).read_text()))
time.sleep(60)
sys.exit("nobody killed it")
"""


@pytest.mark.parametrize(
    "line",
    [
        "list", "fetch", "fetch 2", "append", "appended", "append 4", "appended 5", "store", "store 2", "store 3",
        "store 4", "seal", "seal 2", "before the mark", "behind the mark",
    ],
)  # fmt: skip
def test_a_server_killed_at_any_line_loses_and_repeats_nothing(carried: Any, line: str) -> None:
    data = carried.root / "in"
    data.mkdir()
    for name in "ab":
        (data / name).write_text(name)
    task = makes(carried, inputs=[InputSpec("d", "uri_folder", source=ref(data))])
    (carried.root / "task.json").write_text(task.to_json())
    carried.engine.close()
    arguments = [str(carried.settings.root), str(carried.root / "task.json"), line, *sys.path]
    server = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    go = os.open(carried.root / "go", os.O_RDWR)  # a line that waits for whoever reads
    try:
        time.sleep(0.5 if line.split()[0] in ("list", "fetch", "append", "appended") else 1.5)
        os.write(go, b"x\n")
        assert server.wait(PATIENCE_S) == -signal.SIGKILL
        carried.reopen()
        state = carried.changes.ended("t", 40)
    finally:
        os.close(go)
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 0)
    task_log = text(Path(task.log.name))
    assert task_log == "started\ndone\n"
    if "mark" in line or line == "seal 2":
        carried.carrier.sealed += [task.log, task.system_log]  # the killed one did, or what it sealed is not repeated
    everything_is_there(carried, task)
    log = carried.system_log("t").splitlines()
    assert len(log) == len(set(log)), "no line of the log is there twice"


def test_a_new_server_goes_on_with_what_is_fetched_runs_and_is_published(carried: Any) -> None:
    """The same in one process: the old engine is closed while its store hangs."""
    data = carried.root / "in"
    data.mkdir()
    (data / "a").write_text("a")
    task = makes(carried, inputs=[InputSpec("d", "uri_folder", source=ref(data))])
    for call, before in (("fetch", lambda: carried.engine.ensure(task)), ("store", lambda: None)):
        hanging = carried.carrier.hangs(call)
        before()
        assert hanging.wait(PATIENCE_S)
        carried.reopen(carrier=type(carried.carrier)())
        carried.carrier.heal()
        carried.carrier = carried.finder.carrier
        carried.changes.running("t") if call == "fetch" else None
    (carried.root / "go").write_text("x\n")
    assert carried.changes.ended("t", 40).exit_code == 0
    everything_is_there(carried, task)


def test_a_task_that_is_lost_leaves_its_log_and_what_it_wrote(carried: Any) -> None:
    task = makes(carried)
    carried.engine.ensure(task)
    state = carried.changes.running("t")
    wait(lambda: carried.started() == 1, "its first line")
    own = carried.folder("t")
    wait(lambda: (own / "carry/store").exists() and any(one.parent.name == "o" for one in files_below(own, "o")), "o")
    os.kill(state.agent_pid, signal.SIGKILL)
    assert carried.changes.ended("t").outcome is Outcome.LOST
    assert text(Path(task.log.name)) == "started\n"
    assert text(carried.root / "blobs" / "o" / "o") == "o\n"


def test_the_log_goes_on_behind_an_earlier_attempts(carried: Any) -> None:
    log = carried.root / "logs" / "1.txt"
    log.parent.mkdir()
    log.write_text("an earlier attempt\n")
    assert carried.run("t", command="echo hello")[1] == "an earlier attempt\nhello\n"


def test_an_earlier_log_that_takes_nothing_more_is_written_anew(carried: Any) -> None:
    carried.carrier.fails("append", error=ArmError(409, "Conflict", "This blob is sealed."))
    log = carried.root / "logs" / "1.txt"
    log.parent.mkdir()
    log.write_text("an earlier attempt\n")
    assert carried.run("t", command="echo hello")[1] == "an earlier attempt\nhello\n"


def test_an_append_whose_answer_is_lost_is_not_repeated(carried: Any) -> None:
    carried.carrier.fails("appended", times=2)
    assert carried.run("t", command="echo one; sleep 1.5; echo two")[1] == "one\ntwo\n"


def test_a_link_that_leads_out_is_not_stored(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it runs nor at its end."""
    monkeypatch.setattr(publish, "EVERY_S", 0.3)
    (carried.root / "secret").write_text("SECRET")
    secret = carried.root / "secret"
    command = f"ln -s '{secret}' outputs/x; ln -s '{carried.root}' outputs/d; echo y > outputs/y; sleep 1.5"
    state, _ = carried.run("t", command=command, artifacts=ref(carried.root / "run"))
    assert state.exit_code == 0
    assert carried.carrier.stored == [str(carried.root / "run" / "outputs" / "y")]


def test_a_large_file_is_stored_once_it_rests(carried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "EVERY_S", 0.3)
    monkeypatch.setattr(publish, "_GROWING_BYTES", 1000)
    monkeypatch.setattr(publish, "_SHARE", 1)
    command = "for i in $(seq 20); do head -c 1000 /dev/zero >> outputs/big; sleep 0.1; done; sleep 1.5; true"
    state, _ = carried.run("t", command=command, artifacts=ref(carried.root / "run"))
    assert state.exit_code == 0 and (carried.root / "run/outputs/big").stat().st_size == 20_000
    assert len(carried.carrier.stored) <= 3


def test_many_files_are_all_there(carried: Any) -> None:
    state, _ = carried.run(
        "t", command="for i in $(seq 500); do echo $i > outputs/$i; done", artifacts=ref(carried.root / "run")
    )
    assert state.exit_code == 0
    assert {one.name: one.read_text() for one in (carried.root / "run/outputs").iterdir()} == {
        str(index): f"{index}\n" for index in range(1, 501)
    }


def test_a_log_is_the_carriers_whatever_a_blob_is_called(carried: Any) -> None:
    task = carried.task("t", command="echo hi", log=Ref("files", "here", str(carried.root / "log ü #1.txt")))
    carried.engine.ensure(task)
    assert carried.changes.ended("t").exit_code == 0
    assert text(carried.root / "log ü #1.txt") == "hi\n"
