"""Steps that are parallel jobs: command jobs whose command is our driver (`jobs/parallel`).

https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-parallel
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from smalt.arm.errors import invalid
from smalt.arm.kind import Document
from smalt.kinds.jobs.parallel.settings import PARALLEL
from smalt.kinds.jobs.pipelines import command_step, overrides
from smalt.kinds.jobs.pipelines.bindings import document, items
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_type import Component, Node, StepType
from smalt.store.document import part

_SETTINGS = ("input_data", "mini_batch_size", "table_batch_size", "partition_keys", "max_concurrency_per_instance",
             "retry_settings", "error_threshold", "mini_batch_error_threshold", "logging_level")  # fmt: skip
_TASK = {"type": "taskType", "entry_script": "entryScript", "program_arguments": "programArguments",
         "append_row_to": "appendRowTo", "model": "model"}  # fmt: skip
_OBJECTS = ("task", "retry_settings")
_PORT = re.compile(r"\s*\$\{\{\s*(?:inputs|outputs)\.([\w.\-]+?)\s*\}\}\s*")
_SIZE = re.compile(r"(\d{1,15})\s*([kmg]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SPELLED = {
    f"{PARALLEL}.retrySettings.maxRetries": "retry_settings.max_retries",
    **{f"{PARALLEL}.{to_camel(key)}": key for key in _SETTINGS},
    **{f"{PARALLEL}.{name}": f"task.{key}" for key, name in _TASK.items()},
    "codeId": "task.code",
    "environmentId": "task.environment",
    "command": "task.program_arguments",
}


def _given(node: Node) -> Document:
    return overrides.given(node) | {key: node[key] for key in ("task", *_SETTINGS) if node.get(key) is not None}


def _said(given: Document, field: str) -> Document:
    """Raises ArmError(400)."""
    for key in _OBJECTS:
        if not isinstance(given.get(key, {}), dict):
            raise invalid(f"{field}.{key}: {str(given[key])[:80]!r} is no object.", f"{field}.{key}")
    found = overrides.settings({key: one for key, one in given.items() if key not in ("task", *_SETTINGS)})
    return {**found, PARALLEL: _settings(given, field), "task": document(given.get("task"))}


def _settings(spec: Mapping[str, Any], field: str = "") -> Document:
    """`parallel` of a job, from a component or a step. Raises ArmError(400) where either says what is none.

    `field`: the step's; empty: a component says it, and the job's own fields are named.
    """
    found: Document = {name: document(spec.get("task")).get(key) for key, name in _TASK.items()}
    found |= {to_camel(key): overrides.camel(spec.get(key)) for key in _SETTINGS}
    for name in ("inputData", "appendRowTo", "model"):
        if port := _PORT.fullmatch(str(found[name])):
            found[name] = port[1]
    for name in ("miniBatchSize", "tableBatchSize"):
        if size := _SIZE.fullmatch(str(found[name])):
            found[name] = int(size[1]) * _UNITS[size[2].lower()] or None
    retry = f"{field}.retry_settings" if field else f"properties.{PARALLEL}.retrySettings"
    if not isinstance(found["retrySettings"] or {}, dict):
        raise invalid(f"{retry}: {str(found['retrySettings'])[:80]!r} is no object.", retry)
    keys = f"{field}.partition_keys" if field else f"properties.{PARALLEL}.partitionKeys"
    found["partitionKeys"] = _keys(found["partitionKeys"], keys)
    return {key: one for key, one in found.items() if one is not None}


def _keys(given: Any, field: str) -> list[Any] | None:
    """A list, which clients write as JSON."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            given = [given]
    if given is not None and not isinstance(given, list):
        raise invalid(f"{field}: {str(given)[:80]!r} is no list of names.", field)
    return items(given) or None


def _job(component: Component, own: Document, settings: Settings) -> Document:
    """What the step says goes before its component; code and environment of that are those that were rehearsed."""
    spec, task, asked = component.spec, document(component.spec.get("task")), part(own, "task")
    parallel = {**_settings(spec), **part(own, PARALLEL)}
    parallel["retrySettings"] = {**part(_settings(spec), "retrySettings"), **part(part(own, PARALLEL), "retrySettings")}
    runs = parallel.get("entryScript") or parallel.get("taskType", "")
    command = f"{runs} {parallel.get('programArguments', '')}".strip()

    def used(key: str) -> Any:
        here = asked.get(key)
        return here if here and here != task.get(key) else spec.get(key) or task.get(key)

    base = {**spec, "command": command, "environment": used("environment"), "code": used("code")}
    rest = {key: one for key, one in own.items() if key not in ("task", PARALLEL)}
    return {**overrides.command(base, rest), PARALLEL: parallel, "jobType": "Command"}


def _work(properties: Document, ours: Document) -> Document:
    """How many nodes and processes did it, and what they wrote to their logs, makes no difference."""
    said = {**command_step.work(properties, ours), "nodes": None}
    kept = (
        "taskType",
        "entryScript",
        "programArguments",
        "inputData",
        "appendRowTo",
        "model",
        "miniBatchSize",
        "tableBatchSize",
        "partitionKeys",
        "retrySettings",
        "errorThreshold",
        "miniBatchErrorThreshold",
    )
    return {**said, PARALLEL: {key: part(properties, PARALLEL).get(key) for key in kept}}


TYPE = StepType(
    "parallel",
    component="parallel",
    job=_job,
    kept=("task", "resources", "environment_variables", "code", "environment", *_SETTINGS),
    given=_given,
    said=_said,
    work=_work,
    spelled=_SPELLED,
)
