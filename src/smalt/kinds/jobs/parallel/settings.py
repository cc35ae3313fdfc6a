"""`parallel` of a command job: which input is split, how, and what may fail. All that can be wrong is said at once."""

from __future__ import annotations

import re

from pydantic import Field

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, nearest
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import distribution
from smalt.kinds.jobs.admission import Checks, Source
from smalt.store.document import part

PARALLEL = "parallel"  # in a job's properties
FIELD = f"properties.{PARALLEL}"
LEVELS = ("DEBUG", "INFO", "WARNING")
RUN_FUNCTION, MODEL = "run_function", "model"  # types of tasks: a script; an MLflow model, which needs none
_DATA = ("uri_file", "uri_folder", "mltable")
_TIMEOUT_MOST_S = 259_200
_COUNTS_MOST = 2**31 - 1
# Azure's options among the entry script's arguments, with the least and the most that each may be.
_OPTIONS: dict[str, tuple[float, float]] = {
    "error_threshold": (-1, _COUNTS_MOST),
    "allowed_failed_percent": (0, 100),
    "task_overhead_timeout": (1, _TIMEOUT_MOST_S),
    "progress_update_timeout": (1, _TIMEOUT_MOST_S),
    "first_task_creation_timeout": (1, _TIMEOUT_MOST_S),
    "resource_monitor_interval": (0, _COUNTS_MOST),
}
_FLAGS = ("copy_logs_to_parent", "append_row_dataframe_header")
_FILE_NAME = "append_row_file_name"


class RetrySettings(Properties):
    max_retries: int | None = Field(None, ge=0, le=_COUNTS_MOST)
    timeout: float | None = Field(None, gt=0, le=_TIMEOUT_MOST_S)


class ParallelSettings(Properties):
    """`mini_batch_size`: files, or bytes of a table that is read; of that `table_batch_size`, where it is given.

    `program_arguments` of the entry script.

    `model`: the input that is the model, whose folder the script finds in AZUREML_MODEL_DIR.
    """

    task_type: str | None = None
    entry_script: str | None = None
    model: str | None = None
    input_data: str = Field(min_length=1)
    program_arguments: str | None = None
    append_row_to: str | None = None
    mini_batch_size: int | None = Field(None, ge=0, le=2**62)
    table_batch_size: int | None = Field(None, ge=1, le=2**62)
    partition_keys: list[str] | None = None
    max_concurrency_per_instance: int | None = Field(None, ge=0, le=1000)
    retry_settings: RetrySettings | None = None
    error_threshold: int | None = Field(None, ge=-1, le=_COUNTS_MOST)
    mini_batch_error_threshold: int | None = Field(None, ge=-1, le=_COUNTS_MOST)
    logging_level: str | None = None


def check(
    platform: Platform,
    properties: Document,
    sources: dict[str, Source],
    code: Place | None,
    checks: Checks,
    elsewhere: bool,
) -> None:
    """What is wrong with `parallel` goes into `checks`. `sources` and `code`: what was found of the job's.

    `elsewhere`: its nodes are machines of their own.
    """
    said = part(properties, PARALLEL)
    if (task := task_type(said)) not in (RUN_FUNCTION, MODEL):
        message = f"{FIELD}.taskType: '{task}' cannot run on this version of the server yet; use {RUN_FUNCTION}."
        checks.errors.append(ArmError(400, "UnsupportedTask", message, f"{FIELD}.taskType"))
    checks.run(lambda: _check_input(properties, said, sources))
    checks.run(lambda: _check_output(properties, str(said.get("appendRowTo") or "")))
    checks.run(lambda: _check_model(properties, said, sources))
    if task != MODEL:
        checks.run(lambda: _check_script(platform, str(said.get("entryScript") or ""), properties, code))
    for name, value in options(str(said.get("programArguments") or "")):
        checks.run(lambda name=name, value=value: _check_option(name, value))
    level = said.get("loggingLevel")
    if level and str(level).upper() not in LEVELS:
        hint = nearest(str(level).upper(), LEVELS)
        message = f"{FIELD}.loggingLevel: '{level}' is none of {', '.join(LEVELS)}.{hint}"
        checks.errors.append(invalid(message, f"{FIELD}.loggingLevel"))
    if part(properties, "distribution").get("distributionType"):
        message = f"{FIELD}: a parallel job has no distribution; its nodes find each other."
        checks.errors.append(invalid(message, "properties.distribution"))
    if not elsewhere:
        checks.run(lambda: check_nodes(platform, distribution.node_count(properties)))


def task_type(said: Document) -> str:
    return str(said.get("taskType") or RUN_FUNCTION)


