"""What a page shows of a file: a table, a picture, text; bounded in bytes, rows and time."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Any

import yaml

from smalt.arm.yaml_text import read_yaml
from smalt.studio.files.answers import PICTURE_AT_ONCE, PICTURE_MOST, PICTURES, suffix
from smalt.studio.files.reading import READERS, Files
from smalt.studio.platform_api import Refused
from smalt.studio.tables.reading import Wanted
from smalt.studio.tables.runner import NoTable, table

TEXT_MOST = 128 << 10  # bytes
_MLTABLE = "MLTable"
_MLTABLE_MOST = 64 << 10
_PATHS_MOST = 50
TABLES = {"csv": "csv", "tsv": "csv", "psv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet",
           "pq": "parquet", "parq": "parquet"}  # fmt: skip
_BY_TRANSFORMATION = {"read_delimited": "csv", "read_json_lines": "jsonl", "read_parquet": "parquet"}
_DELIMITED = {"tsv": "\t", "psv": "|"}
_ENCODINGS = {"utf8": "utf-8-sig", "utf8bom": "utf-8-sig", "iso88591": "latin-1", "latin1": "latin-1",
              "windows1252": "cp1252", "utf16": "utf-16", "ascii": "ascii"}  # fmt: skip


@dataclass
class Preview:
    """`kind`: table, picture, text or none. `file`: the one that is shown, below the root ('': the root itself)."""

    kind: str
    file: str = ""
    size: int = 0
    text: str = ""
    cut: bool = False
    table: dict[str, Any] = field(default_factory=dict[str, Any])
    why: str = ""
    delimited: bool = False  # a CSV, whose delimiter may be another
    large: bool = False  # a picture that takes a while


async def previewed(files: Files, name: str, delimiter: str = "") -> Preview:
    """Of one file. Raises Refused where it cannot be read."""
    size = await files.size(name)
    if size is None:
        raise Refused(404, "NotFound", "There is no such file (any more).")
    shown = posixpath.basename(name or files.place.root)
    if posixpath.basename(shown) == _MLTABLE:
        return await _mltable(files, name, size)
    end = suffix(shown)
    if end in PICTURES:
        why = "" if size <= PICTURE_MOST else f"It has more than {PICTURE_MOST >> 20} MiB: download it."
        return Preview("none" if why else "picture", name, size, why=why, large=size > PICTURE_AT_ONCE)
    if format_ := TABLES.get(end):
        wanted = Wanted(format_, size, delimiter or _DELIMITED.get(end, ""))
        return await _table(files, name, wanted)
    return await _text(files, name, size)


async def _table(files: Files, name: str, wanted: Wanted) -> Preview:
    async def reads(start: int, length: int) -> bytes:
        return await files.read(name, start, length)

    try:
        read = await table(wanted, reads)
        return Preview("table", name, wanted.size, table=read, delimited=wanted.format == "csv")
    except NoTable as error:
        if wanted.format == "parquet":
            return Preview("none", name, wanted.size, why=f"It cannot be shown: {error}.")
        found = await _text(files, name, wanted.size)
        found.why = f"It is shown as text: {error}."
        return found


async def _text(files: Files, name: str, size: int) -> Preview:
    data = await files.read(name, 0, min(size, TEXT_MOST))
    if b"\0" in data[:8192] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return Preview("none", name, size, why="It is no text: download it.")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return Preview("text", name, size, data.decode(encoding, "replace"), cut=len(data) < size)


async def _mltable(files: Files, name: str, size: int) -> Preview:
    """What it says, and the beginning of the first file that it names below its own folder."""
    text = (await files.read(name, 0, min(size, _MLTABLE_MOST))).decode("utf-8", "replace")
    found = Preview("text", name, size, text, cut=size > _MLTABLE_MOST)
    try:
        said = await READERS.run(read_yaml, text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found.why = f"It cannot be read as YAML: {str(error)[:200]}."
        return found
    try:
        named = await _first(files, posixpath.dirname(name), said if isinstance(said, dict) else {})
        if named is None:
            found.why = "None of the files that it names is in its folder: the files are not shown."
            return found
        wanted = _wanted(said, await files.size(named) or 0, suffix(named))
        shown = await _table(files, named, wanted) if wanted else await previewed(files, named)
    except Refused as error:
        found.why = error.message
        return found
    shown.text = shown.text or text
    return shown


async def _first(files: Files, folder: str, said: dict[str, Any]) -> str | None:
    """The first file that it names below its own folder."""
    for one in (said.get("paths") or ())[:_PATHS_MOST]:
        if isinstance(one, dict) and (found := await _named(files, folder, one)):
            return found
    return None


async def _named(files: Files, folder: str, one: dict[str, Any]) -> str | None:
    """By `file`, `folder` or `pattern`; of a pattern what is before its first star, and its ending, decide."""
    given = str(one.get("file") or one.get("folder") or one.get("pattern") or "")
    path = posixpath.normpath(posixpath.join(folder, given.partition("*")[0]))
    if not given or "://" in given or path.startswith(("..", "/")):
        return None
    path = "" if path == "." else path
    if one.get("file"):
        return path
    below = f"{path}/" if one.get("folder") and path else path
    end = suffix(given) if one.get("pattern") and "." in posixpath.basename(given) else ""
    for entry in (await files.level(below, deep=True, most=_PATHS_MOST)).entries:
        if posixpath.basename(entry.name) != _MLTABLE and end in ("", suffix(entry.name)):
            return entry.name
    return None


def _wanted(said: dict[str, Any], size: int, end: str) -> Wanted | None:
    """As its first transformation reads it; None: it has none that is known here."""
    for step in said.get("transformations") or ():
        if isinstance(step, str):
            step = {step: {}}
        for name, given in step.items() if isinstance(step, dict) else ():
            if format_ := _BY_TRANSFORMATION.get(name):
                options = given if isinstance(given, dict) else {}
                encoding = str(options.get("encoding") or "").lower().replace("-", "").replace("_", "")
                header = {"no_header": False}.get(str(options.get("header")), None if "header" not in options else True)
                delimiter = str(options.get("delimiter") or "").replace("\\t", "\t")
                return Wanted(format_, size, delimiter, _ENCODINGS.get(encoding, ""), header)
    format_ = TABLES.get(end)
    return Wanted(format_, size, _DELIMITED.get(end, "")) if format_ else None
