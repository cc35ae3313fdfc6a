"""A notebook's code cells, run in order as a reader would run them, in a process of their own.

Run as a program with the notebook's path. IPython gives `%%writefile`, `!command` and the rest their own meaning, but
`%pip` and `az` lines are passed over (the interpreter has the packages, the environment the login). Where a cell leaves
a job running that the next ones build on, its end is awaited, as the text between the cells asks the reader to.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

_PASSED_OVER = re.compile(r"^\s*(?:%pip|!pip|!az|%conda|%load_ext|%env)\b.*$", re.MULTILINE)
_SHOWN = 400


class CellFailed(Exception):
    """Names the cell and its error."""


def run_notebook(path: Path, timeout_s: float) -> str:
    """Run in a process of its own with the notebook's folder as working directory; returns the end of its output."""
    program = [sys.executable, "-m", "compatibility.notebooks", path.name]
    environment_path = str(Path(__file__).parent.parent)
    done = subprocess.run(
        program,
        cwd=path.parent,
        env={**_environment(), "PYTHONPATH": environment_path},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.startswith("CELL ")]
        raise CellFailed(last[-1] if last else f"exit code {done.returncode}: {done.stderr[-_SHOWN:]}")
    return done.stdout[-2000:]
