"""The facets that events have, each with the address of its schema.

https://github.com/OpenLineage/OpenLineage/tree/main/spec/facets
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from smalt.store.document import Document

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_FACETS = "https://openlineage.io/spec/facets"
VERSION = version("smalt")
PRODUCER = f"urn:smalt:{VERSION}"
_SCHEMAS = {
    "parent": "1-2-0/ParentRunFacet", "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet", "executionParameters": "1-0-0/ExecutionParametersRunFacet",
    "sourceCodeLocation": "1-1-0/SourceCodeLocationJobFacet", "jobType": "2-0-4/JobTypeJobFacet",
    "ownership": "1-0-1/OwnershipJobFacet", "documentation": "1-1-0/DocumentationJobFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet", "dataSource": "1-0-1/DatasourceDatasetFacet",
    "symlinks": "1-0-1/SymlinksDatasetFacet", "schema": "1-2-0/SchemaDatasetFacet",
    "datasetType": "1-0-1/DatasetTypeDatasetFacet", "inputStatistics": "1-0-0/InputStatisticsInputDatasetFacet",
}  # fmt: skip
_OF_RUNS, _OF_JOBS = ("smalt_environment",), ("smalt_code",)  # our own: any run's, any job's facet
_SCP = re.compile(r"([\w.-]+@[\w.-]+):(?!/)(.+)")  # as git writes what is reached with ssh


def facets(given: Mapping[str, Document | None]) -> Document:
    """Those that say something, each with who made it and its schema."""
    return {name: {"_producer": PRODUCER, "_schemaURL": _schema(name), **one} for name, one in given.items() if one}


def _schema(name: str) -> str:
    if name in _OF_RUNS:
        return f"{SPEC}#/$defs/RunFacet"
    if name in _OF_JOBS:
        return f"{SPEC}#/$defs/JobFacet"
    path = _SCHEMAS[name]
    return f"{_FACETS}/{path}.json#/$defs/{path.rpartition('/')[2]}"


def engine() -> Document:
    return {"name": "Smalt", "version": VERSION, "openlineageAdapterVersion": VERSION}


def source_location(git: Mapping[str, Any]) -> Document | None:
    """Of what the client said of git: the repository, without a password that may be in its address."""
    said = {key.rpartition(".")[2].lower(): str(value) for key, value in git.items() if value}
    url = repository(said.get("repository_uri") or said.get("repourl") or "")
    if not url:
        return None
    found = {"type": "git", "url": url, "repoUrl": url, "version": said.get("commit"), "branch": said.get("branch")}
    return {key: value for key, value in found.items() if value}


def repository(address: str) -> str:
    """A URI; '' for what is none."""
    if found := _SCP.fullmatch(address):
        return f"ssh://{found[1]}/{found[2]}"
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return ""
    if not parts.scheme or not host or "@" in parts.path:  # a token, as Azure DevOps writes it
        return ""
    port = parts.netloc.rpartition("@")[2]
    user = "git@" if parts.scheme == "ssh" and parts.username == "git" else ""
    return urlunsplit((parts.scheme, user + port, parts.path, "", ""))
