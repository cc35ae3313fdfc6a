"""Searches of runs, as far as they are plain (`filters.py`): read from a request, and answered on MLflow's tables.

A page begins where its token says, which is MLflow's own: so pages of both may follow each other. All that a search
names is a value of its statement, and each clause looks into an index.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection

from smalt.store.quick import execute
from smalt.tracking.store.filters import (
    ATTRIBUTE,
    DATASET,
    METRIC,
    PARAM,
    TAG,
    Clause,
    Order,
    read_filter,
    read_order,
)
from smalt.tracking.store.plain import is_unusual
from smalt.tracking.store.run_documents import COLUMNS, Document, documents

PAGE_MOST = 1000  # runs; larger pages are MLflow's, whose memory is not this server's
_USUAL_PAGE = 1000  # what MLflow takes for none
_EXPERIMENTS_MOST = 1000
_FIELDS = frozenset({"experiment_ids", "filter", "run_view_type", "max_results", "order_by", "page_token"})
_STAGES = {"ACTIVE_ONLY": ("active",), "DELETED_ONLY": ("deleted",), "ALL": ("active", "deleted")}
_EXPERIMENT = re.compile(r"[0-9]{1,9}")
_OFFSET = re.compile(r'\{"offset": ([1-9][0-9]{0,17})\}')
_COLUMNS = {"run_id": "run_uuid", "run_name": "name"}  # of attributes, where they have another name
_TABLES = {METRIC: "latest_metrics", PARAM: "params", TAG: "tags"}
_DATASETS = (
    "r.run_uuid IN (SELECT i.destination_id FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id WHERE {})"
)
_CONTEXTS = (
    "r.run_uuid IN (SELECT i.destination_id FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
    "JOIN input_tags t ON t.input_uuid = i.input_uuid WHERE t.name = 'mlflow.data.context' AND {})"
)


@dataclass(frozen=True)
class Search:
    """`workspace` is MLflow's name; `experiments` are ids, of which 0 stands for the workspace's default one."""

    workspace: str
    experiments: Sequence[int]
    clauses: Sequence[Clause] = ()
    orders: Sequence[Order] = ()
    stages: Sequence[str] = _STAGES["ACTIVE_ONLY"]
    most: int = _USUAL_PAGE
    offset: int = 0


def search_of(workspace: str, body: bytes) -> Search | None:
    """The body of `runs/search`; None for one that is not plain."""
    if is_unusual(body):
        return None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if content.__class__ is not dict or not content.keys() <= _FIELDS:
        return None
    given = cast("dict[str, Any]", content)
    experiments = _experiments(given.get("experiment_ids"))
    text, wanted, most = given.get("filter", ""), given.get("order_by", []), given.get("max_results", _USUAL_PAGE)
    stages, offset = _STAGES.get(str(given.get("run_view_type", "ACTIVE_ONLY"))), _offset(given.get("page_token", ""))
    if not experiments or text.__class__ is not str or wanted.__class__ is not list or stages is None:
        return None
    if offset is None or most.__class__ is not int or not 1 <= most <= PAGE_MOST:
        return None
    clauses, orders = read_filter(text), _orders(wanted)
    if clauses is None or orders is None:
        return None
    return Search(workspace, experiments, clauses, orders, stages, most, offset)


def search(connection: Connection, asked: Search) -> Document | None:
    """MLflow's answer; None where it has to give it."""
    sqlite = connection.dialect.name == "sqlite"
    statement, values = _statement(asked, sqlite)
    if sqlite:
        if any(one.sign == "LIKE" for one in asked.clauses):  # as MLflow has it; nobody else compares so here
            execute(connection, "PRAGMA case_sensitive_like = true")
        rows: Sequence[Sequence[Any]] = execute(connection, statement, values)
    else:
        rows = connection.exec_driver_sql(statement.replace("?", "%s"), tuple(values)).all()
    found = documents(connection, rows[: asked.most], models_in=False)
    if None in found:
        return None
    answer: Document = {"runs": found} if found else {}
    if len(rows) > asked.most:
        token = json.dumps({"offset": asked.offset + asked.most})
        answer["next_page_token"] = base64.b64encode(token.encode()).decode()
    return answer


def _experiments(given: Any) -> Sequence[int] | None:
    if given.__class__ is not list or len(given) > _EXPERIMENTS_MOST:
        return None
    if all(one.__class__ is str and _EXPERIMENT.fullmatch(one) for one in given):
        return [int(one) for one in given]
    return None


