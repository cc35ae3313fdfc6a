"""From MLflow's artifact paths to blobs of the workspace's artifact store.

A job's run says `ExperimentRun/dcid.{run}` itself. What MLflow makes up (experiment, then run) goes to the same
folders, so that a run has one place however it was made.
"""

from __future__ import annotations

import re
from pathlib import Path

from smalt.arm.errors import invalid
from smalt.settings import Settings

_MADE_BY_MLFLOW = (
    (re.compile(r"\d+/models/([^/]+)/artifacts((?:/.*)?)", re.DOTALL), "LoggedModel/{}{}"),
    (re.compile(r"\d+/traces/([^/]+)/artifacts((?:/.*)?)", re.DOTALL), "Trace/{}{}"),
    (re.compile(r"\d+/([^/]+)/artifacts((?:/.*)?)", re.DOTALL), "ExperimentRun/dcid.{}{}"),
    (re.compile(r"(\d+)((?:/.*)?)", re.DOTALL), "Experiment/{}{}"),
)


def blob_name(path: str) -> str:
    """The blob (or the prefix) for the path behind `mlflow-artifacts/artifacts/`. Raises ArmError(400) if it climbs."""
    checked = check_path(path)
    for pattern, form in _MADE_BY_MLFLOW:
        found = pattern.fullmatch(checked)
        if found:
            return form.format(found[1], found[2])
    return checked


def staging(settings: Settings) -> Path:
    """Where unfinished files wait: the blob part's own place for them, which it sweeps."""
    return settings.blobs / ".staging" / "files"


def check_path(path: str) -> str:
    """`path` with one slash between its parts and none at its ends.

    Clients join them carelessly, and a file system reads it so. Raises ArmError(400) for what is no name
    of a blob that can be a file.
    """
    parts = [part for part in path.split("/") if part]
    name = "/".join(parts)
    if not name or any(part in (".", "..") for part in parts) or "\0" in name or "\\" in name:
        raise invalid(
            f"The artifact path '{path[:200]}' is not allowed: not empty, no '.' or '..' parts, no '\\'.", "path"
        )
    if any(len(part.encode(errors="surrogateescape")) > 255 for part in parts):
        raise invalid(f"A part of the artifact path '{path[:80]}…' is longer than 255 bytes.", "path")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise invalid("The artifact path is not valid UTF-8.", "path") from None
    return name
