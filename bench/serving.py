"""Requests a second of our inference server and of azureml-inference-server-http, in the same run.

One row, a pipeline with 200 gradient-boosted trees, one worker each, plain HTTP on the loopback, driven by `wrk`:

    python bench/serving.py [--python PREFIX/bin/python] [--seconds 5] [--peers bentoml,ray | all] [--json]

Ours serves the model without code (`mlflow`), the same while it collects the rows of every request and answer
(`collecting`), and through the reference's own scoring script (`script`). Without `--python` an environment is made by
uv in a temporary folder. `--peers` adds other servers (`model_servers.py`), each in an environment that uv makes for it there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import model_servers
import needs

SERVE = Path(__file__).parents[1] / "src" / "smalt" / "agent" / "inject" / "serve.py"
CONNECTIONS = (1, 8, 32)
START_S = 300  # Ray Serve, on a machine that is busy
NAMES = ["tenure", "monthly", "calls", "age", "visits", "balance", "score", "late"]
BODY = {"input_data": {"columns": NAMES, "index": [0], "data": [[0.1, 1.2, -0.3, 0.4, 2.5, -0.6, 0.7, 0.8]]}}

TRAIN = """
import sys
import mlflow.sklearn, numpy as np, pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
names = sys.argv[2].split(",")
X = pd.DataFrame(np.random.default_rng(0).normal(size=(2000, len(names))), columns=names)
y = (X[names[0]] + X[names[1]] * X[names[2]] > 0).astype(int)
model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=200, random_state=0)).fit(X, y)
signature = mlflow.models.infer_signature(X, model.predict(X))
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature, pip_requirements=["scikit-learn"])
"""
SCORE = """
import json, os
import mlflow.sklearn, pandas as pd

def init():
    global model
    model = mlflow.sklearn.load_model(os.environ["AZUREML_MODEL_DIR"])

def run(raw_data):
    data = json.loads(raw_data)["input_data"]
    return model.predict(pd.DataFrame(data["data"], columns=data["columns"])).tolist()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an interpreter that has the packages")
    parser.add_argument("--seconds", type=int, default=5, help="for each measurement")
    parser.add_argument("--peers", default="", help=f"of {', '.join(model_servers.PEERS)}, with commas between; or all")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    others = (
        list(model_servers.PEERS) if arguments.peers == "all" else [one for one in arguments.peers.split(",") if one]
    )
    if unknown := set(others) - set(model_servers.PEERS):
        parser.error(f"--peers knows {', '.join(model_servers.PEERS)}, not {', '.join(sorted(unknown))}")
    needs.check(["deployment"], None, arguments.python, others)
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as name:
        folder = Path(name)
        python = arguments.python or make_environment(folder)
        subprocess.run([python, "-c", TRAIN, folder / "model", ",".join(NAMES)], check=True, capture_output=True)
        results = measure(python, folder, arguments.seconds)
        for name in others:
            results[name] = measure_peer(name, folder, arguments.seconds)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for server, figures in results.items():
        for count in CONNECTIONS:
            one = figures[str(count)]
            ratio = one["requests_per_s"] / results["reference"][str(count)]["requests_per_s"]
            figure = f"{one['requests_per_s']:8.0f} req/s  p50 {one['p50_ms']:7.2f} ms  p99 {one['p99_ms']:7.2f} ms"
            print(f"{server:10} {count:3} connections  {figure}  {ratio:5.2f} x reference")


def measure(python: Path, folder: Path, seconds: int) -> dict[str, dict]:
    (folder / "score.py").write_text(SCORE)
    script = folder / "post.lua"
    script.write_text(post(BODY))
    reference_port = free_port()
    reference = [python, "-m", "azureml_inference_server_http", "--entry_script", "score.py", "--port", reference_port]
    shared = {"entry_script": str(folder / "score.py"), "model_dir": str(folder / "model"), "app_root": str(folder)}
    servers: dict[str, tuple[list, int]] = {"reference": (reference, reference_port)}
    collections = {name: {"folder": str(folder / "kept" / name)} for name in ("model_inputs", "model_outputs")}
    collecting = {"collector": {"collections": collections, "instance": "bench"}}
    for name, mode, more in (("script", "script", {}), ("mlflow", "mlflow", {}), ("collecting", "mlflow", collecting)):
        launch, port = folder / f"{name}.launch", free_port()
        launch.write_text(json.dumps({"mode": mode, **shared, **more}))
        servers[name] = ([python, SERVE, "--port", port, "--config", launch], port)
    return {name: drive(command, port, folder, script, seconds) for name, (command, port) in servers.items()}


def measure_peer(name: str, folder: Path, seconds: int) -> dict[str, dict]:
    """`folder` has the model."""
    peer, port = model_servers.PEERS[name], free_port()
    python = model_servers.environment(folder / f"{name}-environment", peer.packages)
    (folder / f"{name}_app.py").write_text(peer.script)
    body = {peer.key: BODY["input_data"]}
    script = folder / f"{name}.lua"
    script.write_text(post(body))
    return drive(peer.command(python, folder, port), port, folder, script, seconds, peer.path, body)


def drive(
    command: Sequence, port: int, folder: Path, script: Path, seconds: int, path: str = "/score", body: dict = BODY
) -> dict[str, dict]:
    figures: dict[str, dict] = {}
    with running(command, folder) as process:
        url = f"http://127.0.0.1:{port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        answer = json.loads(wait_for(request, process))
        assert (answer.get("predictions") if isinstance(answer, dict) else answer) in ([0], [1]), answer
        for count in CONNECTIONS:
            figures[str(count)] = wrk(url, count, script, seconds)
    return figures


def post(body: dict) -> str:
    """What `wrk` sends."""
    return f"wrk.method='POST' wrk.headers['Content-Type']='application/json' wrk.body=[==[{json.dumps(body)}]==]"


def wrk(url: str, connections: int, script: Path, seconds: int) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", str(script)]
    for duration in (1, seconds):  # the first warms up
        done = subprocess.run([*command, f"-d{duration}s", url], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"requests failed:\n{done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    return {"requests_per_s": float(rate[1]), "p50_ms": quantile(done.stdout, 50), "p99_ms": quantile(done.stdout, 99)}


def quantile(output: str, percent: int) -> float:
    found = re.search(rf"\s{percent}%\s+([\d.]+)(us|ms|s)", output)
    assert found is not None, output
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


@contextlib.contextmanager
def running(command: Sequence, folder: Path) -> Iterator[subprocess.Popen]:
    """What it says is in the file `log` of the folder."""
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"  # `mlflow models serve` starts others of its environment
    variables = {**os.environ, "AZUREML_MODEL_DIR": str(folder / "model"), "PATH": path}
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    except OSError as error:
        raise SystemExit(f"{command}: {error}\n{(folder / 'log').read_text()[-2000:]}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(request: urllib.request.Request | str, process: subprocess.Popen | None = None) -> bytes:
    """The first answer that is no error. Raises OSError, at once where the process ends."""
    end = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > end or (process is not None and process.poll() is not None):
                raise
            time.sleep(0.1)


def make_environment(folder: Path) -> Path:
    return model_servers.environment(folder / "venv", ["azureml-inference-server-http"])


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    main()
