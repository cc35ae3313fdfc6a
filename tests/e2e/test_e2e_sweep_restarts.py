"""A sweep goes on where it was when the server is killed, again and again: no trial is lost, none runs twice."""

from __future__ import annotations

from typing import Any

import pytest

from live.platform import HOME, Platform, eventually

pytestmark = pytest.mark.e2e

TRIALS = 14


def swept(platform: Platform, algorithm: str, name: str) -> None:
    command = (
        """sleep 0.5; curl -sSf --retry 40 --retry-all-errors --retry-delay 1 --cacert "$SSL_CERT_FILE" """
        """-H "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" -H 'Content-Type: application/json' """
        """"$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/log-metric" """
        """-d '{"run_id": "'"$MLFLOW_RUN_ID"'", "key": "score", "value": ${{search_space.x}}, "timestamp": 1, "step": 0}'"""
    )
    body = {
        "jobType": "Sweep",
        "trial": {"command": command, "environmentId": platform.ensure_environment()},
        "searchSpace": {"x": ["uniform", [0, 1]]},
        "samplingAlgorithm": {"samplingAlgorithmType": algorithm},
        "objective": {"goal": "maximize", "primaryMetric": "score"},
        "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": TRIALS, "maxConcurrentTrials": 3},
    }
    assert platform.call("PUT", f"jobs/{name}", {"properties": body}).status_code == 201


def children(platform: Platform, name: str) -> list[dict[str, Any]]:
    return platform.get(f"/history/v1.0{HOME}/runs/{name}/children")["value"]


@pytest.mark.parametrize("algorithm", ["Random", "Bayesian"])
def test_a_sweep_survives_a_server_that_is_killed(platform: Platform, algorithm: str) -> None:
    name = f"killed-{algorithm.lower()}"
    swept(platform, algorithm, name)
    for ended in (1, 5, 9):
        eventually(
            lambda ended=ended: sum(one["status"] == "Completed" for one in children(platform, name)) >= ended,
            f"{ended} trials",
            60,
        )
        platform.restarted("server", platform.kill("server"))
        platform.wait_until_it_answers()
    shown = platform.wait_for(name, "Completed")
    found = children(platform, name)
    assert sorted(one["runId"] for one in found) == sorted(f"{name}_{number}" for number in range(TRIALS))
    assert {one["status"] for one in found} == {"Completed"}
    values = {one["runId"]: one["tags"]["hyperparameters"] for one in found}
    assert len(set(values.values())) == TRIALS
    scores = {run: float(text.rpartition(":")[2].strip(" }")) for run, text in values.items()}
    assert shown["properties"]["best_child_run_id"] == max(scores, key=lambda run: scores[run])
    journal = platform.job_log(name, "azureml-logs/hyperdrive.txt")
    assert [journal.count(f"id='{name}_{number}'") for number in range(TRIALS)] == [1] * TRIALS
