"""Bodies that MLflow's handlers trip over, refused before; what clients send is let through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.arm.errors import ArmError
from smalt.tracking.edge.bodies import DEPTH_MOST, check_body, check_query

API = "/api/2.0/mlflow"
BATCH = {
    "run_id": "r",
    "metrics": [
        {"key": "m", "value": value, "timestamp": "1800000000000", "step": 1} for value in (1, "NaN", 10**30, -1.5)
    ],
    "params": [{"key": "p", "value": "\0"}],
    "tags": None,
}


def refused(rest: str, content: Any) -> str:
    """The field that is named, '' where it is let through."""
    try:
        check_body(API + rest, content if isinstance(content, bytes) else json.dumps(content).encode())
    except ArmError as error:
        assert error.status == 400
        return error.target or "?"
    return ""


@pytest.mark.parametrize(
    ("rest", "content", "field"),
    [
        ("/runs/log-metric", {"run_id": "r", "value": [1]}, "value"),
        ("/runs/log-metric", {"run_id": "r", "timestamp": float("inf")}, "timestamp"),
        ("/runs/log-metric", {"run_id": "r", "step": 2**63}, "step"),
        ("/runs/log-metric", {"run_id": {}, "step": 1}, "run_id"),
        ("/runs/log-batch", {"run_id": "r", "metrics": {"key": "m"}}, "metrics"),
        ("/runs/log-batch", {"run_id": "r", "metrics": ["x"]}, "metrics[0]"),
        ("/runs/log-batch", {"run_id": "r", "params": [{"key": "a"}, {"value": {}}]}, "params[1].value"),
        ("/runs/log-batch", {"run_id": "r", "tags": "x"}, "tags"),
        ("/runs/create", {"experiment_id": str(2**63)}, "experiment_id"),
        ("/runs/create", {"experiment_id": "9" * 5000}, "experiment_id"),
        ("/runs/search", {"experiment_ids": ["1", -(2**63) - 1]}, "experiment_ids"),
        ("/model-versions/create", {"name": "n", "source": "a\0"}, "source"),
        ("/registered-models/create", b'{"name": "\\uDc00"}', "body"),
        ("/runs/create", b'{"a":' * 5000, "body"),
        ("/anything", b'{"a":' * DEPTH_MOST + b"[[]]" + b"}" * DEPTH_MOST, "body"),
    ],
)
def test_what_no_client_sends_is_refused_with_its_field(rest: str, content: Any, field: str) -> None:
    assert refused(rest, content) == field


@pytest.mark.parametrize(
    ("rest", "content"),
    [
        ("/runs/log-batch", BATCH),
        ("/runs/log-metric", {"run_id": "r", "key": "m", "value": float("nan"), "timestamp": 1.8e12, "step": "7"}),
        ("/runs/set-tag", b'{"key": "k", "value": "\\ud83d\\ude00"}'),
        ("/runs/create", {"experiment_id": "not a number", "tags": [], "unknown": {"value": []}}),
        ("/traces", {"tags": {"a": "b"}, "value": {}}),
        ("/runs/create", b"{"),
        ("/runs/create", b"[]"),
        ("/x", b'{"a":' * 99 + b"1" + b"}" * 99),
    ],
)
def test_the_rest_is_mlflows_to_judge(rest: str, content: Any) -> None:
    assert refused(rest, content) == ""


def test_numbers_in_the_url() -> None:
    check_query("experiment_id=1&version=x&max_results=")
    for query in (f"experiment_id={2**63}", f"a=b&version={'9' * 500}", f"max_results={10**30}"):
        with pytest.raises(ArmError):
            check_query(query)