def check_nodes(platform: Platform, nodes: int) -> None:
    """Of this machine. Raises ArmError(400) where they would look for each other in vain."""
    if nodes > 1 and platform.engine.isolation().level == "network":
        field = "properties.resources.instanceCount"
        raise invalid(
            f"{field}: a parallel job on {nodes} nodes is asked for; with isolation 'network' no node reaches another."
            " Use one node with more processes (maxConcurrencyPerInstance), or have the platform started with another"
            " isolation.",
            field,
        )


def options(arguments: str) -> list[tuple[str, str]]:
    """Azure's options among the arguments, with their values as they are written."""
    known = "|".join((*_OPTIONS, *_FLAGS, _FILE_NAME))
    return re.findall(rf"(?:^|\s)--({known})(?:\s+|=)(\$\{{\{{.*?\}}\}}|\S+)", arguments)


def _check_option(name: str, value: str) -> None:
    field = f"{FIELD}.programArguments"
    if "${{" in value or "$[[" in value:
        return  # the driver sees what it is
    if name == _FILE_NAME:
        if not is_file_name(value):
            raise invalid(f"{field}: --{name} {value[:40]!r} is no name of a file.", field)
        return
    if name in _FLAGS:
        if value.lower() not in ("true", "false"):
            raise invalid(f"{field}: --{name} {value[:40]!r} is neither True nor False.", field)
        return
    least, most = _OPTIONS[name]
    try:
        number = float(value) if name == "allowed_failed_percent" else int(value)
    except ValueError:
        raise invalid(f"{field}: --{name} {value[:40]!r} is no number.", field) from None
    if not least <= number <= most:
        raise invalid(f"{field}: --{name} {value} is not from {least:g} to {most:g}.", field)


def _check_input(properties: Document, said: Document, sources: dict[str, Source]) -> None:
    name, field, inputs = str(said["inputData"]), f"{FIELD}.inputData", part(properties, "inputs")
    if name not in inputs:
        raise invalid(f"{field}: the job has no input '{name}'.{nearest(name, list(inputs))}", field)
    type_ = str(inputs[name].get("jobInputType"))
    if type_ not in _DATA:
        raise invalid(f"{field}: '{name}' is a {type_}; what is split is one of {', '.join(_DATA)}.", field)
    if said.get("partitionKeys") and type_ != "mltable":
        raise invalid(
            f"{FIELD}.partitionKeys: '{name}' is a {type_}; its files say no keys. Give an mltable whose paths do"
            " (extract_columns_from_partition_format).",
            f"{FIELD}.partitionKeys",
        )
    source = sources.get(name)
    if type_ == "mltable" and source is not None and not source.place.account:
        raise invalid(f"{field}: the table '{name}' is elsewhere ({source.uri[:200]}); copy it to a datastore.", field)


def is_file_name(name: str) -> bool:
    return bool(re.fullmatch(r"[\w\-.]{1,200}", name)) and name.strip(".") != ""


def _check_model(properties: Document, said: Document, sources: dict[str, Source]) -> None:
    name, field, inputs = str(said.get("model") or ""), f"{FIELD}.model", part(properties, "inputs")
    if not name and task_type(said) == MODEL:
        raise invalid(f"{field} is missing: the input that is the model.", field)
    if name and name not in inputs:
        raise invalid(f"{field}: the job has no input '{name}'.{nearest(name, list(inputs))}", field)
    source = sources.get(name)
    if source is not None and not source.place.account:
        raise invalid(
            f"{field}: the model is at {source.uri[:200]}, outside of this platform; register it from a local folder or"
            " a datastore.",
            field,
        )


def _check_output(properties: Document, name: str) -> None:
    field, outputs = f"{FIELD}.appendRowTo", part(properties, "outputs")
    if name and name not in outputs:
        raise invalid(f"{field}: the job has no output '{name}'.{nearest(name, list(outputs))}", field)


def _check_script(platform: Platform, script: str, properties: Document, code: Place | None) -> None:
    field, parts = f"{FIELD}.entryScript", [one for one in script.split("/") if one not in ("", ".")]
    if not parts:
        raise invalid(f"{field} is missing: the file with run(mini_batch).", field)
    if script.startswith("/") or ".." in parts or "\0" in script:
        raise invalid(f"{field}: '{script[:200]}' is no file below the job's code.", field)
    if not properties.get("codeId"):
        raise invalid(f"{field}: the job has no code, in which '{script[:200]}' would be.", field)
    if code is None or not code.account:
        return
    folder = code.path.rstrip("/")
    file = "/".join((folder, *parts) if folder else parts)
    if not platform.blobs.exists(code.account, code.container, file) and folder.rsplit("/")[-1] != script:
        raise invalid(f"{field}: the job's code has no file '{script[:200]}'.", field)
