"""A new version of an environment: the form, the file for `az`, SDK code, and what is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pprint import pformat
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents.written import Fault, Faulty, dump, read

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"  # a plain one of Python's, for which none is needed here
PYTHON = "3.11"
CONDA = f"""channels:
  - conda-forge
dependencies:
  - python={PYTHON}
  - pip
  - pip:
      - scikit-learn
"""
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


def document(fields: Mapping[str, str]) -> Document:
    """`packages`: `conda`, of a conda file, or `pip`, of lines of requirements for `python`. Raises Faulty.

    For a thread: what is typed may take a moment to read.
    """
    said = {name: fields.get(name, "").strip() for name in ("name", "version", "description")}
    if not said["name"]:
        raise Faulty([Fault(("name",), "name: give the environment a name.")])
    image = fields.get("image", "").strip() or IMAGE
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/environment.schema.json",
        **{name: text for name, text in said.items() if text},
        "image": image,
        "conda_file": _pip(fields) if fields.get("packages") == "pip" else _conda(fields.get("conda", "")),
    }


def sent(document: Mapping[str, Any]) -> Document:
    """The properties that the API takes."""
    found: Document = {"image": document["image"], "condaFile": dump(document["conda_file"])}
    return {**found, **({"description": document["description"]} if document.get("description") else {})}


def sdk_code(document: Mapping[str, Any]) -> str:
    """The lines of Python that make it by the official SDK."""
    conda = pformat(document["conda_file"], width=100, sort_dicts=False).replace("\n", "\n    ")
    plain = [f"    {name}={document[name]!r},\n" for name in ("name", "version", "description") if name in document]
    return (
        "from azure.ai.ml import MLClient\n"
        "from azure.ai.ml.entities import Environment\n"
        "from azure.identity import DefaultAzureCredential\n\n"
        "ml_client = MLClient.from_config(DefaultAzureCredential())  # config.json is on the page Connect\n\n"
        f"environment = Environment(\n{''.join(plain)}    image={document['image']!r},\n    conda_file={conda},\n)\n"
        "ml_client.environments.create_or_update(environment)\n"
    )


def _conda(text: str) -> Document:
    try:
        found = read(text, "A conda file is a mapping, with 'dependencies:' as one of its lines.").document
    except Faulty as error:
        (fault,) = error.faults
        raise Faulty([Fault(("conda",), f"conda, line {fault.path[0]}: {fault.message}")]) from None
    if not isinstance(found.get("dependencies"), list) or not found["dependencies"]:
        raise Faulty([Fault(("conda",), "conda: its 'dependencies' are a list of packages, such as '- python=3.11'.")])
    return found


def _pip(fields: Mapping[str, str]) -> Document:
    python = fields.get("python", "").strip() or PYTHON
    if not _VERSION.fullmatch(python):
        raise Faulty([Fault(("python",), f"python: '{python[:40]}' is no version such as {PYTHON}.")])
    lines = [line.partition(" #")[0].strip() for line in fields.get("requirements", "").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if local := next((one for one in lines if one.startswith(("-r", "-c", "-e", ".", "/", "file:"))), None):
        message = f"requirements: '{local[:80]}' is a file of your own machine; write what is in it here."
        raise Faulty([Fault(("requirements",), message)])
    if not lines:
        raise Faulty([Fault(("requirements",), "requirements: name at least one package, a line each.")])
    return {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": lines}]}
