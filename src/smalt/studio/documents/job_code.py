"""The lines of Python that send a job by the official SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents.fields import DATA_TYPES
from smalt.studio.documents.job_sent import type_of

_CLIENT = (
    "from azure.identity import DefaultAzureCredential\n\n"
    "ml_client = MLClient.from_config(DefaultAzureCredential())  # config.json is on the page Connect\n"
)
_PLAIN = ("name", "display_name", "description", "experiment_name", "tags", "command", "code", "environment",
          "environment_variables", "compute")  # fmt: skip
_OTHERS = {"resources": ("instance_count", "instance_type", "shm_size"), "limits": ("timeout",), "distribution": None}


def sdk_code(document: Mapping[str, Any]) -> str:
    """Of a command job in full; of others, and of what `command` has no word for, the file is loaded."""
    known = (*_PLAIN, *_OTHERS, "inputs", "outputs", "type", "$schema")
    if type_of(document) != "command" or any(name not in known for name in document):
        return (
            f"from azure.ai.ml import MLClient, load_job\n{_CLIENT}\n"
            'job = load_job("job.yml")  # the YAML beside this\n'
            "print(ml_client.jobs.create_or_update(job).studio_url)\n"
        )
    lines = [_line(name, document[name]) for name in _PLAIN if document.get(name)]
    names = ["MLClient", "command"]
    for word, kind in (("inputs", "Input"), ("outputs", "Output")):
        ports: Document = document.get(word) or {}
        if ports:
            if any(isinstance(one, dict) for one in ports.values()):
                names.append(kind)
            inner = "".join(f"        {name!r}: {_port(kind, one)},\n" for name, one in ports.items())
            lines.append(f"    {word}={{\n{inner}    }},\n")
    lines += [_line(name, value) for name, value in _flat(document).items()]
    return (
        f"from azure.ai.ml import {', '.join(sorted(names))}\n{_CLIENT}\njob = command(\n{''.join(lines)})\n"
        "print(ml_client.jobs.create_or_update(job).studio_url)\n"
    )


def _line(name: str, value: Any) -> str:
    return f"    {name}={value!r},\n"


def _port(kind: str, given: Any) -> str:
    if not isinstance(given, dict):
        return repr(given)
    known = {"type": "type", "path": "path", "mode": "mode", "name": "name", "version": "version"}
    if kind == "Input" and given.get("type") not in DATA_TYPES:  # pyright: ignore
        return repr(given.get("path", given.get("value")))  # pyright: ignore
    said = ", ".join(f"{known[name]}={value!r}" for name, value in given.items() if name in known)  # pyright: ignore
    return f"{kind}({said})"


def _flat(document: Mapping[str, Any]) -> Document:
    """Arguments of `command` that are mappings in YAML."""
    found: Document = {}
    for name, known in _OTHERS.items():
        given = document.get(name) or {}
        if given and known is None:
            found[name] = given
        for each in known or ():
            if each in given:
                found[each] = given[each]
    return found
