"""A registered scikit-learn model: from the PUT of a deployment to its first answer, and then requests a second.

    python bench/deployment.py [--root ROOT] [--python PREFIX/bin/python] [--rounds 3] [--seconds 5] [--json]

The deployment has no code (an MLflow model); its environment, the model's own, is built before. Requests a second are of one row at
8 connections through TLS, key and Envoy, with one worker, against azureml-inference-server-http with the same model, the same
versions of everything and one worker, on plain HTTP as it ships, and behind an Envoy with TLS; driven by `wrk` in the same run.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import blobs
import needs
import serving

import live
from live import Live

ENDPOINT, MODEL = "bench-endpoint", "bench-model"
CONNECTIONS = 8
TRAIN = serving.TRAIN.replace(', pip_requirements=["scikit-learn"]', "")  # MLflow writes down what is installed
LOAD = "import sys, mlflow.pyfunc; mlflow.pyfunc.load_model(sys.argv[1])"


def measure(platform: Live, python: Path, scratch: Path, rounds: int, seconds: int) -> dict[str, Any]:
    model = scratch / "model"
    subprocess.run([python, "-c", TRAIN, model, ",".join(serving.NAMES)], check=True, capture_output=True)
    key = prepare(platform, model)
    platform.at_rest()
    times: list[dict[str, float]] = []
    by_hand: list[float] = []
    for number in range(rounds):
        times.append(deploy(platform, key, f"timed-{number}"))
        by_hand.append(_seconds([_environment_python(platform.root), "-c", LOAD, model]))
    result = {
        "first answer s": round(statistics.median(one["answered"] for one in times), 2),
        "loading by hand s": round(statistics.median(by_hand), 2),
        "after s": {name: round(statistics.median(one.get(name, 0) for one in times), 2) for name in times[0]},
    }
    result |= {"requests": rates(platform, key, python, scratch, seconds), "load": live.load()}
    platform.removed(f"/onlineEndpoints/{ENDPOINT}")
    return result


def prepare(platform: Live, model: Path) -> str:
    """The model registered, the endpoint with one deployment that takes all traffic; the endpoint's key."""
    if platform.api.get(f"{platform.workspace}/models/{MODEL}/versions/1").status_code != 200:
        uri = platform.upload("models", MODEL, model)
        platform.put(f"/models/{MODEL}/versions/1", {"modelUri": uri, "modelType": "mlflow_model"})
    endpoint = {"authMode": "Key"}
    if platform.api.get(f"{platform.workspace}/onlineEndpoints/{ENDPOINT}").status_code != 200:
        platform.put(f"/onlineEndpoints/{ENDPOINT}", endpoint, location="local")
        platform.settled(f"/onlineEndpoints/{ENDPOINT}")
    path = f"/onlineEndpoints/{ENDPOINT}/deployments/blue"
    if platform.api.get(platform.workspace + path).status_code != 200:
        _deploy(platform, "blue")
    platform.settled(path)
    platform.put(f"/onlineEndpoints/{ENDPOINT}", {**endpoint, "traffic": {"blue": 100}}, location="local")
    platform.settled(f"/onlineEndpoints/{ENDPOINT}")
    return str(platform.post(f"/onlineEndpoints/{ENDPOINT}/listKeys")["primaryKey"])


def _deploy(platform: Live, name: str) -> None:
    platform.put(
        f"/onlineEndpoints/{ENDPOINT}/deployments/{name}",
        {"model": f"{platform.workspace}/models/{MODEL}/versions/1", "instanceType": "Standard_DS3_v2"},
        location="local",
        sku={"name": "Default", "capacity": 1},
    )