def _orders(given: list[Any]) -> Sequence[Order] | None:
    orders: list[Order] = []
    for one in given:
        order = read_order(one) if one.__class__ is str else None
        if order is None or any((order.kind, order.key) == (before.kind, before.key) for before in orders):
            return None
        orders.append(order)
    return orders


def _offset(token: Any) -> int | None:
    if token == "":
        return 0
    if token.__class__ is not str or not token.isascii():
        return None
    try:
        found = _OFFSET.fullmatch(base64.b64decode(token, validate=True).decode())
    except (binascii.Error, ValueError):
        return None
    return int(found[1]) if found else None


def _statement(asked: Search, sqlite: bool) -> tuple[str, list[Any]]:
    """With `?` for each of the values. Rows of COLUMNS, one more than asked for where there are more."""
    joins, ordered, joined = ordering(asked.orders)
    where, values = ["e.workspace = ?"], list[Any]([*joined, asked.workspace])
    where.append("r.experiment_id " + ("IN (SELECT value FROM json_each(?))" if sqlite else "= ANY(?)"))
    values.append(json.dumps(asked.experiments) if sqlite else list(asked.experiments))
    where.append(f"r.lifecycle_stage IN ({marks(asked.stages)})")
    values += asked.stages
    for clause in asked.clauses:
        found, compared = condition(clause, sqlite)
        where.append(found)
        values += compared
    return (
        f"SELECT {COLUMNS} FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id{joins} "
        f"WHERE {' AND '.join(where)} ORDER BY {', '.join(ordered)} LIMIT ? OFFSET ?",
        [*values, asked.most + 1, asked.offset],
    )


def ordering(orders: Sequence[Order]) -> tuple[str, list[str], list[str]]:
    """Joins, columns to order by, and what the joins compare with.

    What has no value comes last, behind what is NaN. Of equal ones the run that began last comes first.
    """
    joins, columns, values = "", list[str](), list[str]()
    for number, order in enumerate(orders):
        column = f"r.{_COLUMNS.get(order.key, order.key)}"
        if order.kind != ATTRIBUTE:
            joined, column = f"o{number}", f"o{number}.value"
            joins += f" LEFT JOIN {_TABLES[order.kind]} {joined} ON {joined}.run_uuid = r.run_uuid AND {joined}.key = ?"
            values.append(order.key)
        nan = f"WHEN o{number}.is_nan THEN 1 " if order.kind == METRIC else ""
        columns.append(f"CASE {nan}WHEN {column} IS NULL THEN 2 ELSE 0 END")
        columns.append(column if order.ascending else f"{column} DESC")
    if not any((one.kind, one.key) == (ATTRIBUTE, "start_time") for one in orders):
        columns.append("r.start_time DESC")
    return joins, [*columns, "r.run_uuid"], values


def condition(clause: Clause, sqlite: bool, each: bool = False) -> tuple[str, list[Any]]:
    """`each`: what a run has logged is looked up run by run, which is better where few are looked at."""
    if clause.kind == ATTRIBUTE and clause.key != "run_name":
        return _compared(f"r.{_COLUMNS.get(clause.key, clause.key)}", clause, sqlite)
    if clause.kind == DATASET:
        context = clause.key == "context"
        compared, values = _compared("t.value" if context else f"d.{clause.key}", clause, sqlite)
        return (_CONTEXTS if context else _DATASETS).format(compared), values
    kind, key = (TAG, "mlflow.runName") if clause.kind == ATTRIBUTE else (clause.kind, clause.key)
    if clause.value is None:
        found = f"EXISTS (SELECT 1 FROM {_TABLES[kind]} n WHERE n.run_uuid = r.run_uuid AND n.key = ?)"
        return (f"NOT {found}" if clause.sign == "IS NULL" else found), [key]
    compared, values = _compared("value", clause, sqlite)
    if kind == METRIC:  # NaN is stored as 0, and differs from every number
        compared = f"({compared} OR is_nan)" if clause.sign == "!=" else f"{compared} AND NOT is_nan"
    of = f"FROM {_TABLES[kind]} n WHERE key = ? AND {compared}"
    if each:
        return f"EXISTS (SELECT 1 {of} AND n.run_uuid = r.run_uuid)", [key, *values]
    return f"r.run_uuid IN (SELECT run_uuid {of})", [key, *values]


def _compared(column: str, clause: Clause, sqlite: bool) -> tuple[str, list[Any]]:
    value, sign = clause.value, clause.sign
    if isinstance(value, tuple):
        return f"{column} {sign} ({marks(value)})", list(value)
    if sign == "ILIKE" and sqlite:
        return f"lower({column}) LIKE lower(?)", [value]
    return f"{column} {sign} ?", [value]


def marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
