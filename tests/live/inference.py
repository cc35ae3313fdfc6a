"""An inference server as a process of its own, on a unix socket, for a script that a test gives."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live.patience import PATIENCE_S

SERVE = Path(__file__).parents[2] / "src" / "smalt" / "agent" / "inject" / "serve.py"
ECHO = """
import json, os, sys, threading, time
from azureml.contrib.services.aml_response import AMLResponse
import beside

def init():
    print("init here", flush=False)

def run(raw_data):
    asked = json.loads(raw_data)
    if "sleep" in asked:
        time.sleep(asked["sleep"])
    if "spin" in asked:
        end = time.monotonic() + asked["spin"]
        while time.monotonic() < end:
            pass
    if "wait" in asked:
        open(asked["wait"] + ".begun", "w").close()
        while not os.path.exists(asked["wait"]):
            time.sleep(0.01)
    if "die" in asked:
        os._exit(7)
    if "exit" in asked:
        sys.exit(5)
    if "raise" in asked:
        raise RuntimeError(asked["raise"])
    if "thread" in asked:
        return threading.current_thread() is threading.main_thread()
    return {"got": asked, "cwd": os.getcwd(), "model": os.environ.get("AZUREML_MODEL_DIR"), "beside": beside.WORD}
"""


class Unix(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float = 10) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Server:
    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.socket = folder / "s.sock"

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = Unix(self.socket)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, body: object) -> tuple[int, bytes]:
        return self.ask("POST", "/score", body)

    def until(self, status: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.socket.exists() and self.ask("GET", "/ready")[0] == status:
                return
            assert self.process.poll() is None, self.errors()
            time.sleep(0.01)
        raise AssertionError(self.errors())

    def until_there(self, path: Path) -> None:
        end = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert time.monotonic() < end, f"{path} did not appear"
            time.sleep(0.005)

    def output(self) -> str:
        return (self.folder / "out").read_text()

    def errors(self) -> str:
        return (self.folder / "err").read_text()


@contextmanager
def server(
    folder: Path,
    script: str = ECHO,
    python: str = sys.executable,
    variables: dict[str, str] | None = None,
    **config: object,
) -> Iterator[Server]:
    code = folder / "code"
    code.mkdir()
    (code / "score.py").write_text(script)
    (code / "beside.py").write_text("WORD = 'found'\n")
    launch = {"mode": "script", "entry_script": str(code / "score.py"), "app_root": str(code), **config}
    (folder / "launch.json").write_text(json.dumps({"unknown": 1, "model_dir": "/models/m", **launch}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZUREML_", "AML_", "PYTHON"))}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [python, str(SERVE), "--socket", str(folder / "s.sock"), "--config", str(folder / "launch.json")],
            stdout=out,
            stderr=err,
            env={**kept, **(variables or {})},
        )
    try:
        yield Server(process, folder)
    finally:
        process.kill()
        process.wait()
