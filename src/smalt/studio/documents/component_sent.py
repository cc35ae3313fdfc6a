"""From a component's YAML to what the API takes: of commands, pipelines and parallel steps. Others are sent by `az`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents.fields import DATA_TYPES, MODES, Sent, mapping, resources, text, texts, unknown
from smalt.studio.documents.pipeline_sent import steps
from smalt.studio.documents.runs import RUNS, code_id, environment_id, runs
from smalt.studio.documents.written import Faulty, Path

EXAMPLE = """$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: train
display_name: Train a model
inputs:
  data:
    type: uri_folder
  rate:
    type: number
    default: 0.1
outputs:
  model:
    type: uri_folder
command: echo ${{inputs.data}} --rate ${{inputs.rate}} --out ${{outputs.model}}
environment: azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest
"""
MAPPING = "A component is a mapping, as 'command: python train.py' in one of its lines."
_VALUES = ("string", "number", "integer", "boolean", "enum")
_KNOWN = ("$schema", "type", "name", "version", "display_name", "description", "tags", "is_deterministic", "inputs",
          "outputs")  # fmt: skip
_SIZES = ("mini_batch_size", "input_data", "logging_level")
_OF_TYPE = {
    "command": RUNS,
    "pipeline": ("jobs",),
    "parallel": (*_SIZES, "task", "partition_keys", "max_concurrency_per_instance", "retry_settings",
                 "error_threshold", "mini_batch_error_threshold", "resources"),
}  # fmt: skip
_OF_TASK = ("type", "code", "entry_script", "program_arguments", "model", "append_row_to", "environment")
_OF_INPUT = ("type", "description", "optional", "default", "min", "max", "enum", "mode")
_OF_OUTPUT = ("type", "description", "mode")


def sent(document: Document, code: str = "") -> Sent:
    """`properties`: of its version. `code`: as of `job_sent.sent`. Raises Faulty."""
    found = Sent()
    kind = str(document.get("type") or "command")
    if kind not in _OF_TYPE:
        found.wrong(("type",), _other(kind))
        raise Faulty(found.faults)
    known = (*_KNOWN, *_OF_TYPE[kind])
    unknown(found, document, known, ())
    for name in ("name", "version", "display_name", "description"):
        text(found, document, name, needed=name == "name")
    tags = texts(found, document, "tags")
    own = {"command": _command, "pipeline": _pipeline, "parallel": _parallel}[kind](found, document, code)
    for what, of in (("inputs", _OF_INPUT), ("outputs", _OF_OUTPUT)):
        for name, port in mapping(found, document, what).items():
            _port(found, port, of, (what, name))
    if found.faults:
        raise Faulty(found.faults)
    plain = {name: document[name] for name in known if document.get(name) not in (None, {}, "")}
    spec: Document = {**plain, "type": kind, **own}
    found.properties = {"componentSpec": spec, "tags": tags, "description": str(document.get("description") or "")}
    return found


def _other(kind: str) -> str:
    if kind == "sweep":
        return "there are no components of type 'sweep': a sweep is a job or a step, and its trial is a component."
    return f"components of type '{kind}' cannot be made here: send the file by 'az ml component create -f'."


def _command(found: Sent, document: Document, code: str) -> Document:
    run = runs(found, document, code)
    own: Document = {"environment": run.get("environmentId", "")}
    return {**own, "code": run["codeId"]} if run.get("codeId") else own


def _pipeline(found: Sent, document: Document, code: str) -> Document:
    return {"jobs": steps(found, document, code)}


def _parallel(found: Sent, document: Document, code: str) -> Document:
    """https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-parallel"""
    task, path = mapping(found, document, "task"), ("task",)
    unknown(found, task, _OF_TASK, path)
    resources(found, document)
    if (kind := text(found, task, "type", path) or "run_function") != "model":
        text(found, task, "entry_script", path, needed=True)
    own: Document = {**task, "type": kind, "environment": environment_id(found, task, path)}
    if place := code_id(found, task, code, path):
        own["code"] = place
    sizes = {name: said for name in _SIZES if (said := text(found, document, name, needed=name == "input_data"))}
    keys = document.get("partition_keys")
    return {**sizes, "task": own, **({"partition_keys": json.dumps(keys)} if keys else {})}  # as clients send them


def sdk_code() -> str:
    return (
        "from azure.ai.ml import MLClient, load_component\n"
        "from azure.identity import DefaultAzureCredential\n\n"
        "ml_client = MLClient.from_config(DefaultAzureCredential())  # config.json is on the page Connect\n\n"
        'component = load_component("component.yml")  # the YAML beside this\n'
        "ml_client.components.create_or_update(component)\n"
    )


def _port(found: Sent, given: Any, known: tuple[str, ...], path: Path) -> None:
    if not isinstance(given, dict):
        found.wrong(path, "this is a mapping, such as {type: uri_folder}.")
        return
    port: Mapping[str, Any] = given
    unknown(found, port, known, path)
    types = (*DATA_TYPES, *(_VALUES if path[0] == "inputs" else ()))
    if (kind := text(found, port, "type", path, needed=True)) and kind not in types:
        found.wrong((*path, "type"), f"'{kind}' is none of {', '.join(types)}.")
    if kind == "enum" and not isinstance(port.get("enum"), list):
        found.wrong((*path, "enum"), "these are the values that it may have, as a list.")
    if (mode := text(found, port, "mode", path)) and mode not in MODES:
        found.wrong((*path, "mode"), f"'{mode}' is no mode; there are {', '.join(MODES)}.")
