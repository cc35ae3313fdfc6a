"""Copies of a program are as those that are started: each its own arguments, output, exit code and memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from live.forked import Forked
from live.patience import PATIENCE_S

PROGRAM = """
import json, os, sys
import heavy
heavy.used.append(1)
print(json.dumps([sys.argv[1:], __name__, os.environ["WHO"], len(heavy.used), sys.stdin.read()]))
print("told", file=sys.stderr)
sys.exit(len(sys.argv) - 1)
"""


def test_copies_are_as_those_that_are_started(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("used = []\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    variables = {**os.environ, "PYTHONPATH": str(tmp_path), "WHO": "ada"}
    with Forked(
        Path(sys.executable), "program", "import heavy; print('no answer')", variables, patience_s=PATIENCE_S
    ) as copies:
        for arguments in ((), ("a", "b"), ("c",)):
            done = copies.run(*arguments)
            words = ", ".join(f'"{one}"' for one in arguments)
            assert done.stdout == f'[[{words}], "__main__", "ada", 1, ""]\n'
            assert (done.returncode, done.stderr) == (len(arguments), "told\n")


def test_one_that_hangs_ends_with_all_and_its_answer_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import signal\nsignal.pause()\n")
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with Forked(Path(sys.executable), "program", "", variables, patience_s=0.2) as copies:
        with pytest.raises(AssertionError, match=r"has not ended within 0\.2 s"):
            copies.run()
        with pytest.raises((AssertionError, BrokenPipeError)):
            copies.run()
