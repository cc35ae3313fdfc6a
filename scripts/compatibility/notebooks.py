"""A notebook's code cells, run in order as a reader would run them.

IPython gives `%%writefile`, `!command` and the rest their own meaning, but `%pip` and `az` lines are passed over (the
interpreter has the packages, the environment the login). A job that a cell leaves running is awaited before the next
cell, as the text between the cells asks the reader to. Must be called in a process of its own: it changes the working
folder and never ends its shell.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from azure.ai.ml import MLClient
from azure.ai.ml.entities import Job
from IPython.core.interactiveshell import InteractiveShell

_PASSED_OVER = re.compile(r"^\s*(?:%pip|!\s*pip|!\s*az|%conda)\b.*$", re.MULTILINE)
_SECRETS = ("ACR_USERNAME", "ACR_PASSWORD", "GIT_PAT", "PYTHON_FEED_SAS")  # upstream's workflow gives them
_ENDED = {"Completed", "Failed", "Canceled"}


class JobFailed(Exception):
    """A job that a cell started did not complete."""


class CommandFailed(Exception):
    """A `!command` of a cell ended with an error, over which a notebook goes on."""


def run_notebook(client: MLClient, path: Path) -> None:
    """Raises what the first failing cell raises, with its number as a note."""
    os.chdir(path.parent)
    sys.path.insert(0, str(path.parent))  # as in a notebook's kernel
    os.environ["MPLBACKEND"] = "Agg"
    os.environ.update(dict.fromkeys(_SECRETS, "example"))
    # A compute instance, where these notebooks are at home, has it set.
    os.environ["MLFLOW_TRACKING_URI"] = client.workspaces.get(client.workspace_name).mlflow_tracking_uri
    shell = InteractiveShell.instance(colors="NoColor")
    for number, source in enumerate(_code_cells(path), start=1):
        print(f"--- cell {number}", flush=True)
        result = shell.run_cell(source, store_history=True)
        if (error := result.error_before_exec or result.error_in_exec) is not None:
            error.add_note(f"cell {number}")
            raise error
        if code := shell.user_ns.pop("_exit_code", 0):
            raise CommandFailed(f"the command of cell {number} ended with {code}")
        _await_job(client, result.result, number)


def _code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [_PASSED_OVER.sub("pass", source) for source in sources]


def _await_job(client: MLClient, value: Any, number: int) -> None:
    if not isinstance(value, Job) or value.name is None or value.status in _ENDED:
        return
    client.jobs.stream(value.name)
    status = client.jobs.get(value.name).status
    if status != "Completed":
        raise JobFailed(f"the job {value.name} of cell {number} is {status}")
