"""Tables: which files an MLTable names, how they are cut, and how a piece of one becomes a DataFrame.

Whoever starts the driver has read the MLTable, which is YAML: here it is an object,

    paths    [{"root": FOLDER OR FILE, "kind": "file" | "folder" | "pattern", "at": below the root}, …]
    reader   {"kind": "delimited" | "json_lines" | "parquet", and its own settings}; None: the files are not read
    steps    [[name, argument], …]: what is done with what was read, in order
    format   of paths that say values of columns, as `{Store}/{Brand}/{file_name}.csv`; empty: they say none

A table is cut at the ends of lines, or between a Parquet file's groups of rows; no piece goes beyond its file.
https://learn.microsoft.com/azure/machine-learning/reference-yaml-mltable
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

TABLE_FILE, PATH_COLUMN = "MLTable", "Path"
_ENCODINGS = {
    "utf8": "utf-8", "utf8bom": "utf-8-sig", "iso88591": "iso-8859-1", "latin1": "latin-1", "ascii": "utf-8",
    "utf16": "utf-16", "utf32": "utf-32", "windows1252": "cp1252",
}  # fmt: skip
_WIDE = ("utf-16", "utf-32")  # no byte of theirs is an end of a line by itself
_PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")
_TIMES = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_NO_NUMBER = ("NaN", "nan", "NAN")
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def files_of(paths: Sequence[Mapping[str, str]]) -> list[str]:
    """All files that the paths name, each once, in order. Raises FileNotFoundError for a file that is not there."""
    found: dict[str, None] = {}
    for one in paths:
        root, at = Path(one["root"]), one.get("at", "")
        place = root / at if at else root
        if one["kind"] == "file":
            if not place.is_file():
                raise FileNotFoundError(f"the table names the file {at or root.name}, which is not there")
            found[str(place)] = None
            continue
        matches = root.glob(at.rstrip("/") or "*") if one["kind"] == "pattern" else [place]
        for match in sorted(matches):
            inside = sorted(match.rglob("*")) if match.is_dir() else [match]
            found.update((str(file), None) for file in inside if file.is_file() and file.name != TABLE_FILE)
    return list(found)


def values_of(format_: str, path: str) -> dict[str, str]:
    """The columns that a path says. Raises ValueError where it does not have the format."""
    names: list[str] = []

    def group(match: Any) -> str:
        names.append(match[1])
        return "([^/]+?)" if match[2] is None else f"({'/'.join(['[^/]+?'] * (match[2].count('/') + 1))})"

    pieces = re.split(r"(\{\w+(?::[^}]*)?\})", format_.strip("/"))
    pattern = "".join(
        re.sub(r"\{(\w+)(?::([^}]*))?\}", group, one)
        if one.startswith("{")
        else re.escape(one).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        for one in pieces
    )
    found = re.search(f"(?:^|/){pattern}$", path)
    if found is None:
        raise ValueError(f"the path {path} does not have the table's partition format {format_}")
    return dict(zip(names, found.groups()))


def pieces(table: Mapping[str, Any], files: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
    """The files, cut into pieces of about `size` bytes; 0: whole. Raises OSError."""
    reader = table["reader"]
    for file in files:
        if reader["kind"] == "parquet":
            yield from _groups(file, size)
        else:
            yield from _lines(reader, file, files[0], size)


def frame(table: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> Any:
    """What `run` is given: the pieces as one DataFrame. Raises whatever pandas does."""
    import pandas

    read = [_with_steps(table, _frame(table["reader"], part), part["file"]) for part in parts]
    return read[0] if len(read) == 1 else pandas.concat(read, ignore_index=True)


def _groups(file: str, size: int) -> Iterator[dict[str, Any]]:
    if not size:
        yield {"file": file}
        return
    from pyarrow import parquet

    metadata = parquet.ParquetFile(file).metadata
    groups: list[int] = []
    length = 0
    for number in range(metadata.num_row_groups):
        groups.append(number)
        length += metadata.row_group(number).total_byte_size
        if length >= size:
            yield {"file": file, "groups": groups}
            groups, length = [], 0
    if groups:
        yield {"file": file, "groups": groups}


def _lines(reader: Mapping[str, Any], file: str, first: str, size: int) -> Iterator[dict[str, Any]]:
    """`head`: where the line with the names of columns is, and how long it is."""
    delimited = reader["kind"] == "delimited"
    header = reader.get("header", "all_files_same_headers") if delimited else "no_header"
    if not size or file.endswith(_PACKED) or _encoding(reader) in _WIDE or reader.get("support_multi_line"):
        yield {"file": file, "head": [first, 0] if header == "from_first_file" and file != first else None}
        return
    with open(file, "rb") as opened:  # noqa: PTH123
        end = opened.seek(0, io.SEEK_END)
        opened.seek(0)
        head = None
        if header == "from_first_file" and file != first:
            head = [first, _first_line(first)]
        elif header != "no_header":
            head = [file, len(opened.readline())]
        start = opened.tell()
        while start < end:
            opened.seek(min(start + size, end) - 1)
            opened.readline()
            stop = opened.tell()
            yield {"file": file, "head": head, "start": start, "end": stop}
            start = stop


def _first_line(file: str) -> int:
    with open(file, "rb") as opened:  # noqa: PTH123
        return len(opened.readline())


def _frame(reader: Mapping[str, Any], part: Mapping[str, Any]) -> Any:
    import pandas

    if reader["kind"] == "parquet":
        if "groups" not in part:
            return pandas.read_parquet(part["file"])
        from pyarrow import parquet

        return parquet.ParquetFile(part["file"]).read_row_groups(part["groups"]).to_pandas()
    source: Any = part["file"]
    if "end" in part:
        source = io.BytesIO(_head(part) + _between(part["file"], part["start"], part["end"]))
    if reader["kind"] == "json_lines":
        return pandas.read_json(source, lines=True, encoding=_encoding(reader))
    return _with_numbers(pandas.read_csv(source, **_csv_settings(reader, part)), reader)


def _with_numbers(found: Any, reader: Mapping[str, Any]) -> Any:
    """`NaN` is a number where the rest of its column are, and a text elsewhere."""
    import pandas

    for name in [] if str(reader.get("infer_column_types")).lower() == "false" else found.columns:
        words = found[name].isin(_NO_NUMBER)
        others = found[name][~words].dropna() if words.any() else ()
        read: Any = pandas.to_numeric(others, errors="coerce") if len(others) else None
        if read is not None and read.notna().all():
            found[name] = pandas.to_numeric(found[name].mask(words))
    return found


def _csv_settings(reader: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"sep": reader.get("delimiter") or ",", "encoding": _encoding(reader)}
    if reader.get("header") == "no_header":
        settings["header"] = None
    elif "end" not in part and part.get("head"):
        settings["names"] = _columns(reader, part["head"][0])
    if str(reader.get("infer_column_types")).lower() == "false":
        settings["dtype"] = str
    # Nothing but an empty field is none; what is "NA" or "null" is a text.
    settings |= {"keep_default_na": False, "na_values": [] if reader.get("empty_as_string") else [""]}
    return settings


def _columns(reader: Mapping[str, Any], file: str) -> list[str]:
    import pandas

    return list(pandas.read_csv(file, sep=reader.get("delimiter") or ",", encoding=_encoding(reader), nrows=0).columns)


def _head(part: Mapping[str, Any]) -> bytes:
    if not part.get("head"):
        return b""
    line = _between(part["head"][0], 0, part["head"][1])
    return line if line.endswith(b"\n") else line + b"\n"


def _between(file: str, start: int, end: int) -> bytes:
    with open(file, "rb") as opened:  # noqa: PTH123
        opened.seek(start)
        return opened.read(end - start)


def _encoding(reader: Mapping[str, Any]) -> str:
    return _ENCODINGS.get(str(reader.get("encoding") or "utf8").lower().replace("-", "").replace(" ", ""), "utf-8")


def _with_steps(table: Mapping[str, Any], found: Any, file: str) -> Any:
    reader = table["reader"]
    if reader.get("header") == "no_header":
        found.columns = [f"Column{at + 1}" for at in range(len(found.columns))]
    if reader.get("include_path_column"):
        found.insert(0, PATH_COLUMN, file)
    for name, argument in table.get("steps") or ():
        if name == "extract_columns_from_partition_format":
            said = values_of(argument, file)
            found = found.drop(columns=[one for one in said if one in found.columns])
            for at, (column, value) in enumerate(said.items()):
                found.insert(at, column, _dated(argument, column, value))
        elif name == "drop_columns":
            found = found.drop(columns=[one for one in argument if one in found.columns])
        elif name == "keep_columns":
            found = found[[one for one in found.columns if one in argument]]
        elif name == "convert_column_types":
            found = _converted(found, argument)
    return found


def _dated(format_: str, column: str, value: str) -> Any:
    """`{when:yyyy/MM/dd}` of a path is a time."""
    import pandas

    form = re.search(rf"\{{{re.escape(column)}:([^}}]+)\}}", format_)
    if form is None:
        return value
    return pandas.to_datetime(value, format=re.sub("|".join(_TIMES), lambda found: _TIMES[found[0]], form[1]))


def _converted(found: Any, argument: Sequence[Mapping[str, Any]]) -> Any:
    """Columns that are not there are let be, and what is none of the type is no value, as in `mltable`."""
    for one in argument:
        for column in one["columns"]:
            if column in found.columns:
                found[column] = _of_type(found[column], one)
    return found


def _of_type(column: Any, one: Mapping[str, Any]) -> Any:
    import numpy
    import pandas

    if one["type"] == "datetime":
        read: list[Any] = [
            pandas.to_datetime(column, format=how, errors="coerce") for how in one.get("formats") or [None]
        ]
        for other in read[1:]:
            read[0] = read[0].fillna(other)
        return read[0]
    if one["type"] == "boolean":
        said: dict[str, bool] = {
            **dict.fromkeys(one.get("true") or (), True),
            **dict.fromkeys(one.get("false") or (), False),
        }
        words = said or _WORDS
        return column.map(lambda given: _truth(given, words, one.get("else")), na_action="ignore").astype("boolean")
    if one["type"] == "string":  # whole numbers beside empty fields are read as 1.0
        return column.convert_dtypes().astype(object).map(str, na_action="ignore")
    numbers: Any = pandas.to_numeric(column, errors="coerce")
    if one["type"] == "float":
        return numbers.astype("float64")
    if not pandas.api.types.is_float_dtype(numbers):  # nor may they be one meanwhile: it has no id of 19 digits
        return numbers.astype("Int64")
    return numpy.trunc(numbers.where(numpy.isfinite(numbers))).astype("Int64")


def _truth(given: Any, words: Mapping[str, bool], other: bool | None) -> bool | None:
    said = str(int(given) if isinstance(given, float) and given.is_integer() else given)
    return words.get(said, words.get(said.lower(), other))
