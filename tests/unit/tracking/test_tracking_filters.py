"""Whatever of a filter or an order is read here means to MLflow's own parser the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from mlflow.utils.search_utils import SearchUtils

from smalt.tracking.store.filters import Clause, Order, read_filter, read_order

ENTITIES = [
    "metric", "metrics", "param", "params", "parameter", "parameters", "tag", "tags", "attribute", "attributes", "attr",
    "run", "dataset", "datasets", "Metrics", "",
]  # fmt: skip
WORDS = [
    "loss", "a", "val_loss", "mlflow.source.type", "min", "max", "order", "group", "key", "value", "date", "user", "name",
    "status", "type", "select", "from", "null", "not", "in", "like", "and", "is", "timestamp", "index", "count", "desc",
    "start", "end", "state", "role", "year", "ON", "CASE", "int", "float", "_x", "x1", "a.b.c", "all", "as", "with", "run_id",
    "run_name", "start_time", "end_time", "user_id", "artifact_uri", "created", "Created", "digest", "context", "Run name",
    "a/b", "a-b", "1a", "loss@1", "order.by", "union", "values", "set", "go", "end.x", "E1", "if", "else", "using",
]  # fmt: skip
QUOTED = [
    "a b",
    "a/b",
    "größe",
    "x;y",
    "--c",
    "#c",
    "a=b",
    "1",
    "*",
    "a, b",
    "(a)",
    " a",
    "a ",
    "/*c",
    "a AND b",
    "created",
]
SIGNS = [
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    " = ",
    " != ",
    " < ",
    " LIKE ",
    " ILIKE ",
    " like ",
    " iLike ",
    " <> ",
    " == ",
    " >  ",
]
VALUES = [
    "1", "-1", "0.5", "-0.25", "1.5e3", "1e3", "2.", "00", "12345678901234567890", "'x'", "'a b'", "''", "'a;b'", "'--'",
    "'#'", "'100%'", "'größe'", "'(a)'", "'a, b'", '"x"', "'AND'", "' AND '", "'it''s'", "null", "x", "1.0.0", "1a", "'/*'",
    "'$1'", "':x'", "'@'", "'?'", "0x1", "-'x'", "'\\'", "'`'",
]  # fmt: skip


class Texts:
    """Filters and orders at random, of what the grammar has, and of what is near it."""

    def __init__(self, seed: int) -> None:
        self.chosen = random.Random(seed)

    def column(self) -> str:
        entity, quote = self.chosen.choice(ENTITIES), self.chosen.choice(["", "", '"', "`"])
        key = self.chosen.choice(WORDS + QUOTED if quote else WORDS)
        return f"{entity}." * bool(entity) + f"{quote}{key}{quote}"

    def clause(self) -> str:
        way = self.chosen.random()
        if way < 0.7:
            return self.column() + self.chosen.choice(SIGNS) + self.chosen.choice(VALUES)
        if way < 0.85:
            return self.column() + self.chosen.choice([" IS NULL", " is not null", " IS  NULL", " IS NOT  NULL"])
        listed = self.chosen.choice([", ", ","]).join(self.chosen.choices(VALUES, k=self.chosen.choice([1, 2, 3])))
        return f"{self.column()}{self.chosen.choice([' IN ', ' NOT IN ', ' in', ' not  in '])}({listed})"

    def filter(self) -> str:
        joined = self.chosen.choice([" AND ", " and ", "  AND ", " OR "])
        return joined.join(self.clause() for _ in range(self.chosen.choice([1, 1, 2, 3])))

    def order(self) -> str:
        return self.column() + self.chosen.choice(["", " ASC", " DESC", " asc", "  desc", " DESC ", " foo"])


def of_mlflow(text: str) -> list[tuple[str, str, str, Any]]:
    """As its store takes what its parser gives. Raises whatever MLflow raises."""
    found: list[tuple[str, str, str, Any]] = []
    for one in SearchUtils.parse_search_filter(text):
        kind, key = one["type"], SearchUtils.translate_key_alias(one["key"])
        sign = " ".join(one["comparator"].upper().split())
        assert any(
            known(kind, sign)
            for known in (SearchUtils.is_metric, SearchUtils.is_param, SearchUtils.is_tag, SearchUtils.is_dataset)
        ) or SearchUtils.is_attribute(kind, key, sign)
        value = float(one["value"]) if kind == "metric" else one["value"]
        found.append(("param" if kind == "parameter" else kind, key, sign, value))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_filters_mean_what_they_mean_to_mlflow(seed: int) -> None:
    texts, read = Texts(seed), 0
    for _ in range(8000):
        text = texts.filter()
        ours = read_filter(text)
        if ours is not None:
            read += 1
            assert [(one.kind, one.key, one.sign, one.value) for one in ours] == of_mlflow(text), text
    assert read > 200


def test_orders_mean_what_they_mean_to_mlflow() -> None:
    texts, read = Texts(9), 0
    for _ in range(8000):
        text = texts.order()
        ours = read_order(text)
        if ours is not None:
            read += 1
            kind, key, ascending = SearchUtils.parse_order_by_for_search_runs(text)
            kind = "param" if kind == "parameter" else kind
            assert (ours.kind, ours.key, ours.ascending) == (kind, SearchUtils.translate_key_alias(key), ascending), (
                text
            )
    assert read > 1000


def test_what_is_plain_is_read() -> None:
    text = "metrics.loss < 1e3 AND params.\"a b\" LIKE '%x' and tags.t IS NOT NULL and run_id in ('a', 'b')"
    assert read_filter(text) == (
        Clause("metric", "loss", "<", 1000.0),
        Clause("param", "a b", "LIKE", "%x"),
        Clause("tag", "t", "IS NOT NULL", None),
        Clause("attribute", "run_id", "IN", ("a", "b")),
    )
    assert read_filter("") == ()
    assert read_order("`run`.x") is None
    assert read_order("metrics.`a b` desc") == Order("metric", "a b", False)


@pytest.mark.parametrize(
    "text",
    [" ", "metrics.a > 1 AND", "AND metrics.a > 1", "metrics.a > 1;", "metrics.a > 1 metrics.b > 1", "a", "''", "("],
)
def test_what_is_not_plain_is_left_to_mlflow(text: str) -> None:
    assert read_filter(text) is None
