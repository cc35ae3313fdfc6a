"""What a driver is told: one JSON document, written by the node's agent, and the options among the script's arguments.

The options are Azure's, of which the script sees all: it reads its own with `parse_known_args`.
https://learn.microsoft.com/azure/machine-learning/how-to-use-parallel-job-in-pipeline
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Sequence

FILES_A_BATCH, BYTES_A_BATCH = 10, 1 << 20


@dataclass(frozen=True)
class Settings:
    """One node's driver.

    - `script`: the entry script, below the working directory; empty: `model` is an MLflow model, and predicts.
      `arguments`: the script's `sys.argv[1:]`. `model`: the folder or file of the model; empty: there is none.
    - `input`: the file or folder that is split; `table`: how it is a table (`table.py`), None: it is files.
      `size`: files or bytes of a mini-batch, 0: Azure's default; `keys`: they are split by these instead.
    - `append_to`: the file that receives the rows of all results; empty: nothing is kept of them.
    - `outputs`: by name. `logs`: the job's folder of logs.
    - `rank` of `nodes`, with `slots` worker processes each; they meet at `meet` (HOST:PORT) and know `secret`.
    - `retries` and `timeout_s` of one mini-batch; `item_errors`, `batch_errors`: so many may fail, -1: any number;
      `failed_percent`: of the mini-batches.
    - `ready_s`: what a worker may take until its `init` is over; `overhead_s`: to read a mini-batch of a table;
      `idle_s`: what may pass without a result, 0: anything.
    - `header`: a table's results begin with the names of their columns. `level`: of the logger.
    """

    script: str
    input: str
    logs: str
    arguments: tuple[str, ...] = ()
    table: dict[str, Any] | None = None
    size: int = 0
    keys: tuple[str, ...] = ()
    append_to: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    rank: int = 0
    nodes: int = 1
    slots: int = 1
    meet: str = ""
    secret: str = ""
    retries: int = 2
    timeout_s: float = 60
    item_errors: int = -1
    batch_errors: int = -1
    failed_percent: float = 100
    ready_s: float = 600
    overhead_s: float = 600
    idle_s: float = 0
    header: bool = False
    level: str = "INFO"
    model: str = ""

    @classmethod
    def read(cls, path: str) -> Settings:
        """Raises OSError, ValueError."""
        return cls.of(json.loads(Path(path).read_text()))

    @classmethod
    def of(cls, said: dict[str, Any]) -> Settings:
        known = {one.name for one in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if key in ("arguments", "keys") else value for key, value in said.items()
        }
        return _with_options(cls(**{key: value for key, value in values.items() if key in known}))


def options(arguments: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value` among the arguments."""
    found: dict[str, str] = {}
    for at, one in enumerate(arguments):
        name, equals, value = one.partition("=")
        if not name.startswith("--"):
            continue
        if equals:
            found[name[2:]] = value
        elif at + 1 < len(arguments) and (number(arguments[at + 1]) or not arguments[at + 1].startswith("-")):
            found[name[2:]] = arguments[at + 1]
    return found


def number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_options(settings: Settings) -> Settings:
    """Raises ValueError."""
    said = options(settings.arguments)
    if "error_threshold" in said:
        settings = replace(settings, item_errors=int(said["error_threshold"]))
    if "allowed_failed_percent" in said:
        settings = replace(settings, failed_percent=float(said["allowed_failed_percent"]))
    if "first_task_creation_timeout" in said:
        settings = replace(settings, ready_s=float(said["first_task_creation_timeout"]))
    if "task_overhead_timeout" in said:
        settings = replace(settings, overhead_s=float(said["task_overhead_timeout"]))
    if "progress_update_timeout" in said:
        settings = replace(settings, idle_s=float(said["progress_update_timeout"]))
    if "append_row_dataframe_header" in said:
        settings = replace(settings, header=said["append_row_dataframe_header"].lower() == "true")
    return settings
