"""`azureml.core` of jobs whose environment has none: what a script does with its run, and what it is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from smalt.agent.overlay import make_overlay, see_run

FOLDER = Path(make_overlay.__code__.co_filename).parent / "inject" / "version1"


class Tracking(BaseHTTPRequestHandler):
    """MLflow's REST, as far as a run is logged to."""

    asked: list[tuple[str, Any]]
    run: ClassVar[dict[str, Any]] = {"run": {"data": {"metrics": [{"key": "acc", "value": 0.5}]}}}

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        keys = [one["key"] for one in body.get("metrics", [])]
        if "away" in keys and self.asked.count((self.path, body)) < 3:
            self.close_connection = True  # the second time it says nothing at all
            return self.answer(503, {}) if self.asked.count((self.path, body)) == 1 else None
        refused = "refused" in keys
        return self.answer(400 if refused else 200, {"message": "not this one"} if refused else {})

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.answer(200, self.run)

    def answer(self, status: int, body: Any) -> None:
        written = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def tracking() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    handler = type("Handler", (Tracking,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mlflow/v1.0/w", handler.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(script: str, tracking: str = "", path: str = str(FOLDER)) -> subprocess.CompletedProcess[str]:
    variables = (
        {"MLFLOW_RUN_ID": "r1", "MLFLOW_TRACKING_URI": tracking, "MLFLOW_TRACKING_TOKEN": "t"} if tracking else {}
    )
    script = f"import sys\nsys.path.append({path!r})\n{script}"
    environment = {**{key: one for key, one in os.environ.items() if not key.startswith("MLFLOW")}, **variables}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_what_it_logs_is_the_runs(tracking: tuple[str, list[tuple[str, Any]]]) -> None:
    url, asked = tracking
    script = """
from azureml.core import Run
run = Run.get_context()
assert run is Run.get_context() and run.id == "r1"
run.log("acc", 0.25); run.log("acc", 0.5); run.log("loss", float("nan"), step=7)
run.log_list("l", [1, 2])
run.log_row("row", x=1, y=2)
run.log_table("t", {"x": [1, 2], "y": 3})
run.tag("kind", "first")
run.flush(); run.complete()
assert run.get_metrics() == {"acc": 0.5}, run.get_metrics()
"""
    done = run(script, url)
    assert done.returncode == 0, done.stderr
    posted = [
        one
        for path, body in asked
        if path.endswith("/api/2.0/mlflow/runs/log-batch")
        for one in body.get("metrics", [])
    ]
    assert [(one["key"], one["value"], one["step"]) for one in posted] == [
        ("acc", 0.25, 0), ("acc", 0.5, 1), ("loss", "NaN", 7), ("l", 1.0, 0), ("l", 2.0, 1),
        ("row/x", 1.0, 0), ("row/y", 2.0, 0), ("t/x", 1.0, 0), ("t/x", 2.0, 1), ("t/y", 3.0, 0),
    ]  # fmt: skip
    assert asked[-2] == (
        "/mlflow/v1.0/w/api/2.0/mlflow/runs/log-batch",
        {"run_id": "r1", "tags": [{"key": "kind", "value": "first"}]},
    )
    assert asked[-1] == ("/mlflow/v1.0/w/api/2.0/mlflow/runs/get?run_id=r1", "Bearer t")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("from azureml.core import Workspace", "ImportError: azureml.core.Workspace: azureml.core is the SDK of version 1"),
        ("from azureml.core import Run; Run.get_context().child_run", "AttributeError: Run.child_run: azureml.core is"),
        ("from azureml.core import Run; Run.get_context().log('a', 'text')", "TypeError: 'a' cannot be logged: 'text' is no number"),
        ("from azureml.core import Run; Run.get_context().log('refused', 1)", "(400): {\"message\": \"not this one\"}"),
        ("import azureml.core; azureml.core.Workspace", "AttributeError: azureml.core.Workspace: azureml.core is the SDK of version 1"),
        ("from azureml.core.run import Run", "No module named 'azureml.core.run'"),
    ],
)  # fmt: skip
def test_what_it_has_not_is_said(tracking: tuple[str, list[tuple[str, Any]]], script: str, said: str) -> None:
    done = run(script, tracking[0])
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1], done.stderr


def test_who_looks_through_all_modules_finds_nothing_there() -> None:
    """As `pickle` does for what does not say its module, such as NumPy's functions before NumPy 2."""
    script = """
import pickle, types
from azureml.core import Run
import azureml.core
late = types.ModuleType("late")
def found(): pass
found.__module__ = None
late.found = found
sys.modules["late"] = late
assert pickle.loads(pickle.dumps(found)) is found
assert not hasattr(azureml.core, "Workspace")
"""
    done = run(script)
    assert done.returncode == 0, done.stderr


def test_a_platform_that_is_away_for_a_moment_loses_nothing(tracking: tuple[str, list[tuple[str, Any]]]) -> None:
    url, asked = tracking
    done = run("from azureml.core import Run; Run.get_context().log('away', 1)", url)
    assert done.returncode == 0, done.stderr
    assert len(asked) == 3 and asked[0] == asked[1] == asked[2], "the same, with its time: it is kept once"


def test_it_needs_a_job() -> None:
    done = run("from azureml.core import Run; Run.get_context()")
    assert "this is no job" in done.stderr.splitlines()[-1]


def test_libraries_that_look_for_a_run_find_none() -> None:
    done = run("import importlib.util as u; assert u.find_spec('azureml.core') and not u.find_spec('azureml.core.run')")
    assert done.returncode == 0, done.stderr


def test_what_is_installed_goes_first(tmp_path: Path) -> None:
    init = (FOLDER / "azureml" / "__init__.py").read_text()
    for name, text in {"__init__.py": init, "core/__init__.py": "Run = 'theirs'", "mlflow/__init__.py": ""}.items():
        (tmp_path / "azureml" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "azureml" / name).write_text(text)
    script = f"sys.path.insert(0, {str(tmp_path)!r})\nimport azureml.mlflow\nfrom azureml.core import Run\nassert Run == 'theirs'"
    assert run(script).returncode == 0
    shutil.rmtree(tmp_path / "azureml" / "core")
    assert run(script.replace("== 'theirs'", "!= 'theirs'")).returncode == 0


def test_an_overlay_has_it_behind_all_else(tmp_path: Path) -> None:
    overlay = tmp_path / "venv"
    binaries = make_overlay(Path(sys.prefix), overlay)
    see_run(binaries.parent)
    script = "import sys; print(sys.path[-1])"
    done = subprocess.run([binaries / "python", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(FOLDER)
