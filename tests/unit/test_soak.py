"""The soak fails where nothing was tried, where nothing was told, and where something was mended by the test itself."""

from __future__ import annotations

import os
import random
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from live import soak
from live.servers import Servers
from live.soak import Soak, Victim
from live.soak_checks import Feed
from live.soak_jobs import CANCELED, LEFT_ALONE, LOST, PIPELINE, QUICK, Job, Tally

JOB = Job("s1-0", QUICK, LEFT_ALONE, after_s=0, pause_s=1, seed=1)


class Told:
    """A server whose feed tells of these jobs that each was made and ended."""

    def __init__(self, *jobs: str) -> None:
        self._jobs = jobs

    def get(self, path: str) -> dict[str, Any]:
        end = {"what": "state", "from": "Running", "to": "Completed"}
        told = [{"resourceId": f"/jobs/{name}", **one} for name in self._jobs for one in ({"what": "created"}, end)]
        return {"cursor": "9", "value": [{"cursor": str(at), **one} for at, one in enumerate(told)]}


class Machine:
    """A server that is a process here; a supervisor that starts another where it `restarts`."""

    def __init__(self, root: Path, restarts: bool = True) -> None:
        self.root, self._restarts = root, restarts
        self.process = self._start()
        self.gone = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"])

    def pid(self, name: str) -> int:
        if self._restarts and self.process.poll() is not None:
            self.gone += 1
            self.process = self._start()
        return self.process.pid

    def restarted(self, name: str, before: int) -> int:
        self.process.wait(10)
        assert self.pid(name) != before, f"waited for {name} again"
        return self.process.pid

    def wait_until_it_answers(self) -> None: ...

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def servers(*all_: Any) -> Servers:
    return cast("Servers", SimpleNamespace(all=all_))


def tried(**more: Any) -> Soak:
    """One in which all that there was to do was done."""
    done: dict[str, Any] = {"kills": 2, "asked_in": {"c": "Running"}, "seen": {"l"}, "lost": {}}
    return Soak(servers(None, None), 1, 3, 0, **{**done, **more})


class TestTheFeed:
    def test_it_tells_of_each_job_that_was_submitted(self) -> None:
        there = servers(Told("a", "b"))
        assert Feed(there.all[0]).check(there, ["a", "b"], {}) == ["a", "b"]
        with pytest.raises(AssertionError, match=r"does not tell: \[.c.\]"):
            Feed(there.all[0]).check(there, ["a", "c"], {})
        with pytest.raises(AssertionError, match="does not tell"):
            Feed(there.all[0]).check(servers(Told()), ["a"], {})


class TestKills:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(soak, "time", SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic))  # pyright: ignore[reportUnknownLambdaType]

    def test_each_server_is_killed(self, tmp_path: Path) -> None:
        machines = [Machine(tmp_path) for _ in range(3)]
        made = Soak(servers(*machines), 1, 3, kill_s=0)
        try:
            made._kill_in_turn(random.Random(1), time.monotonic())  # pyright: ignore[reportPrivateUsage]
        finally:
            for one in machines:
                one.end()
        assert made.kills == 3 and [one.gone for one in machines] == [1, 1, 1]

    def test_a_server_that_does_not_come_back_is_no_kill_that_went_well(self, tmp_path: Path) -> None:
        machine = Machine(tmp_path, restarts=False)
        try:
            with pytest.raises(AssertionError, match="server again"):
                Soak(servers(machine), 1, 3, 0)._kill_in_turn(random.Random(1), time.monotonic())  # pyright: ignore[reportPrivateUsage]
        finally:
            machine.end()


class TestWhatWasTried:
    JOBS = (replace(JOB, name="l", fate=LOST), replace(JOB, name="c", fate=CANCELED), JOB)

    def test_all(self) -> None:
        tried().check_all_was_tried(self.JOBS)

    @pytest.mark.parametrize(
        ("more", "words"),
        [({"kills": 1}, "1 kills"), ({"seen": set()}, "no agent was found"), ({"asked_in": {}}, "were canceled")],
    )
    def test_nothing_of_a_sort(self, more: dict[str, Any], words: str) -> None:
        with pytest.raises(AssertionError, match=words):
            tried(**more).check_all_was_tried(self.JOBS)

    def test_of_many_some_come_in_time(self) -> None:
        doomed = [replace(JOB, name=f"l{number}", fate=LOST) for number in range(4)]
        with pytest.raises(AssertionError, match="no agent was killed"):
            tried(asked_in={}).check_all_was_tried(doomed)
        canceled = [replace(JOB, name=f"c{number}", fate=CANCELED) for number in range(4)]
        late = tried(asked_in={one.name: "Completed" for one in canceled})
        with pytest.raises(AssertionError, match="had ended before"):
            late.check_all_was_tried(canceled)


def test_a_file_of_an_agent_that_is_not_as_we_read_it_is_told(tmp_path: Path) -> None:
    task = tmp_path / "tasks" / "job-1"
    task.mkdir(parents=True)
    task.joinpath("task.json").write_text("{}")
    machine = SimpleNamespace(root=tmp_path, agents=lambda: {"job-1": {"phase": "running", "agent_pid": os.getpid()}})
    with pytest.raises(KeyError, match="variables"):
        Soak(servers(machine), 1, 3, 0)._agents(JOB)  # pyright: ignore[reportPrivateUsage]
    task.joinpath("task.json").write_text(
        '{"variables": {"AZUREML_RUN_ID": "s1-0", "AZUREML_ROOT_RUN_ID": "s1-0"}, "parallel": null}'
    )
    assert Soak(servers(machine), 1, 3, 0)._agents(JOB) == [Victim("s1-0", os.getpid(), "")]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("error", "is_right"),
    [
        ("Step 'first' (job step-1): The agent of this task vanished (killed?).", True),
        ("Step 'last' (job step-2): The agent of this task vanished (killed?).", False),
        ("Step 'first' (job step-1): The environment is gone.", False),
    ],
)
def test_a_pipeline_that_lost_an_agent_says_so(tmp_path: Path, error: str, is_right: bool) -> None:
    there = cast("Servers", SimpleNamespace(all=(), container=tmp_path))
    made = Soak(there, 1, 3, 0, lost={"s1-0": Victim("step-1", 1, "")})
    job = replace(JOB, sort=PIPELINE, fate=LOST)
    wrong = made._why(job, "Failed", error, Tally(there, job))  # pyright: ignore[reportPrivateUsage]
    assert (wrong == "") == is_right
