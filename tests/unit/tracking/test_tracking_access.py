"""The routes that exist through the edge, and what they need."""

from __future__ import annotations

import pytest

from smalt.tracking.edge.access import action, is_known, is_repeatable

ML = "Microsoft.MachineLearningServices/workspaces"


@pytest.mark.parametrize(
    "rest",
    [
        "/",
        "/static-files/static/js/main.js",
        "/graphql",
        "/get-artifact",
        "/v1/traces",
        "/api/2.0/mlflow/runs/create",
        "/ajax-api/2.0/mlflow/runs/search",
        "/api/2.0/preview/mlflow/runs/log-batch-async",
        "/api/3.0/mlflow/traces/search",
        "/api/2.0/mlflow/logged-models",
        "/api/3.0/mlflow/server-info",
    ],
)
def test_tracking_is_served(rest: str) -> None:
    assert is_known(rest)


@pytest.mark.parametrize(
    "rest",
    [
        "/api/3.0/mlflow/workspaces",
        "/api/3.0/mlflow/workspaces/other",
        "/ajax-api/3.0/mlflow/assistant/message",
        "/api/2.0/mlflow/webhooks",
        "/api/3.0/mlflow/gateway/secrets",
        "/ajax-api/2.0/mlflow/gateway-proxy",
        "/gateway/x/mlflow/invocations",
        "/ajax-api/3.0/jobs/",
        "/ajax-api/3.0/mlflow/scorer/invoke",
        "/ajax-api/3.0/mlflow/genai/evaluate/invoke",
        "/static-files/../../api/3.0/mlflow/workspaces",
        "/api/2.0/mlflow/runs/./create",
        "/metrics",
        "",
    ],
)
def test_the_rest_of_mlflows_server_is_not(rest: str) -> None:
    assert not is_known(rest)


@pytest.mark.parametrize(
    ("method", "rest", "expected"),
    [
        ("GET", "/api/2.0/mlflow/runs/get", "experiments/read"),
        ("POST", "/api/2.0/mlflow/runs/search", "experiments/read"),
        ("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", "experiments/read"),
        ("POST", "/graphql", "experiments/read"),
        ("POST", "/api/2.0/mlflow/runs/log-metric", "experiments/write"),
        ("POST", "/api/2.0/mlflow/runs/create", "experiments/write"),
        ("POST", "/api/2.0/mlflow/runs/delete", "experiments/write"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x", "experiments/write"),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/x", "experiments/delete"),
        ("POST", "/api/2.0/mlflow/registered-models/create", "models/write"),
        ("POST", "/api/2.0/mlflow/registered-models/get-latest-versions", "models/read"),
        ("GET", "/api/2.0/mlflow/model-versions/search", "models/read"),
    ],
)
def test_what_a_request_needs(method: str, rest: str, expected: str) -> None:
    assert action(method, rest) == f"{ML}/{expected}"


@pytest.mark.parametrize(
    ("method", "rest", "expected"),
    [
        ("GET", "/api/2.0/mlflow/runs/get", True),
        ("POST", "/api/2.0/mlflow/runs/search", True),
        ("POST", "/api/2.0/mlflow/runs/log-metric", True),
        ("POST", "/api/2.0/mlflow/runs/log-batch", True),
        ("POST", "/api/2.0/preview/mlflow/runs/log-batch-async", True),
        ("POST", "/api/2.0/mlflow/runs/log-parameter", True),
        ("POST", "/api/2.0/mlflow/runs/set-tag", True),
        ("POST", "/api/2.0/mlflow/experiments/set-experiment-tag", True),
        ("POST", "/api/2.0/mlflow/runs/update", True),
        ("POST", "/api/2.0/mlflow/runs/create", False),
        ("POST", "/api/2.0/mlflow/runs/log-model", False),  # appends to a list in a tag
        ("POST", "/api/2.0/mlflow/logged-models", False),
        ("POST", "/api/2.0/mlflow/experiments/create", False),
        ("POST", "/api/2.0/mlflow/model-versions/create", False),
        ("DELETE", "/api/2.0/mlflow/registered-models/delete", False),
        ("POST", "/v1/traces", False),
    ],
)
def test_what_may_be_sent_twice(method: str, rest: str, expected: bool) -> None:
    assert is_repeatable(method, rest) is expected
