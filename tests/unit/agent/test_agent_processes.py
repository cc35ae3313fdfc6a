"""How a command is started: in its control groups before it runs, or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from smalt.agent import processes
from smalt.agent.processes import Brood, Command, StartError, kill_and_wait


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


def test_what_was_killed_stands_nowhere_any_more(tmp_path: Path) -> None:
    """The kernel needs a while for its memory, in which it still has a folder."""
    large = [sys.executable, "-c", "held = b'x' * (200 << 20); print(1, flush=True); input()"]
    with subprocess.Popen(large, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        process = psutil.Process(child.pid)
        assert process.cwd() == str(tmp_path)
        assert kill_and_wait([child.pid, 2**22 + 1]) == 1
        with pytest.raises((psutil.Error, FileNotFoundError)):
            process.cwd()


def test_more_are_killed_than_there_may_be_files(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, open_one = list[int](), os.pidfd_open

    def pidfd_open(pid: int) -> int:
        opened.append(pid)
        if len(opened) in (2, 3):
            raise OSError(errno.EMFILE, "Too many open files")
        return open_one(pid)

    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    assert kill_and_wait([*(child.pid for child in children), 2**22 + 1]) == 3
    assert [child.poll() for child in children] == [-signal.SIGKILL] * 3
