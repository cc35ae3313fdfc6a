"""From a component's YAML to what the API takes: command components. Others are sent by `az`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents.fields import DATA_TYPES, MODES, Sent, mapping, text, texts, unknown
from smalt.studio.documents.runs import RUNS, runs
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
          "outputs", *RUNS)  # fmt: skip
_OF_INPUT = ("type", "description", "optional", "default", "min", "max", "enum", "mode")
_OF_OUTPUT = ("type", "description", "mode")


def sent(document: Document, code: str = "") -> Sent:
    """`properties`: of its version. `code`: as of `job_sent.sent`. Raises Faulty."""
    found = Sent()
    kind = str(document.get("type") or "command")
    if kind != "command":
        message = f"components of type '{kind}' cannot be made here: send the file by 'az ml component create -f'."
        found.wrong(("type",), message)
        raise Faulty(found.faults)
    unknown(found, document, _KNOWN, ())
    for name in ("name", "version", "display_name", "description"):
        text(found, document, name, needed=name == "name")
    tags = texts(found, document, "tags")
    run = runs(found, document, code)
    for what, known in (("inputs", _OF_INPUT), ("outputs", _OF_OUTPUT)):
        for name, port in mapping(found, document, what).items():
            _port(found, port, known, (what, name))
    if found.faults:
        raise Faulty(found.faults)
    plain = {name: document[name] for name in _KNOWN if document.get(name) not in (None, {}, "")}
    spec: Document = {**plain, "type": "command", "environment": run["environmentId"]}
    if run.get("codeId"):
        spec["code"] = run["codeId"]
    found.properties = {"componentSpec": spec, "tags": tags, "description": str(document.get("description") or "")}
    return found


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
