"""The steps of a pipeline's YAML: a component by its name, or a command that becomes one without a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents import fields
from smalt.studio.documents.fields import DATA_TYPES, Sent, mapping, text, unknown
from smalt.studio.documents.runs import RUNS, digest, runs
from smalt.studio.documents.written import Path

_BINDING = re.compile(r"\$\{\{\s*parent\.(inputs|jobs\.([^.]+)\.outputs)\.([^.\s}]+)\s*\}\}")
_STEP = ("type", "component", "inputs", "outputs", "compute", "display_name", "description", "limits", *RUNS)


def steps(sent: Sent, document: Document, code: str) -> Document:
    given = mapping(sent, document, "jobs")
    if not given:
        sent.wrong(("jobs",), "a pipeline has at least one step.")
    return {name: _step(sent, document, name, one, code) for name, one in given.items() if _is_step(sent, name, one)}


def _is_step(sent: Sent, name: str, given: Any) -> bool:
    path = ("jobs", name)
    if not isinstance(given, dict):
        sent.wrong(path, "a step is a mapping, with a 'component', or with 'command' and 'environment'.")
        return False
    kind = str(given.get("type") or "command")  # pyright: ignore
    if kind not in ("command", "pipeline", "sweep", "parallel") or (kind != "command" and "component" not in given):
        sent.wrong(
            (*path, "type"),
            f"a step of type '{kind}' is made here of a registered component ('component:"
            " azureml:NAME:VERSION') alone: send the file by 'az ml job create -f'.",
        )
        return False
    return True


def _step(sent: Sent, document: Document, name: str, given: Mapping[str, Any], code: str) -> Document:
    path = ("jobs", name)
    unknown(sent, given, _STEP, path)
    component = text(sent, given, "component", path)
    if component and not fields.is_elsewhere(component):
        sent.wrong(
            (*path, "component"),
            f"'{component}' is a file of your own machine: register it, and name it"
            " 'azureml:NAME:VERSION', or write its command here.",
        )
    into = mapping(sent, given, "outputs", path)
    bound = {port: _bound(sent, one, (*path, "outputs", port)) for port, one in into.items()}
    ports = mapping(sent, given, "inputs", path)
    found: Document = {
        "type": str(given.get("type") or "command"),
        "name": name,
        "componentId": component or _component(sent, document, given, code, path),
        "inputs": {port: _given(sent, one, (*path, "inputs", port)) for port, one in ports.items()},
        "outputs": {port: one for port, one in bound.items() if one},
    }
    if compute := text(sent, given, "compute", path).removeprefix("azureml:"):
        found["computeId"] = compute
    if shown := text(sent, given, "display_name", path):
        found["display_name"] = shown
    for each in ("resources", "environment_variables"):
        if component and mapping(sent, given, each, path):
            found[each] = given[each]
    if timeout := fields.seconds(sent, mapping(sent, given, "limits", path), "timeout", (*path, "limits")):
        found["limits"] = {"timeout": timeout, "job_limits_type": "Command"}
    return found


def _given(sent: Sent, given: Any, path: Path) -> Document:
    if not isinstance(given, dict):
        return {"job_input_type": "literal", "value": fields.plain(given)}
    one = fields.input_of(sent, given, path)
    return {"job_input_type" if name == "jobInputType" else name: value for name, value in one.items()}


def _bound(sent: Sent, given: Any, path: Path) -> Document:
    """Empty: it is as the component says, where the platform puts it."""
    if isinstance(given, str):
        return {"value": given, "type": "literal"}
    one = fields.output_of(sent, given, path)
    said = {"job_output_type" if name == "jobOutputType" else name: value for name, value in one.items()}
    return said if set(said) != {"job_output_type"} else {}


def _component(sent: Sent, document: Document, given: Mapping[str, Any], code: str, path: Path) -> str:
    """A version without a name, that is there before the job."""
    run = runs(sent, given, code, path)
    ports = mapping(sent, given, "inputs", path)
    specification: Document = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json",
        "type": "command",
        "name": "azureml_anonymous",
        "version": "1",
        "is_deterministic": True,
        "command": run.get("command", ""),
        "environment": run.get("environmentId", ""),
        "inputs": {port: {"type": _type(document, one)} for port, one in ports.items()},
        "outputs": {
            port: {"type": _output_type(document, one)} for port, one in mapping(sent, given, "outputs", path).items()
        },
    }
    if run.get("codeId"):
        specification["code"] = run["codeId"]
    for word, field in (("environment_variables", "environmentVariables"), ("resources", "resources")):
        if run.get(field):
            specification[word] = given[word]
    if mapping(sent, given, "distribution", path):
        specification["distribution"] = given["distribution"]
    mark = digest(specification)
    place = f"components/azureml_anonymous/versions/{mark}"
    sent.before.append((place, {"properties": {"componentSpec": specification, "isAnonymous": True}}))
    return f"azureml:azureml_anonymous:{mark}"


def _type(document: Document, given: Any, deep: int = 0) -> str:
    """Of an input: as what it is bound to says, or its value."""
    if isinstance(given, dict):
        return str(given.get("type") or "uri_folder")  # pyright: ignore
    if isinstance(given, str) and (found := _BINDING.fullmatch(given.strip())):
        if found[1] == "inputs":  # of the pipeline, which binds to nothing: one that does leads round in a circle
            return "string" if deep else _type(document, _at(document, "inputs", found[3]), deep + 1)
        return _output_type(document, _at(document, "jobs", found[2], "outputs", found[3]))
    kinds = {bool: "boolean", int: "integer", float: "number"}
    return kinds.get(type(given), "string")


def _output_type(document: Document, given: Any) -> str:
    """Of an output; where it is bound to the pipeline's, that one's."""
    if isinstance(given, str):
        name = re.search(r"parent\.outputs\.([^.\s}]+)", given)
        given = _at(document, "outputs", name[1]) if name else None
    kind = str(given.get("type") or "uri_folder") if isinstance(given, dict) else "uri_folder"  # pyright: ignore
    return kind if kind in DATA_TYPES else "uri_folder"


def _at(document: Any, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None  # pyright: ignore
    return document  # pyright: ignore
