"""The user's entry script: its `init`, `run` and `shutdown`, and what it can import of Azure's beside them."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

_MODULE = "azureml_user.parallel_run"


class BadScript(Exception):
    """The script is not there, or has no `run`."""


@dataclass(frozen=True)
class MiniBatchContext:
    """What a `run` that takes two arguments is given as the second."""

    minibatch_index: int
    partition_key_value: dict[str, str] = field(default_factory=dict)


class EntryScript:
    """`azureml_user.parallel_run.EntryScript`: there is one in a process, whoever makes it.

    `agent_name`: of this process, `processNNN`. `log_dir`: a folder of its node in the job's logs. `output_dir`: the
    folder of the job's output. `working_dir`: where the script runs.
    """

    _known: EntryScript | None = None
    agent_name = ""
    log_dir = ""
    output_dir = ""
    working_dir = ""
    logger: logging.Logger = logging.getLogger("azureml_user.entry_script")

    def __new__(cls) -> EntryScript:
        if cls._known is None:
            cls._known = super().__new__(cls)
        return cls._known


def install(name: str, log_dir: str, output_dir: str, level: str) -> EntryScript:
    """Make `azureml_user.parallel_run` importable. The logger's file appears with its first line."""
    parent, module = types.ModuleType(_MODULE.partition(".")[0]), types.ModuleType(_MODULE)
    parent.__path__ = []
    parent.parallel_run = module  # type: ignore[attr-defined]
    module.EntryScript = EntryScript  # type: ignore[attr-defined]
    sys.modules.update({parent.__name__: parent, _MODULE: module})
    script = EntryScript()
    script.agent_name, script.log_dir, script.output_dir, script.working_dir = (
        name,
        log_dir,
        output_dir,
        str(Path.cwd()),
    )
    Path(log_dir).mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(Path(log_dir, f"{name}.log.txt"), delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s|%(levelname)s|%(process)d|%(message)s"))
    script.logger.addHandler(handler)
    script.logger.setLevel(level)
    script.logger.propagate = False
    return script


@dataclass(frozen=True)
class Script:
    """`run` takes the mini-batch and, where it has room for two, its context."""

    init: Callable[[], Any]
    run: Callable[[Any, MiniBatchContext], Any]
    shutdown: Callable[[], Any]


def load(path: str) -> Script:
    """Raises BadScript, and whatever the script itself raises."""
    if not Path(path).is_file():
        raise BadScript(f"The entry script {path} is not in the job's code.")
    sys.path[:0] = [one for one in (str(Path(path).resolve().parent), str(Path.cwd())) if one not in sys.path]
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadScript(f"The entry script {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that what it defines can be pickled
    spec.loader.exec_module(module)
    run = getattr(module, "run", None)
    if not callable(run):
        raise BadScript(f"The entry script {path} has no function run(mini_batch).")
    return Script(getattr(module, "init", _nothing), _of_two(run), getattr(module, "shutdown", _nothing))


def _nothing() -> None:
    pass


def _of_two(run: Callable[..., Any]) -> Callable[[Any, MiniBatchContext], Any]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        taken = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        taken = []
    plain = [one for one in taken if one.kind in kinds]
    if len(plain) > 1 or any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in taken):
        return run
    return lambda mini_batch, context: run(mini_batch)
