"""Bodies that no client sends: every one gets an answer in MLflow's JSON, and none a 500."""

from __future__ import annotations

import copy
import gzip
import json
import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from smalt.arm.ports import RunSpec

API = "/api/2.0/mlflow"
RUN = "malformed-run"
SENT = 300  # of about 5,000
NOW_MS = 1_800_000_000_000
# what clients send, one body a route; each value in it is replaced in turn
BODIES: dict[str, Any] = {
    "runs/create": {
        "experiment_id": "1",
        "run_name": "r",
        "start_time": NOW_MS,
        "user_id": "u",
        "tags": [{"key": "k", "value": "v"}],
    },
    "runs/update": {"run_id": RUN, "status": "RUNNING", "end_time": NOW_MS, "run_name": "r"},
    "runs/search": {
        "experiment_ids": ["1"],
        "filter": "metrics.m > 0",
        "max_results": 5,
        "order_by": ["metrics.m DESC"],
        "run_view_type": "ACTIVE_ONLY",
        "page_token": "",
    },
    "runs/log-metric": {"run_id": RUN, "run_uuid": RUN, "key": "m", "value": 1.5, "timestamp": NOW_MS, "step": 1},
    "runs/log-parameter": {"run_id": RUN, "key": "p", "value": "v"},
    "runs/set-tag": {"run_id": RUN, "key": "t", "value": "v"},
    "runs/delete-tag": {"run_id": RUN, "key": "t"},
    "runs/log-batch": {
        "run_id": RUN,
        "metrics": [{"key": "m", "value": 1, "timestamp": NOW_MS, "step": 1}],
        "params": [{"key": "b", "value": "v"}],
        "tags": [{"key": "t", "value": "v"}],
    },
    "runs/log-inputs": {
        "run_id": RUN,
        "datasets": [
            {
                "tags": [{"key": "k", "value": "v"}],
                "dataset": {"name": "d", "digest": "1", "source_type": "local", "source": "s", "schema": "{}"},
            }
        ],
        "models": [{"model_id": "m-1"}],
    },
    "runs/outputs": {"run_id": RUN, "models": [{"model_id": "m-1", "step": 1}]},
    "runs/log-model": {"run_id": RUN, "model_json": '{"artifact_path": "m", "flavors": {}, "utc_time_created": "x"}'},
    "experiments/create": {"name": "made", "artifact_location": "", "tags": [{"key": "k", "value": "v"}]},
    "experiments/search": {
        "filter": "name LIKE 'a%'",
        "max_results": 5,
        "order_by": ["name ASC"],
        "view_type": "ALL",
        "page_token": "",
    },
    "experiments/search-datasets": {"experiment_ids": ["1"]},
    "experiments/update": {"experiment_id": "1", "new_name": "other"},
    "experiments/set-experiment-tag": {"experiment_id": "1", "key": "k", "value": "v"},
    "registered-models/create": {"name": "model", "description": "d", "tags": [{"key": "k", "value": "v"}]},
    "registered-models/set-tag": {"name": "model", "key": "k", "value": "v"},
    "registered-models/alias": {"name": "model", "alias": "a", "version": "1"},
    "registered-models/get-latest-versions": {"name": "model", "stages": ["None"]},
    "model-versions/create": {"name": "model", "source": "https://x/y", "run_id": RUN, "description": "d", "tags": []},
    "model-versions/transition-stage": {
        "name": "model",
        "version": "1",
        "stage": "Staging",
        "archive_existing_versions": True,
    },
    "model-versions/set-tag": {"name": "model", "version": "1", "key": "k", "value": "v"},
    "logged-models": {
        "experiment_id": "1",
        "name": "m",
        "model_type": "t",
        "source_run_id": RUN,
        "params": [{"key": "k", "value": "v"}],
        "tags": [{"key": "k", "value": "v"}],
    },
    "logged-models/search": {
        "experiment_ids": ["1"],
        "filter": "name = 'm'",
        "max_results": 5,
        "order_by": [{"field_name": "name", "ascending": True}],
        "datasets": [{"dataset_name": "d"}],
        "page_token": "",
    },
}
QUERIES: dict[str, dict[str, str]] = {
    "runs/get": {"run_id": RUN},
    "experiments/get": {"experiment_id": "1"},
    "experiments/get-by-name": {"experiment_name": "jobs"},
    "metrics/get-history": {"run_id": RUN, "metric_key": "m", "max_results": "5", "page_token": ""},
    "artifacts/list": {"run_id": RUN, "path": ""},
    "registered-models/get": {"name": "model"},
    "registered-models/search": {"filter": "name = 'm'", "max_results": "5", "order_by": "name", "page_token": ""},
    "model-versions/search": {"filter": "name = 'm'", "max_results": "5", "order_by": "name", "page_token": ""},
    "model-versions/get": {"name": "model", "version": "1"},
}
WRONG: list[Any] = [
    None, True, 0, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**400, "", "0", "x", "NaN", "nan", "Infinity", "1e999", "\0", "a\0b",
    "'", "\ud800", "%", "9" * 30, "x" * 10_000, [], {}, [None], [1], ["x"], [[]], [{}], {"key": 1}, {"value": {}}, {"a": [{"b": "\0"}]},
    float("nan"), float("inf"), 1e308, "/subscriptions/x", "https://[x/", "file:///etc/passwd", "../..",
]  # fmt: skip
RAW = [
    b"", b" ", b"{", b"[]", b"null", b"1", b'"x"', b'"{}"', b"[" * 100_000, b'{"a":' * 90_000, b"\xff\xfe", b'{"run_id": "\\ud800"}',
    b'{"run_id": "x", "run_id": 1}', "{}".encode("utf-16"),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path to a value in a document, the document's own included."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def cases() -> list[tuple[str, str, dict[str, Any]]]:
    """(method, route, what httpx sends), the same at every run."""
    changed = [
        ("POST", route, {"content": json.dumps(replaced(body, path, value)).encode()})
        for route, body in BODIES.items()
        for path in places(body)
        for value in WRONG
    ]
    raw = [("POST", route, {"content": body}) for route in BODIES for body in RAW]
    texts = [one if isinstance(one, str) else json.dumps(one) for one in WRONG if one != "\ud800"]
    asked = [
        ("GET", route, {"params": {**query, name: text}})
        for route, query in QUERIES.items()
        for name in query
        for text in texts
    ]
    return random.Random(7).sample([*changed, *raw, *asked], SENT)


@pytest.fixture(scope="module")
def client(site: Any) -> Iterator[Any]:
    site.tracking.ensure_run(RunSpec(site.alpha.key, RUN, "jobs"))
    with site.client() as made:
        yield made


def test_no_request_gives_a_500(client: Any) -> None:
    wrong: list[object] = []
    for method, route, options in cases():
        answer = client.request(method, f"{API}/{route}", headers={"Content-Type": "application/json"}, **options)
        said = answer.headers.get("content-type", "")
        if answer.status_code >= 500 or (answer.status_code >= 400 and "error_code" not in answer.text):
            wrong.append((route, str(options)[:300], answer.status_code, said, answer.text[:300]))
    assert not wrong, wrong[:20]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", ""])
def test_compressed_traces_arrive_as_they_were(client: Any, encoding: str) -> None:
    empty = {"resourceSpans": []}
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "": bytes}[encoding]
    headers = {"Content-Type": "application/json", "x-mlflow-experiment-id": "1"}
    answers = [
        client.post("/v1/traces", content=content, headers=headers | extra)
        for content, extra in (
            (json.dumps(empty).encode(), {}),
            (pack(json.dumps(empty).encode()), {"Content-Encoding": encoding} if encoding else {}),
        )
    ]
    assert answers[0].status_code == answers[1].status_code < 500
    assert answers[0].text == answers[1].text


def test_fifty_clauses_are_a_search_and_more_are_none(client: Any) -> None:
    experiment = client.get(f"{API}/experiments/get-by-name", params={"experiment_name": "jobs"}).json()["experiment"]
    ids = [experiment["experiment_id"]]
    for number, status in ((1, 200), (50, 200), (51, 400), (1000, 400)):
        text = " and ".join(["metrics.a > 1"] * number)
        answer = client.post(f"{API}/runs/search", json={"experiment_ids": ids, "filter": text})
        assert answer.status_code == status, answer.text
