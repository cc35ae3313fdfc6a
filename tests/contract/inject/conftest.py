"""Azure's own inference server and ours, side by side, in one environment made for it."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from live.patience import ANSWER_S, PATIENCE_S
from live.ports import free_port

SERVE = Path(__file__).parents[3] / "src" / "smalt" / "agent" / "inject" / "serve.py"
PACKAGES = [
    "azureml-inference-server-http>=1.4",
    "mlflow>=2.16,<3",
    "pandas<2",
    "numpy<2",
    "scikit-learn<1.8",
    "setuptools<81",
    "azureml-ai-monitoring",
]
FRONT_END = {"ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"}
VARYING = {"date", "server", "connection", "content-length", "x-ms-server-version", "transfer-encoding"}


@dataclass(frozen=True)
class Answer:
    """`headers` without those that differ for reasons of time or make; `raw` with all."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]
    raw: dict[str, str] = field(default_factory=dict)

    def json(self):
        return json.loads(self.body)


@dataclass
class Running:
    process: subprocess.Popen
    port: int
    log: Path

    def ask(self, method: str, path: str, body: bytes | str | None = None, headers: dict | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        raw = {name.lower(): value for name, value in response.getheaders()}
        kept = [(name.lower(), value) for name, value in response.getheaders() if name.lower() not in VARYING]
        return Answer(response.status, content, sorted(kept), raw)

    def post(self, body: object, **headers: str) -> Answer:
        text = body if isinstance(body, (bytes, str)) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/score", text, {"Content-Type": "application/json", **named})

    def output(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="session")
def serving_python() -> Path:
    """An interpreter with the reference, MLflow and scikit-learn; kept between runs, made new when the list changes."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(json.dumps([version, PACKAGES]).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"smalt-test-serving-{os.getuid()}-{key}"
    folder.mkdir(mode=0o700, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
            subprocess.run(
                [uv, "--project", "/", "venv", "-q", "--clear", "--python", version, folder / "venv"], check=True
            )
            subprocess.run([uv, "--project", "/", "pip", "install", "-q", "--python", python, *PACKAGES], check=True)
            (folder / "complete").touch()
    return python


def stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_healthy(running: Running, seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while True:
        if running.process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"the server did not become healthy:\n{running.output()}")
        try:
            if running.ask("GET", "/").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)


def clean_variables(extra: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZUREML_", "AML_", "MLFLOW_"))}
    return {**kept, **extra}


@contextmanager
def reference_server(python: Path, folder: Path, variables: dict[str, str]) -> Iterator[Running]:
    port, log = free_port(), folder / "reference.log"
    arguments = [python, "-m", "azureml_inference_server_http", "--entry_script", "score.py", "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(one) for one in arguments],
            cwd=folder,
            env=clean_variables(variables),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(process, port, log)
    try:
        wait_until_healthy(running)
        yield running
    finally:
        stop(process)


@contextmanager
def our_server(
    python: Path, folder: Path, variables: dict[str, str] | None = None, wait: bool = True, **config: object
) -> Iterator[Running]:
    """With a TCP port beside the unix socket. `config` adds to the launch file."""
    port, log = free_port(), folder / "ours.log"
    launch = {"mode": "script", "entry_script": str(folder / "score.py"), "app_root": str(folder), **config}
    (folder / "launch.json").write_text(json.dumps(launch))
    arguments = [python, SERVE, "--socket", folder / "s.sock", "--port", port, "--config", folder / "launch.json"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(one) for one in arguments],
            cwd=folder,
            env=clean_variables(variables or {}),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(process, port, log)
    try:
        if wait:
            wait_until_healthy(running)
        yield running
    finally:
        stop(process)


class Pair:
    def __init__(self, reference: Running, ours: Running) -> None:
        self.reference, self.ours = reference, ours

    def same(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict | None = None
    ) -> tuple[Answer, Answer]:
        expected = self.reference.ask(method, path, body, headers)
        got = self.ours.ask(method, path, body, headers)
        assert got.body == expected.body
        if expected.status == 500 and got.status == 424:
            assert got.raw["ms-azureml-model-error-statuscode"] == "500"
        else:
            assert got.status == expected.status
        assert comparable(got, headers) == comparable(expected, headers)
        return expected, got

    def post(self, body: object, **headers: str) -> tuple[Answer, Answer]:
        text = body if isinstance(body, (bytes, str)) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.same("POST", "/score", text, {"Content-Type": "application/json", **named})


def comparable(answer: Answer, sent: dict | None) -> list[tuple[str, str]]:
    """Generated ids and times become marks: that they are there counts."""
    names = {name.lower() for name in sent or {}}
    kept = []
    for name, value in answer.headers:
        if name in FRONT_END:
            continue
        made_up = name in ("x-request-id", "x-ms-request-id") and value not in (sent or {}).values()
        kept.append((name, "…" if made_up or name == "x-ms-run-fn-exec-ms" else value))
    assert names is not None
    return kept


def pair_of(python: Path, folder: Path, script: str, **variables: str) -> Iterator[Pair]:
    (folder / "score.py").write_text(script)
    with reference_server(python, folder, variables) as reference, our_server(python, folder, variables) as ours:
        yield Pair(reference, ours)
