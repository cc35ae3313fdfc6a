"""How a command is started: in its control groups before it runs, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from smalt.agent import processes
from smalt.agent.processes import Brood, Command, StartError


def command(folder: Path, group: Path) -> Command:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return Command(["touch", "ran"], {"PATH": os.environ["PATH"]}, str(folder), log, [str(group)])


def test_a_command_is_put_into_its_groups_before_it_runs(tmp_path: Path) -> None:
    brood, group = Brood(), tmp_path / "cgroup.procs"
    brood.start(command(tmp_path, group))
    assert group.read_text() == str(brood.main)
    while brood.status is None:
        brood.reap(block=True)
    assert brood.status == 0 and (tmp_path / "ran").exists()


def test_a_command_that_its_group_refuses_does_not_run(tmp_path: Path) -> None:
    brood = Brood()
    with pytest.raises(
        StartError, match=r"'touch' could not be started: No such file or directory .*gone/cgroup.procs"
    ):
        brood.start(command(tmp_path, tmp_path / "gone" / "cgroup.procs"))
    assert brood.main == 0 and not (tmp_path / "ran").exists()


def test_walls_that_fail_while_the_group_is_slow_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(_: str) -> Callable[[], None]:
        raise OSError(errno.ENOSPC, "no namespaces left")

    def slow(_: list[str], pid: int) -> str:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # the child has ended meanwhile
        return ""

    monkeypatch.setattr(processes, "_put_into", slow)
    with pytest.raises(StartError, match="no namespaces left"):
        Brood().start(replace(command(tmp_path, tmp_path / "cgroup.procs"), enter=enter))
