"""Other model servers for `bench/serving.py`: each with the same model, one worker, and an environment of its own.

Each is written as its own documents show a first service, and gets the body that all get at an address of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = ["scikit-learn<1.8", "mlflow<3", "pandas<2", "numpy<2", "setuptools<81"]  # all have the same
_LOAD = """
import json, sys
import mlflow.sklearn, pandas as pd
MODEL, PORT = sys.argv[1], int(sys.argv[2])

def load():
    return mlflow.sklearn.load_model(MODEL)

def predict(model, body):
    data = body["input_data"]
    return model.predict(pd.DataFrame(data["data"], columns=data["columns"])).tolist()
"""
_UVICORN = """
import uvicorn
model = load()

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answer = json.dumps(predict(model, json.loads(body))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer})

uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", lifespan="off")
"""
_LITSERVE = """
import litserve

class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = load()

    def decode_request(self, request):
        return request

    def predict(self, body):
        return predict(self.model, body)

    def encode_response(self, output):
        return output

if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/score"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
"""
_RAY = """
import signal
import ray
from ray import serve

@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Model:
    def __init__(self):
        self.model = load()

    async def __call__(self, request):
        return predict(self.model, await request.json())

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
serve.run(Model.bind(), route_prefix="/score")
signal.sigwait({signal.SIGTERM})
serve.shutdown()
ray.shutdown()
"""
_BENTOML = """
import os
import bentoml
import mlflow.sklearn, pandas as pd

@bentoml.service(workers=1, traffic={"timeout": 60})
class Model:
    def __init__(self):
        self.model = mlflow.sklearn.load_model(os.environ["AZUREML_MODEL_DIR"])

    @bentoml.api(route="/score")
    def score(self, input_data: dict) -> list:
        return self.model.predict(pd.DataFrame(input_data["data"], columns=input_data["columns"])).tolist()
"""


@dataclass(frozen=True)
class Peer:
    """`command(python, folder, port)` in `folder`, where `script` is SCRIPT.py and `model` the model."""

    packages: Sequence[str]
    script: str
    command: Callable[[Path, Path, int], Sequence[Any]]
    path: str = "/score"
    key: str = "input_data"  # under which the rows go


def _run(name: str) -> Callable[[Path, Path, int], Sequence[Any]]:
    return lambda python, folder, port: [python, f"{name}.py", folder / "model", port]


PEERS: Mapping[str, Peer] = {
    "mlflow": Peer(
        [], "",
        lambda python, folder, port: [
            python, "-m", "mlflow", "models", "serve", "-m", folder / "model", "--env-manager", "local", "-p", port,
            "-w", 1,
        ],
        "/invocations", "dataframe_split",
    ),
    "bentoml": Peer(
        ["bentoml"], _BENTOML,
        lambda python, folder, port: [python, "-m", "bentoml", "serve", "bentoml_app:Model", "-p", port],
    ),
    "litserve": Peer(["litserve"], _LOAD + _LITSERVE, _run("litserve_app")),
    "ray": Peer(["ray[serve]"], _LOAD + _RAY, _run("ray_app")),
    "uvicorn": Peer(["uvicorn[standard]"], _LOAD + _UVICORN, _run("uvicorn_app")),
}  # fmt: skip


def uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (str(beside) if beside.exists() else None)


def environment(folder: Path, packages: Sequence[str]) -> Path:
    """The interpreter of a new one."""
    tool, version = uv(), f"{sys.version_info.major}.{sys.version_info.minor}"
    assert tool is not None, "needs.check says that it is missing"
    subprocess.run([tool, "--project", "/", "venv", "-q", "--python", version, folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([tool, "--project", "/", "pip", "install", "-q", "--python", python, *MODEL, *packages], check=True)
    return python


def unresolved(name: str) -> str:
    """Why its environment cannot be made; empty: it can."""
    lines = "\n".join([*MODEL, *PEERS[name].packages])
    command = [uv() or "uv", "--project", "/", "pip", "compile", "-q", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    return done.stderr.strip()[-300:] if done.returncode else ""
