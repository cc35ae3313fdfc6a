"""What a node of a parallel job runs: part of the messages between the server and the agents (`wire.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ParallelSpec:
    """The driver of a parallel job (`inject/parallel`) in place of a command.

    - `script`: a file of the task's code; empty: `model` is an MLflow model, and predicts. `arguments`: the script's,
      with the placeholders that a command may have.
    - `input`, `append_to`: names of the input that is split, and of the output that takes the rows (empty: none does).
    - `table`: how the input is a table (`inject/parallel/table.py`), whose paths name inputs by `input`; None: it is
      files.
    - `model`: the name of the input that is the model; empty: there is none.
    - `settings`: the rest of what the driver is told, as `inject/parallel/settings.py` has it.
    """

    script: str
    input: str
    arguments: str = ""
    append_to: str = ""
    table: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    model: str = ""
