"""From request bodies to rows."""

from __future__ import annotations

import json

import pytest

from smalt.agent.inject.outcome import InputError
from smalt.agent.inject.tabular import Column, Layout, Table, read_body, read_table


def layout(*kinds: str) -> Layout:
    return Layout(Column(name, kind) for name, kind in zip("abcdef", kinds, strict=False))


@pytest.mark.parametrize(
    ("key", "data", "columns", "rows"),
    [
        ("input_data", {"columns": ["a", "b"], "index": [7], "data": [[1, 2]]}, ("a", "b"), [[1, 2]]),
        ("input_data", {"data": [[1, 2]]}, None, [[1, 2]]),
        ("input_data", [[1], [2]], None, [[1], [2]]),
        ("input_data", [1, 2], None, [[1], [2]]),
        ("input_data", ["x"], None, [["x"]]),
        ("inputs", {"a": [1, 2], "b": [3, 4]}, ("a", "b"), [[1, 3], [2, 4]]),
        ("inputs", {"a": 1, "b": 2}, ("a", "b"), [[1, 2]]),
        ("instances", [{"a": 1}, {"b": 2, "a": 3}], ("a", "b"), [[1, None], [3, 2]]),
    ],
)
def test_tables(key: str, data: object, columns: tuple | None, rows: list) -> None:
    table = read_table(key, data)
    assert (table.columns, table.rows) == (columns, rows)


def test_a_table_gets_the_order_of_the_signature() -> None:
    fitted = layout("double", "double").fit(Table(("x", "b", "a"), [[0, 1, 2]]))
    assert (fitted.columns, fitted.rows) == (("a", "b"), [[2, 1]])


def test_missing_columns_are_named_unless_they_are_optional() -> None:
    with pytest.raises(InputError, match=r"columns are missing in the request: 'a', 'b'"):
        layout("double", "double").fit(Table(("c",), [[1]]))
    optional = Layout([Column("a", "double"), Column("b", "double", required=False)])
    assert optional.fit(Table(("a",), [[1]])).columns == ("a",)
    assert not optional.clean(Table(("a",), [[1.0]]))


@pytest.mark.parametrize(
    ("kind", "value", "clean"),
    [
        ("double", 1.5, True),
        ("double", 1, True),
        ("double", 2**53 + 1, False),
        ("double", True, False),
        ("double", None, False),
        ("double", "1", False),
        ("double", float("nan"), True),
        ("long", 2**63 - 1, True),
        ("long", 2**63, False),
        ("long", 1.0, False),
        ("long", True, False),
        ("integer", 2**31 - 1, True),
        ("integer", 2**31, False),
        ("string", "x", True),
        ("string", 1, False),
        ("boolean", True, True),
        ("boolean", 1, False),
        ("datetime", "2020-01-01", False),
    ],
)
def test_only_values_that_need_no_conversion_are_clean(kind: str, value: object, clean: bool) -> None:
    assert layout(kind).clean(Table(("a",), [[value]])) is clean
    assert layout("double", kind).clean(Table(("a", "b"), [[1.0, value]])) is clean


def test_the_remembered_orders_do_not_grow_without_end() -> None:
    one = layout("double")
    for at in range(1000):
        assert one.fit(Table((f"x{at}", "a"), [[1, 2]])).rows == [[2]]
    assert len(one._orders) <= 64


def test_params() -> None:
    assert read_body(json.dumps({"inputs": [1], "params": {"k": 2}}).encode()) == ("inputs", [1], {"k": 2})
    assert read_body(b'{"inputs": [1], "params": {}}') == ("inputs", [1], None)
