"""MLTable: the YAML file that says which files are a table, and how they are read.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-mltable
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import yaml
from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.arm.yaml_text import HasAliases, read_yaml
from smalt.kinds.assets import references
from smalt.kinds.assets.references import Place

_LOG = logging.getLogger(__name__)
_FILE = "MLTable"
_MOST_BYTES = 128 << 10  # all is read at once where all jobs begin
_KINDS = ("file", "folder", "pattern")
_READERS = {"read_delimited": "delimited", "read_json_lines": "json_lines", "read_parquet": "parquet"}
_FORMAT = "extract_columns_from_partition_format"
_TYPES = {"int": "int", "integer": "int", "float": "float", "string": "string", "boolean": "boolean",
          "datetime": "datetime", "to_datetime": "datetime"}  # fmt: skip
_ENCODINGS = ("utf8", "utf8bom", "iso88591", "latin1", "ascii", "utf16", "utf32", "windows1252")
_HEADERS = ("no_header", "from_first_file", "all_files_different_headers", "all_files_same_headers")


@dataclass(frozen=True)
class Table:
    """`document` as the driver takes it (`agent/inject/parallel/table.py`), with names of inputs for its paths' roots.

    `places`: the inputs that it needs besides its own folder, by name, and whether each is a folder.
    """

    document: Document
    places: Mapping[str, tuple[Place, bool]] = field(default_factory=dict[str, tuple[Place, bool]])


def read(
    platform: Platform, connection: Connection, workspace: ResourceId, name: str, place: Place, keys: Sequence[str]
) -> Table:
    """The table that the input `name` is, in the folder `place`. Raises ArmError(400)."""
    data = platform.blobs.read(place.account, place.container, f"{place.path.rstrip('/')}/{_FILE}", _MOST_BYTES + 1)
    if data is None:
        raise _wrong(name, f"there is no file {_FILE} at {place.uri}")
    said = _parsed(name, data)
    document, places = _document(name, said), dict[str, tuple[Place, bool]]()

    def locate(uri: str, is_folder: bool) -> str:
        """The name of the input that has what is there."""
        found = references.locate(platform, connection, workspace, uri, f"inputs.{name}")
        if is_folder and not found.account:
            raise _wrong(name, f"{uri[:200]} is a folder elsewhere; copy it to a datastore")
        one = f"{name}.{len(places)}"
        places[one] = (found, is_folder)
        return one

    document["paths"] = [_path(name, one, locate) for one in _list(said.get("paths"))]
    if not document["paths"]:
        raise _wrong(name, f"its {_FILE} names no paths")
    if keys and not document["format"]:
        raise _wrong(name, f"it has no {_FORMAT}, so its paths say no {keys[0]!r} (partition_keys)")
    for key in keys:
        if f"{{{key}}}" not in document["format"] and f"{{{key}:" not in document["format"]:
            raise _wrong(name, f"its partition format {document['format']!r} has no {key!r} (partition_keys)")
    return Table(document, places)


def _parsed(name: str, data: bytes) -> Document:
    """The file's object, of what JSON has; dates are texts. Raises ArmError(400)."""
    if len(data) > _MOST_BYTES:
        raise _wrong(name, f"its {_FILE} is larger than {_MOST_BYTES >> 10} kB; name folders or patterns")
    try:
        said = json.loads(json.dumps(read_yaml(data), default=str))
    except HasAliases as error:
        raise _wrong(name, f"its {_FILE} {error}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # also a number or a date that is none
        raise _wrong(name, f"its {_FILE} is no YAML: {str(error)[:300]}") from None
    if not isinstance(said, dict):
        raise _wrong(name, f"its {_FILE} is no object")
    return cast("Document", said)


def _wrong(name: str, why: str) -> ArmError:
    return invalid(f"Input '{name}': {why}.", f"inputs.{name}")


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _object(value: Any) -> Document:
    return cast("Document", value) if isinstance(value, dict) else {}


def _path(name: str, one: Any, locate: Callable[[str, bool], str]) -> Document:
    given = _object(one)
    kind = next((key for key in _KINDS if given.get(key)), "")
    if not kind:
        raise _wrong(name, f"a path of its {_FILE} is {str(one)[:80]!r}, and none of {', '.join(_KINDS)}")
    text = str(given[kind])
    if "://" in text:
        if kind != "pattern":
            return {"kind": kind, "at": "", "input": locate(text, kind == "folder")}
        parts = text.split("/")
        fixed = next((at for at, part in enumerate(parts) if "*" in part or "?" in part), len(parts) - 1)
        return {"kind": kind, "at": "/".join(parts[fixed:]), "input": locate("/".join(parts[:fixed]) + "/", True)}
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts:
        raise _wrong(name, f"the path {text[:200]!r} of its {_FILE} leads out of its folder")
    return {"kind": kind, "at": "/".join(parts), "input": name}


def _document(name: str, said: Document) -> Document:
    reader: Document | None = None
    steps: list[list[Any]] = []
    format_ = ""
    for one in _list(said.get("transformations")):
        given: Document = {one: None} if isinstance(one, str) else _object(one)
        for step, argument in given.items():
            if step in _READERS:
                reader = {"kind": _READERS[step], **_reader(name, step, _object(argument))}
            elif step == _FORMAT:
                format_ = str(_object(argument).get("partition_format") or "")
                if not format_:
                    raise _wrong(name, f"{_FORMAT} of its {_FILE} names no partition_format")
                steps.append([step, format_])
            elif step in ("drop_columns", "keep_columns"):
                steps.append([step, [str(each) for each in _list(argument)]])
            elif step == "convert_column_types":
                steps.append([step, [_conversion(name, _object(each)) for each in _list(argument)]])
            else:
                raise _wrong(
                    name,
                    f"'{str(step)[:80]}' of its {_FILE} cannot be done for one mini-batch after the other here;"
                    " do it in the entry script",
                )
    return {"reader": reader, "steps": steps if reader else [], "format": format_}


def _reader(name: str, step: str, given: Document) -> Document:
    header = given.get("header")
    if step == "read_delimited" and header is not None and str(header) not in _HEADERS:
        raise _wrong(name, f"header {str(header)[:80]!r} of read_delimited is none of {', '.join(_HEADERS)}")
    encoding = str(given.get("encoding") or _ENCODINGS[0])
    if encoding.lower().replace("-", "").replace(" ", "") not in _ENCODINGS:
        raise _wrong(name, f"encoding {encoding[:80]!r} of {step} is none of {', '.join(_ENCODINGS)}")
    kept = (
        "delimiter",
        "encoding",
        "header",
        "empty_as_string",
        "infer_column_types",
        "include_path_column",
        "support_multi_line",
    )
    return {key: given[key] for key in kept if given.get(key) is not None}


def _conversion(name: str, given: Document) -> Document:
    """`column_type` is a word, or an object of one with its settings."""
    type_, columns = given.get("column_type"), [str(one) for one in _list(given.get("columns"))]
    word = str(next(iter(_object(type_)), type_))
    if word not in _TYPES or not columns:
        raise _wrong(name, f"convert_column_types of its {_FILE}: {str(given)[:200]} is not known")
    settings = _object(_object(type_).get(word))
    found: Document = {"columns": columns, "type": _TYPES[word]}
    for key, given_as in (("formats", "formats"), ("true", "true_values"), ("false", "false_values")):
        if texts := [str(one) for one in _list(settings.get(given_as))]:
            found[key] = texts
    otherwise = str(settings.get("mismatch_as") or "").lower()
    return {**found, "else": otherwise == "true"} if otherwise in ("true", "false") else found


def elsewhere(platform: Platform, workspace: ResourceId, place: Place) -> dict[str, tuple[Place, bool]] | None:
    """What the table in this folder names outside of it, by address, and whether it is a folder; None: nobody knows.

    Of a pattern it is the folder in which names begin to differ.
    """
    found: dict[str, tuple[Place, bool]] = {}
    try:
        said = _said(platform, place)
        with platform.database.read() as connection:

            def locate(uri: str, is_folder: bool) -> str:
                found[uri] = references.locate(platform, connection, workspace, uri, "inputs"), is_folder
                return ""

            for one in _list(said.get("paths")):
                _path("", one, locate)
    except Exception as error:  # the edge: it is asked while a job begins, which waits for nothing here
        _LOG.info("what the table at %s names is not known: %s", place.uri, error)
        return None
    return found


def columns(platform: Platform, place: Place) -> list[tuple[str, str]]:
    """The columns whose types the table in this folder says, in order; none where it says none or cannot be read."""
    try:
        steps: list[list[Any]] = _document("", _said(platform, place))["steps"]
    except Exception as error:  # the edge: without them is better than not at all
        _LOG.info("the columns of the table at %s are not known: %s", place.uri, error)
        return []
    converted: list[Document] = [one for step, given in steps if step == "convert_column_types" for one in given]
    return [(str(name), str(one["type"])) for one in converted for name in one["columns"]]


def _said(platform: Platform, place: Place) -> Document:
    """The file's object; empty where there is no file. Raises ArmError(400), and what the store raises."""
    path = f"{place.path.rstrip('/')}/{_FILE}"
    data = platform.blobs.read(place.account, place.container, path, _MOST_BYTES + 1)
    return _parsed("", data) if data is not None else {}
