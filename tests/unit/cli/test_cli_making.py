"""Programs wait for what they start with: until it is made, or until who makes it is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from smalt.cli import port_holder
from smalt.making import LOCK, making, wait_until_made

MAKES_AND_DIES = """
import os, pathlib, signal, sys
from smalt.making import making
with making(pathlib.Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def waiting(run: Path, said: list[str]) -> threading.Thread:
    def wait() -> None:
        wait_until_made(run)
        said.append("goes on")

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_program_goes_on_once_its_files_are_made(tmp_path: Path) -> None:
    said: list[str] = []
    with making(tmp_path):
        thread = waiting(tmp_path, said)
        said.append("made")
    thread.join(60)
    assert said == ["made", "goes on"]
    wait_until_made(tmp_path)  # one that is started again waits for nobody


def test_nobody_waits_for_one_that_was_killed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", MAKES_AND_DIES, tmp_path], check=False)
    wait_until_made(tmp_path)
    assert (tmp_path / LOCK).stat().st_mode & 0o077 == 0


def test_envoy_waits_for_the_same_lock(tmp_path: Path) -> None:
    """What stands between the holder and Envoy imports nothing of Smalt, and says the name itself."""
    envoy = port_holder.command(tmp_path, 0, [], "none", [sys.executable, "-c", "print('reads its files')"])
    with making(tmp_path):
        process = subprocess.Popen(envoy, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        before = process.poll()
    assert before is None and process.communicate(timeout=60)[0] == "reads its files\n"
