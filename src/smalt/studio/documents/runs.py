"""What a command job, a sweep's trial and a step have in common: a command, its code and its environment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents import fields
from smalt.studio.documents.fields import Sent, text, unknown
from smalt.studio.documents.written import Path

RUNS = ("command", "code", "environment", "environment_variables", "resources", "distribution")


def runs(found: Sent, document: Mapping[str, Any], code: str, path: Path = ()) -> Document:
    """`code`: as of `job_sent.sent`."""
    given: Document = {
        "command": text(found, document, "command", path, needed=True),
        "environmentId": environment_id(found, document, path),
        "codeId": code_id(found, document, code, path),
        "environmentVariables": fields.texts(found, document, "environment_variables", path),
        "resources": fields.resources(found, document, path),
        "distribution": fields.distribution(found, document, path),
    }
    return {name: value for name, value in given.items() if value not in (None, {}, "")}


def code_id(found: Sent, document: Mapping[str, Any], code: str, path: Path) -> str:
    """`code`: as of `job_sent.sent`."""
    place = text(found, document, "code", path)
    if not place or fields.is_elsewhere(place):
        return place
    if not code:
        found.wrong((*path, "code"), f"'{place}' is on your own machine: choose its folder below, and it is uploaded.")
    return code


def environment_id(found: Sent, document: Mapping[str, Any], path: Path) -> str:
    """Of a name, or of an image and packages, which become an environment without a name."""
    given = document.get("environment")
    if not isinstance(given, dict):
        return text(found, document, "environment", path, needed=True)
    here = (*path, "environment")
    unknown(found, given, ("image", "conda_file", "name", "version", "description", "tags"), here)  # pyright: ignore
    conda = given.get("conda_file")  # pyright: ignore
    if isinstance(conda, str):
        found.wrong(
            (*here, "conda_file"), "this is a file of your own machine: write what is in it here, as a mapping."
        )
    properties: Document = {"image": text(found, given, "image", here, needed=True), "isAnonymous": True}  # pyright: ignore
    if isinstance(conda, dict):
        properties["condaFile"] = json.dumps(conda)  # JSON is YAML
    place = f"environments/CliV2AnonymousEnvironment/versions/{digest(properties)}"
    found.before.append((place, {"properties": properties}))
    return "azureml:" + place.replace("environments/", "").replace("/versions/", ":")


def digest(content: Document) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
