"""What a request to an endpoint's address says, in Azure's many spellings: of names in any case, of types in two."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from smalt.arm.errors import invalid
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.kind import Document
from smalt.arm.validation import nearest
from smalt.kinds.jobs.batch import scoring
from smalt.kinds.jobs.pipelines.children import job_mode

TYPES = {
    "UriFile": "uri_file", "UriFolder": "uri_folder", "MLTable": "mltable", "MLFlowModel": "mlflow_model",
    "CustomModel": "custom_model", "TritonModel": "triton_model", "Literal": "literal",
}  # fmt: skip
_SPELLED = {name.lower(): value for name, value in TYPES.items()}


@dataclass(frozen=True)
class Asked:
    """One request. `inputs` and `outputs`: as those of a job. `step`: what the step of a model's deployment is told.

    `file`: the name of the file that takes the rows; these three are empty where nothing is said. `display_name` and
    `properties` of the job are for those who ask by a schedule.
    """

    inputs: Mapping[str, Document]
    outputs: Mapping[str, Document] = field(default_factory=dict[str, Document])
    name: str = ""
    experiment: str = ""
    file: str = ""
    step: Document = field(default_factory=dict[str, Any])
    display_name: str = ""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, body: Document) -> Self:
        """Raises ArmError(400)."""
        said = _fields(_object(_fields(body).get("properties"), "properties"), "properties")
        outputs = {
            name: _output(one, f"properties.outputData.{name}")
            for name, one in _object(said.get("outputdata"), "properties.outputData").items()
        }
        return cls(
            {
                name: _input(one, f"properties.inputData.{name}")
                for name, one in _object(said.get("inputdata"), "properties.inputData").items()
            },
            outputs or _old_output(said.get("outputdataset")),
            _text(said.get("name"), "properties.name"),
            _text(
                _fields(said.get("properties"), "properties.properties").get("experimentname"),
                "properties.properties.experimentName",
            ),
            _text(said.get("outputfilename"), "properties.outputFileName"),
            _step(said),
        )


def _step(said: Document) -> Document:
    size = said.get("minibatchsize")
    if isinstance(size, int) and size < 1:
        raise invalid(f"properties.miniBatchSize: {size} is no number of files, from 1.", "properties.miniBatchSize")
    retries = _fields(said.get("retrysettings"), "properties.retrySettings")
    compute = _fields(said.get("compute"), "properties.compute")
    resources = {"instance_count": compute.get("instancecount"), "instance_type": compute.get("instancetype")}
    found: Document = {
        "mini_batch_size": None if size is None else str(size),
        "error_threshold": said.get("errorthreshold"),
        "retry_settings": scoring.retried({"maxRetries": retries.get("maxretries"), "timeout": retries.get("timeout")}),
        "computeId": compute.get("target"),
        "resources": {key: one for key, one in resources.items() if one is not None},
    }
    return {key: one for key, one in found.items() if one not in (None, {})}


def _input(given: Any, field: str) -> Document:
    said = _fields(_object(given, field), field)
    type_ = _type(said.get("jobinputtype"), f"{field}.jobInputType")
    if type_ == "literal":
        if (value := said.get("value")) is None:
            raise invalid(f"{field}.value is missing.", f"{field}.value")
        return {"jobInputType": type_, "value": _text(value, f"{field}.value")}
    if not (uri := said.get("uri")) or not isinstance(uri, str):
        raise invalid(f"{field}.uri is missing: where the data is.", f"{field}.uri")
    return {"jobInputType": type_, "uri": uri, **_mode(said, field)}


def _output(given: Any, field: str) -> Document:
    said = _fields(_object(given, field), field)
    type_ = _type(said.get("joboutputtype") or "UriFolder", f"{field}.jobOutputType")
    if type_ == "literal":
        raise invalid(f"{field}.jobOutputType: an output is files.", f"{field}.jobOutputType")
    return {"jobOutputType": type_, **_uri(said, field), **_mode(said, field)}


def _uri(said: Document, field: str) -> Document:
    return {"uri": _text(said["uri"], f"{field}.uri")} if said.get("uri") else {}


def _mode(said: Document, field: str) -> Document:
    """Clients send YAML's spelling, and read a job's."""
    return {"mode": job_mode(_text(said["mode"], f"{field}.mode"))} if said.get("mode") else {}


def _type(given: Any, field: str) -> str:
    if not given:
        raise invalid(f"{field} is missing; it is one of {', '.join(TYPES)}.", field)
    found = _SPELLED.get(str(given).lower().replace("_", ""))
    if found is None:
        hint = nearest(str(given), list(TYPES))
        raise invalid(f"{field}: '{str(given)[:80]}' is none of {', '.join(TYPES)}.{hint}", field)
    return found


def _old_output(given: Any) -> dict[str, Document]:
    """`outputDataset`: a datastore and a path in it."""
    said = _fields(given, "properties.outputDataset")
    if not said.get("path"):
        return {}
    field = "properties.outputDataset"
    store = _text(said.get("datastoreid"), f"{field}.datastoreId") or "workspaceblobstore"
    store = store.removeprefix("azureml:")
    with contextlib.suppress(NotAnId):
        store = ResourceId.parse(store).name
    uri = f"azureml://datastores/{store}/paths/{_text(said['path'], f'{field}.path').strip('/')}/"
    return {scoring.SCORE: {"jobOutputType": "uri_folder", "uri": uri}}


def _text(given: Any, field: str) -> str:
    """Numbers too, as everywhere; empty where nothing is said."""
    if given is None:
        return ""
    if not isinstance(given, str | int | float):
        raise invalid(f"{field}: this must be a text.", field)
    return str(given)


def _object(given: Any, field: str) -> Document:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise invalid(f"{field}: this must be an object.", field)
    return cast("Document", given)


def _fields(given: Any, field: str = "") -> Document:
    """By their names in small letters."""
    found = _object(given, field or "properties")
    return {re.sub(r"[_\s]", "", str(key)).lower(): one for key, one in found.items()}
