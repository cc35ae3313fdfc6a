"""What an event of OpenLineage has at least: the essentials of its schema, as far as ours use it."""

from __future__ import annotations

from typing import Any

import jsonschema

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_URI = {**_TEXT, "pattern": r"^[a-z][a-z0-9+.-]*:[^\s]+$"}
_FACET = {
    "type": "object", "required": ["_producer", "_schemaURL"],
    "properties": {"_producer": _URI, "_schemaURL": {**_URI, "pattern": r"^https://openlineage\.io/spec/.*#/\$defs/\w+$"}},
}  # fmt: skip
_FACETS = {"type": "object", "additionalProperties": _FACET}


def _facet(*required: str, **properties: Any) -> dict[str, Any]:
    return {"allOf": [_FACET, {"required": list(required), "properties": properties}]}


def _named(**facets: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": {"namespace": _TEXT, "name": _TEXT, "facets": {**_FACETS, "properties": facets}},
    }


_RUN_ID = {"type": "object", "required": ["runId"], "properties": {"runId": {**_TEXT, "format": "uuid"}}}
_JOB = _named(
    sourceCodeLocation=_facet("type", "url", url=_URI, version=_TEXT, branch=_TEXT),
    jobType=_facet("processingType", "integration", "jobType"),
    ownership=_facet("owners", owners={"type": "array", "items": {"required": ["name"]}}),
    documentation=_facet("description"),
)
_RUN = {
    **_RUN_ID,
    "properties": {
        **_RUN_ID["properties"],
        "facets": {
            **_FACETS,
            "properties": {
                "parent": _facet("run", "job", run=_RUN_ID, job=_named()),
                "errorMessage": _facet("message", "programmingLanguage", message=_TEXT),
                "processing_engine": _facet("version"),
                "executionParameters": _facet(
                    "parameters",
                    parameters={
                        "type": "array",
                        "items": {
                            "required": ["key"], "additionalProperties": False,
                            "properties": {"key": _TEXT, "value": {"type": "string"}},
                        },
                    },
                ),
            },
        },
    },
}  # fmt: skip
_DATASET = _named(
    version=_facet("datasetVersion", datasetVersion=_TEXT),
    dataSource=_facet("name", "uri", uri=_URI),
    datasetType=_facet("datasetType"),
    symlinks=_facet("identifiers", identifiers={"items": {"required": ["namespace", "name", "type"]}}),
    schema=_facet("fields", fields={"items": {"required": ["name"]}}),
)
_INPUT = {
    **_DATASET,
    "properties": {
        **_DATASET["properties"],
        "inputFacets": {
            **_FACETS,
            "properties": {
                "inputStatistics": _facet(size={"type": "integer"}, fileCount={"type": "integer"}),
            },
        },
    },
}  # fmt: skip
_EVENT = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job", "eventType"],
    "properties": {
        "eventTime": {**_TEXT, "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$"},
        "producer": _URI,
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": _RUN,
        "job": _JOB,
        "inputs": {"type": "array", "items": _INPUT},
        "outputs": {"type": "array", "items": _DATASET},
    },
}
_VALIDATOR = jsonschema.Draft202012Validator(_EVENT, format_checker=jsonschema.FormatChecker())


def check(event: Any) -> None:
    """Raises ValidationError."""
    _VALIDATOR.validate(event)
