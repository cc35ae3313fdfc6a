"""Which job wrote to a place, as far as the place's path says it: most outputs are where their job's name is."""

from __future__ import annotations

import re

_OUTPUT = re.compile(r"azureml/([^/]+)/([^/]+)(?:/.*)?", re.DOTALL)
_ARTIFACTS = re.compile(r"ExperimentRun/dcid\.([^/]+)(?:/(.*))?", re.DOTALL)


def writer(path: str) -> tuple[str, str] | None:
    """The job's name and its output, of a path below a container; None: the path says nothing."""
    if found := _OUTPUT.fullmatch(path):
        return found[1], found[2]
    if found := _ARTIFACTS.fullmatch(path):
        return found[1], (found[2] or "").strip("/") or "artifacts"
    return None
