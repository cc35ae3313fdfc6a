"""`diagnose` looks at the things themselves: what is well is not mentioned, what is broken is named."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fakes.examples import EXAMPLES
from fakes.platform import WORKSPACE
from smalt.arm.ports import NotReady
from smalt.kinds.workspaces import diagnosis


@pytest.fixture
def mlflow(harness: Any) -> Iterator[list[bytes]]:
    """MLflow's socket; the list holds what it answers."""
    answers = [b"HTTP/1.1 200 OK\r\n\r\nOK"]
    path = harness.settings.mlflow_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            line, _ = listener.accept()
            with line:
                if not line.recv(1000):
                    return
                line.sendall(answers[-1])

    thread = threading.Thread(target=serve)
    thread.start()
    yield answers
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(str(path))
    thread.join()
    listener.close()
    path.unlink()


def endpoint(harness: Any) -> None:
    url = f"{WORKSPACE}/onlineEndpoints/scores"
    assert harness.put(url, EXAMPLES["workspaces/onlineendpoints"].body()).status_code == 201
    harness.settle()
    assert harness.get(url).json()["properties"]["provisioningState"] == "Succeeded"


def found(harness: Any) -> list[tuple[str, str]]:
    answer = harness.send("POST", f"{WORKSPACE}/diagnose", {})
    assert answer.status_code == 200, answer.text
    return [(one["code"], one["level"]) for part in answer.json()["value"].values() for one in part]


def test_all_is_well(harness: Any, mlflow: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_LITTLE_BYTES", 1)
    endpoint(harness)
    assert found(harness) == []


def test_what_is_broken_is_named(harness: Any, mlflow: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_LITTLE_BYTES", 1)
    store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
    shutil.rmtree(harness.blobs.path(store["accountName"], store["containerName"]))
    assert found(harness) == [("ContainerMissing", "Error")]
    with harness.database.write() as connection:
        diagnosis.resources.remove(connection, f"{WORKSPACE}/datastores/workspaceblobstore".lower(), 0.0)
    assert found(harness) == [("DatastoreMissing", "Error")]


def test_mlflow_that_fails_that_is_away_and_that_starts(
    harness: Any, mlflow: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "_LITTLE_BYTES", 1)
    mlflow.append(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert found(harness) == [("MlflowNotAnswering", "Error")]
    hidden = harness.settings.mlflow_socket.with_suffix(".hidden")
    harness.settings.mlflow_socket.rename(hidden)
    assert found(harness) == [("MlflowNotAnswering", "Error")]
    hidden.rename(harness.settings.mlflow_socket)

    def starting(*_: str) -> str:
        raise NotReady("MLflow is making its database; try again soon.")

    monkeypatch.setattr(harness.tracking, "run_id", starting)
    assert found(harness) == [("MlflowNotReady", "Warning")]


def test_a_gateway_that_lags_and_a_disk_that_fills(
    harness: Any, mlflow: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(harness)
    harness.gateway.lagging = True
    free = shutil.disk_usage(harness.settings.root).free
    for little, too_little, level in ((free * 2, 1, "Warning"), (free * 2, free * 2, "Error")):
        monkeypatch.setattr(diagnosis, "_LITTLE_BYTES", little)
        monkeypatch.setattr(diagnosis, "_TOO_LITTLE_BYTES", too_little)
        assert found(harness) == [("DiskAlmostFull", level), ("GatewayBehind", "Warning")]


def test_keys_are_never_out_of_step(harness: Any) -> None:
    answer = harness.send("POST", f"{WORKSPACE}/resyncKeys", {})
    assert (answer.status_code, answer.content) == (200, b"")
