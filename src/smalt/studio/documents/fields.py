"""What is common to the documents of all types of jobs: words of YAML, and the API's words for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smalt.arm.validation import nearest
from smalt.store.document import Document
from smalt.studio.documents.written import Fault, Path

_ELSEWHERE = re.compile(r"(azureml:|azureml://|https?://|wasbs?://|abfss?://|adl://|/subscriptions/)", re.IGNORECASE)
DATA_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model")
MODES = {
    "ro_mount": "ReadOnlyMount", "rw_mount": "ReadWriteMount", "download": "Download", "upload": "Upload",
    "direct": "Direct", "eval_mount": "EvalMount", "eval_download": "EvalDownload",
}  # fmt: skip
_DISTRIBUTIONS = {"pytorch": "PyTorch", "mpi": "Mpi", "tensorflow": "TensorFlow", "ray": "Ray"}
FAULTS_MOST = 100  # that one reads; the likeliest name for each takes time
_SECONDS_MOST = 10**9  # thirty years


def in_file(id_: str) -> str:
    """An id as files and the SDK write it; anything else, such as a short name, as it is."""
    return f"azureml:{id_}" if id_.lower().startswith("/subscriptions/") else id_


@dataclass
class Sent:
    """A job as the API takes it, what has to be there before it, by its address below the workspace; what is wrong."""

    properties: Document = field(default_factory=dict[str, Any])
    before: list[tuple[str, Document]] = field(default_factory=list[tuple[str, Document]])
    faults: list[Fault] = field(default_factory=list[Fault])

    def wrong(self, path: Path, message: str) -> None:
        self.faults.append(Fault(path, f"{'.'.join(path)}: {message}"))


def unknown(sent: Sent, given: Mapping[str, Any], known: Sequence[str], path: Path) -> None:
    for name in given:
        if name not in known and len(sent.faults) < FAULTS_MOST:
            sent.wrong((*path, name), f"there is no such field here.{nearest(name, known)}")


def mapping(sent: Sent, given: Mapping[str, Any], name: str, path: Path = ()) -> Document:
    found = given.get(name)
    if found is not None and not isinstance(found, dict):
        sent.wrong((*path, name), "this has to be a mapping, of names to values.")
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def text(sent: Sent, given: Mapping[str, Any], name: str, path: Path = (), needed: bool = False) -> str:
    found = given.get(name)
    if found is None or found == "":
        if needed:
            sent.wrong((*path, name), "this is missing.")
        return ""
    if isinstance(found, dict | list):
        sent.wrong((*path, name), "this has to be a text.")
        return ""
    return str(found)  # pyright: ignore[reportUnknownArgumentType]


def texts(sent: Sent, given: Mapping[str, Any], name: str, path: Path = ()) -> dict[str, str]:
    return {key: "" if value is None else plain(value) for key, value in mapping(sent, given, name, path).items()}


def plain(value: Any) -> str:
    """A literal as clients send it."""
    return str(value)


def camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(one.capitalize() for one in more)


def is_elsewhere(place: str) -> bool:
    """Whether it is not a path on the machine of whoever wrote it."""
    return bool(_ELSEWHERE.match(place)) or "}}" in place.partition("${{")[2]


def inputs(sent: Sent, given: Mapping[str, Any], path: Path = ()) -> Document:
    return {
        name: input_of(sent, one, (*path, "inputs", name)) for name, one in mapping(sent, given, "inputs", path).items()
    }


def input_of(sent: Sent, given: Any, path: Path) -> Document:
    if not isinstance(given, dict):
        return {"jobInputType": "literal", "value": plain(given)}
    unknown(sent, given, ("type", "path", "mode", "value", "default", "path_on_compute"), path)  # pyright: ignore
    kind = str(given.get("type") or "uri_folder")  # pyright: ignore
    if kind not in DATA_TYPES:
        value = given.get("value", given.get("default", given.get("path")))  # pyright: ignore
        return {"jobInputType": "literal", "value": plain(value)}
    place = text(sent, given, "path", path, needed=True)  # pyright: ignore
    if place and not is_elsewhere(place):
        message = f"'{place}' is on your own machine. Upload it as a data asset, and name it 'azureml:NAME:VERSION'."
        sent.wrong((*path, "path"), message)
    found: Document = {"jobInputType": kind, "uri": place}
    return {**found, **_mode(sent, given, path)}  # pyright: ignore


def outputs(sent: Sent, given: Mapping[str, Any], path: Path = ()) -> Document:
    return {
        name: output_of(sent, one, (*path, "outputs", name))
        for name, one in mapping(sent, given, "outputs", path).items()
    }


def output_of(sent: Sent, given: Any, path: Path) -> Document:
    if given is None:
        return {"jobOutputType": "uri_folder"}
    if not isinstance(given, dict):
        sent.wrong(path, "an output is a mapping, such as {type: uri_folder}.")
        return {}
    unknown(sent, given, ("type", "path", "mode", "name", "version"), path)  # pyright: ignore
    found: Document = {"jobOutputType": str(given.get("type") or "uri_folder"), **_mode(sent, given, path)}  # pyright: ignore
    for word, field_ in (("path", "uri"), ("name", "assetName"), ("version", "assetVersion")):
        if given.get(word) is not None:  # pyright: ignore
            found[field_] = str(given[word])  # pyright: ignore
    return found


def _mode(sent: Sent, given: Mapping[str, Any], path: Path) -> Document:
    mode = text(sent, given, "mode", path)
    if mode and mode not in MODES:
        sent.wrong((*path, "mode"), f"'{mode}' is no mode; there are {', '.join(MODES)}.")
    return {"mode": MODES[mode]} if mode in MODES else {}


def resources(sent: Sent, given: Mapping[str, Any], path: Path = ()) -> Document:
    found = mapping(sent, given, "resources", path)
    known = (
        "instance_count",
        "instance_type",
        "shm_size",
        "docker_args",
        "properties",
        "locations",
        "max_instance_count",
    )
    unknown(sent, found, known, (*path, "resources"))
    return {camel(name): value for name, value in found.items() if value is not None and name in known}


def distribution(sent: Sent, given: Mapping[str, Any], path: Path = ()) -> Document | None:
    found = mapping(sent, given, "distribution", path)
    if not found:
        return None
    kind = text(sent, found, "type", (*path, "distribution"), needed=True)
    if kind and kind.lower() not in _DISTRIBUTIONS:
        sent.wrong((*path, "distribution", "type"), f"'{kind}' is none of {', '.join(_DISTRIBUTIONS)}.")
    more = {camel(name): value for name, value in found.items() if name != "type"}
    return {"distributionType": _DISTRIBUTIONS.get(kind.lower(), kind), **more}


def seconds(sent: Sent, given: Mapping[str, Any], name: str, path: Path) -> str | None:
    """As a duration; None: none is given."""
    found = given.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= _SECONDS_MOST:
        sent.wrong((*path, name), "this is a number of seconds.")
        return None
    hours, minutes, left = int(found // 3600), int(found % 3600 // 60), found % 60
    parts = ((hours, "H"), (minutes, "M"), (left, "S"))
    return "PT" + "".join(f"{amount:g}{unit}" for amount, unit in parts if amount)
