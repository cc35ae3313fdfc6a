"""What a table's columns hold, as `mltable` 1.6 reads the same files (measured with it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smalt.agent.inject.parallel.settings import Settings
from smalt.agent.inject.parallel.splitting import placed, split
from smalt.agent.inject.parallel.table import frame


def read(folder: Path, text: str | bytes, *steps: Any, **reader: Any) -> dict[str, list[Any]]:
    """Columns with None for what is no value, of one mini-batch."""
    (folder / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    said = {
        "paths": [{"root": str(folder), "kind": "pattern", "at": "*.csv"}],
        "reader": {"kind": "delimited", **reader},
        "steps": list(steps),
        "format": "",
    }
    of = Settings.of({"script": "s.py", "input": "in", "logs": "logs", "table": said})
    (one,) = [frame(said, placed(of, batch)["parts"]) for batch in split(of)]
    return {
        name: [None if missing else value for value, missing in zip(column, column.isna(), strict=True)]
        for name, column in one.items()
    }


def converted(folder: Path, text: str, column: str, type_: str, **more: Any) -> list[Any]:
    step = ["convert_column_types", [{"columns": [column, "missing"], "type": type_, **more}]]
    return read(folder, text, step, infer_column_types=False)[column]


def test_nothing_but_an_empty_field_is_no_value(tmp_path: Path) -> None:
    text = 'x,y\n1,NA\n2,\n3,null\n4,"q,""r"\n'
    assert read(tmp_path, text) == {"x": [1, 2, 3, 4], "y": ["NA", None, "null", 'q,"r']}
    assert read(tmp_path, text, empty_as_string=True)["y"] == ["NA", "", "null", 'q,"r']


def test_a_number_may_be_none_in_words(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\n1.5,NaN\n2.5,1\nNaN,2\n") == {"a": [1.5, 2.5, None], "b": [None, 1.0, 2.0]}


@pytest.mark.parametrize(
    "encoding", ["utf8", "utf-8", "utf8 bom", "utf16", "UTF-16", "iso88591", "latin-1", "windows-1252"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    by = {"utf8 bom": "utf-8-sig", "iso88591": "latin-1"}.get(encoding, encoding)
    assert read(tmp_path, "x,y\n2,é\n".encode(by), encoding=encoding) == {"x": [2], "y": ["é"]}


@pytest.mark.parametrize(
    ("text", "type_", "more", "found"),
    [
        ("1\n\nx\n1.5\n-2.7\n", "int", {}, [1, None, None, 1, -2]),
        ("1234567890123456789\n", "int", {}, [1234567890123456789]),
        ("1.5\n\nx\n", "float", {}, [1.5, None, None]),
        ("a\n\n007\n", "string", {}, ["a", None, "007"]),
        ("yes\nno\n\nso\n", "boolean", {"true": ["yes"], "false": ["no"]}, [True, False, None, None]),
        ("true\nFalse\n1\n0\nx\n\n", "boolean", {}, [True, False, True, False, None, None]),
        ("true\nx\n\n", "boolean", {"else": False}, [True, False, None]),
    ],
)
def test_conversions(tmp_path: Path, text: str, type_: str, more: dict[str, Any], found: list[Any]) -> None:
    rows = "".join(f"{one},.\n" for one in text.split("\n")[:-1])
    assert converted(tmp_path, f"c,z\n{rows}", "c", type_, **more) == found


def test_dates_of_several_forms(tmp_path: Path) -> None:
    text = "d,z\n2020-05-06,.\n01/02/2020,.\nnever,.\n,.\n"
    found = converted(tmp_path, text, "d", "datetime", formats=["%Y-%m-%d", "%d/%m/%Y"])
    assert [one and f"{one:%Y%m%d}" for one in found] == ["20200506", "20200201", None, None]


def test_whole_numbers_beside_empty_fields_are_texts_without_a_point(tmp_path: Path) -> None:
    step = ["convert_column_types", [{"columns": ["i"], "type": "string"}]]
    assert read(tmp_path, "i,z\n1,.\n,.\n3,.\n", step)["i"] == ["1", None, "3"]


def test_columns_that_are_not_there_are_let_be_and_their_order_is_the_tables(tmp_path: Path) -> None:
    assert list(read(tmp_path, "i,j,k\n2,3,4\n", ["keep_columns", ["k", "none", "i"]])) == ["i", "k"]
    assert list(read(tmp_path, "i,j\n2,3\n", ["drop_columns", ["none", "j"]])) == ["i"]


def test_columns_that_paths_say_come_first_and_may_be_times(tmp_path: Path) -> None:
    folder = tmp_path / "2020" / "01" / "x"
    folder.mkdir(parents=True)
    found = read(folder, "i\n5\n", ["extract_columns_from_partition_format", "/{when:yyyy/MM}/{kind}/*.csv"])
    assert list(found) == ["when", "kind", "i"] and (found["kind"], found["i"]) == (["x"], [5])
    assert f"{found['when'][0]:%Y-%m-%d}" == "2020-01-01"


def test_what_was_converted_once_is_converted_again(tmp_path: Path) -> None:
    steps = [["convert_column_types", [{"columns": ["i"], "type": type_}]] for type_ in ("int", "boolean", "int")]
    assert read(tmp_path, "i,z\n1,.\n,.\n0,.\n", *steps)["i"] == [1, None, 0]
