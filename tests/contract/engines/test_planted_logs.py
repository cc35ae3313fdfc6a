"""A job that writes to the artifacts of another, or its own, puts something else in place of a log: nothing follows it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.refs import ref
from live.files import text_of
from live.patience import PATIENCE_S
from live.platform import eventually
from smalt.agent.wire import InputSpec, Outcome, Phase, TaskSpec
from smalt.engines.local.carry.mirror import Mirror

SECRET = "the secret of another\n"
PLANTS = ["link", "link to nothing", "fifo", "hard link", "folder", "link above"]


class Outside:
    """What must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "outside"
        self.folder.mkdir()
        self.file = self.folder / "std_log.txt"
        self.file.write_text(SECRET)

    def plant(self, how: str, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        if how == "link":
            log.symlink_to(self.file)
        elif how == "link to nothing":
            log.symlink_to(self.folder / "made")
        elif how == "fifo":
            os.mkfifo(log)
        elif how == "hard link":
            log.hardlink_to(self.file)
        elif how == "folder":
            log.mkdir()
        else:
            shutil.rmtree(log.parent)
            log.parent.symlink_to(self.folder)

    def is_untouched(self) -> bool:
        return list(self.folder.iterdir()) == [self.file] and self.file.read_text() == SECRET


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    made = Outside(tmp_path)
    yield made
    assert made.is_untouched()


@pytest.fixture
def folder_store(local: Any) -> Any:
    (local.root / "blobs").mkdir()
    local.reopen(store=local.root / "blobs")
    return local


def task_of(harness: Any, command: str, **values: Any) -> TaskSpec:
    run = harness.root / "blobs" / "run"
    logs = {"log": ref(run / "user_logs" / "std_log.txt"), "system_log": ref(run / "system_logs" / "std_log.txt")}
    return harness.task("t", command=command, artifacts=ref(run), **{**logs, **values})


def gated(harness: Any, then: str) -> str:
    os.mkfifo(harness.root / "go")
    return f"echo mine; read x < '{harness.root}/go'; {then}"


def go(harness: Any) -> None:
    (harness.root / "go").write_text("\n")


@pytest.mark.parametrize("how", PLANTS)
def test_a_log_that_is_no_plain_file_fails_the_task_before_its_command(
    folder_store: Any, outside: Outside, how: str
) -> None:
    task = task_of(folder_store, f"touch {folder_store.root}/ran")
    outside.plant(how, Path(task.log.name))
    folder_store.engine.ensure(task)
    state = folder_store.changes.ended("t")
    assert state.outcome is Outcome.SETUP and state.error.startswith("Preparing failed: "), state
    assert not (folder_store.root / "ran").exists()


@pytest.mark.parametrize("how", PLANTS)
def test_a_task_keeps_its_system_log_where_it_can(folder_store: Any, outside: Outside, how: str) -> None:
    task = task_of(folder_store, "echo mine")
    outside.plant(how, Path(task.system_log.name))
    folder_store.engine.ensure(task)
    assert folder_store.changes.ended("t").exit_code == 0
    said = (folder_store.folder("t") / "system.log").read_text()
    assert "the system log is kept here" in said and "command ended: exited, exit code 0" in said


@pytest.mark.parametrize("how", PLANTS)
def test_the_end_of_a_log_is_of_what_the_command_said(folder_store: Any, outside: Outside, how: str) -> None:
    task = task_of(folder_store, gated(folder_store, "echo last words; exit 3"))
    folder_store.engine.ensure(task)
    folder_store.changes.running("t")
    for log in (task.log, task.system_log):
        outside.plant(how, Path(log.name))
    go(folder_store)
    state = folder_store.changes.ended("t")
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 3)
    assert state.error.endswith("mine\nlast words")


@pytest.mark.parametrize("how", PLANTS)
def test_a_warden_follows_nothing(folder_store: Any, outside: Outside, how: str) -> None:
    """The agent is stopped first, so that it cannot have read what its warden then finds."""
    root = folder_store.root
    task = task_of(folder_store, gated(folder_store, f"echo last words; touch {root}/said; sleep 600"))
    folder_store.engine.ensure(task)
    state = folder_store.changes.running("t")
    os.kill(state.agent_pid, signal.SIGSTOP)
    go(folder_store)
    eventually(lambda: (root / "said").exists(), "the last words")
    outside.plant(how, Path(task.log.name))
    os.kill(state.agent_pid, signal.SIGKILL)
    assert folder_store.changes.ended("t").outcome is Outcome.LOST


def test_the_log_of_a_build_has_two_names(folder_store: Any, tmp_path: Path) -> None:
    """It is among the logs of the job that waits for it; a build has no artifacts."""
    log, shown = tmp_path / "blobs" / "build.txt", tmp_path / "blobs" / "shown.txt"
    log.touch()
    shown.hardlink_to(log)
    folder_store.engine.ensure(folder_store.task("t", command="echo built", log=ref(log), system_log=None))
    assert folder_store.changes.ended("t").exit_code == 0
    assert shown.read_text() == "built\n"


@pytest.mark.parametrize("how", [one for one in PLANTS if one != "hard link"])
def test_what_is_put_in_place_of_a_log_is_not_stored(carried: Any, outside: Outside, how: str) -> None:
    """A hard link is a plain file. A job can make one of what its own mount shows only, which it may read and write."""
    task = task_of(carried, gated(carried, "exit 3"))
    carried.engine.ensure(task)
    carried.changes.running("t")
    stored = Path(task.log.name)
    eventually(lambda: stored.exists() and stored.read_text() == "mine\n", "its first line in the store")
    for log in (task.log, task.system_log):
        outside.plant(how, Mirror(carried.folder("t")).path_of(log))
    go(carried)
    state = carried.changes.ended("t")
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 3)
    assert stored.read_text() == "mine\n"
    assert SECRET not in text_of(Path(task.system_log.name))  # of which nothing may have been stored before


@pytest.mark.parametrize("how", PLANTS)
def test_a_log_that_is_planted_while_its_task_waits(carried: Any, outside: Outside, how: str) -> None:
    (carried.root / "in").write_text("x")
    task = task_of(
        carried, f"touch {carried.root}/ran", inputs=[InputSpec("i", type="uri_file", source=ref(carried.root / "in"))]
    )
    hanging = carried.carrier.hangs("fetch")
    carried.engine.ensure(task)
    assert hanging.wait(PATIENCE_S)
    outside.plant(how, Mirror(carried.folder("t")).path_of(task.log))
    carried.carrier.heal()
    state = carried.changes.ended("t")
    assert state.outcome is Outcome.SETUP and state.error.startswith("Preparing failed: "), state
    assert not (carried.root / "ran").exists()


@pytest.mark.parametrize("how", PLANTS)
def test_a_server_that_is_started_again_goes_on_without_a_planted_system_log(
    carried: Any, outside: Outside, how: str
) -> None:
    task = task_of(carried, gated(carried, "exit 0"))
    carried.engine.ensure(task)
    carried.changes.running("t")
    carried.engine.close()
    outside.plant(how, Mirror(carried.folder("t")).path_of(task.system_log))
    carried.reopen()
    assert carried.engine.observe("t").phase is Phase.RUNNING
    go(carried)
    assert carried.changes.ended("t").exit_code == 0
    assert "the system log is kept here" in (carried.folder("t") / "system.log").read_text()
    assert Path(task.log.name).read_text() == "mine\n"