def deploy(platform: Live, key: str, name: str) -> dict[str, float]:
    """Seconds from the PUT of a deployment to each step; it is deleted at the end."""
    path = f"/onlineEndpoints/{ENDPOINT}/deployments/{name}"
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": name}
    begun = time.time()
    _deploy(platform, name)
    times = {"put": time.time() - begun}
    while True:
        answer = platform.api.post(f"{platform.url}/endpoints/{ENDPOINT}/score", json=serving.BODY, headers=headers)
        if answer.status_code == 200:
            break
        if time.time() - begun > 120:
            raise SystemExit(f"{name} does not answer: {answer.status_code} {answer.text} {platform.get(path)}")
        time.sleep(0.02)
    times["answered"] = time.time() - begun
    platform.settled(path)
    times |= _steps(platform.root, name, begun)
    platform.removed(path)
    return dict(sorted(times.items(), key=lambda one: one[1]))


def _steps(root: Path, name: str, begun: float) -> dict[str, float]:
    """What the feed and the replica's task say; in the task's, "ready" is the time of the last change."""
    with sqlite3.connect(f"file:{root / 'smalt.db'}?mode=ro", uri=True) as database:
        query = "select after, max(at) from change where resource_id like ? and at >= ? group by after"
        rows = database.execute(query, (f"%/deployments/{name}", begun)).fetchall()
    found = {f"→ {after}": at - begun for after, at in rows}
    file = root / "tasks" / _status(root, name)["live"]["names"][0] / "state.json"
    task = json.loads(file.read_text())
    return found | {
        "agent accepted": task["accepted_at"] - begun,
        "process started": task["started_at"] - begun,
        "ready": file.stat().st_mtime - begun,
    }


def _status(root: Path, name: str) -> dict[str, Any]:
    with sqlite3.connect(f"file:{root / 'smalt.db'}?mode=ro", uri=True) as database:
        query = "select status from resource where id like ?"
        (status,) = database.execute(query, (f"%/{ENDPOINT}/deployments/{name}",)).fetchone()
    return dict(json.loads(status))


def _environment_python(root: Path) -> str:
    return str(root / "envs" / "venvs" / _status(root, "blue")["target"]["plan"]["key"] / "bin" / "python")


def _seconds(command: list[Any]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def rates(platform: Live, key: str, python: Path, scratch: Path, seconds: int) -> dict[str, Any]:
    """Requests a second of each, and how many times the reference's on plain HTTP that is."""
    body = json.dumps(serving.BODY)
    plain, with_key = scratch / "plain.lua", scratch / "key.lua"
    script = f"wrk.method='POST' wrk.headers['Content-Type']='application/json' wrk.body=[==[{body}]==]"
    plain.write_text(script)
    with_key.write_text(f"{script} wrk.headers['Authorization']='Bearer {key}'")
    with_key.chmod(0o600)
    (scratch / "score.py").write_text(serving.SCORE)
    port = serving.free_port()
    command = [python, "-m", "azureml_inference_server_http", "--entry_script", "score.py", "--port", port]
    results: dict[str, dict[str, float]] = {}
    with serving.running(command, scratch), blobs._envoy(scratch, port) as (tls_port, _):
        serving.wait_for(f"http://127.0.0.1:{port}/")
        for name, url in (("plain", f"http://127.0.0.1:{port}"), ("Envoy + TLS", f"https://localhost:{tls_port}")):
            results[f"reference, {name}"] = serving.wrk(f"{url}/score", CONNECTIONS, plain, seconds)
    url = f"{platform.url}/endpoints/{ENDPOINT}/score"
    results["smalt, Envoy + TLS + key"] = serving.wrk(url, CONNECTIONS, with_key, seconds)
    base = results["reference, plain"]["requests_per_s"]
    return {name: {**one, "ratio": round(one["requests_per_s"] / base, 2)} for name, one in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--python", type=Path, help="an interpreter with the reference server (see bench/serving.py)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="(the output is JSON)")
    arguments = parser.parse_args()
    needs.check(["deployment"], None, arguments.python)
    with tempfile.TemporaryDirectory(prefix="smalt-bench-") as name:
        scratch = Path(name)
        python = arguments.python or serving.make_environment(scratch)
        with live.started(arguments.root or scratch / "root") as platform:
            print(
                json.dumps(
                    measure(platform, python, scratch, arguments.rounds, arguments.seconds),
                    indent=1,
                    ensure_ascii=False,
                )
            )


if __name__ == "__main__":
    main()
