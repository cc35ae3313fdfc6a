"""An endpoint on a real platform, with somebody who scores and somebody whom alerts are told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from live.patience import ANSWER_S
from live.platform import Platform
from live.ports import free_port

SCRIPT = b"""
import json, os, time, uuid
ME = uuid.uuid4().hex
def init(): pass
def run(data):
    if "die" in json.loads(data):
        os._exit(9)
    for _ in range(int(os.environ.get("SAYS_KB", "0"))):
        print("x" * 1023)
    time.sleep(float(os.environ["NAP_S"]))
    return {"who": ME}
"""
ENDPOINT = "onlineEndpoints/drill"


class Hook:
    """Who is called when an alert fires."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["data"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.port = free_port()
        self._server = ThreadingHTTPServer(("localhost", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Site:
    def __init__(self, platform: Platform, hook: Hook) -> None:
        self.platform, self.hook = platform, hook
        code = platform.upload_code("nap", "score.py", SCRIPT)
        environment = platform.ensure_environment()
        self._runs = {
            "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
            "environmentId": environment,
            "readinessProbe": {"period": "PT0.2S"},
            "requestSettings": {"maxConcurrentRequestsPerInstance": 4},
        }
        platform.put(ENDPOINT, {"authMode": "Key"}, location="local")
        self.deploy("blue", 0.05, capacity=2)
        platform.put(ENDPOINT, {"authMode": "Key", "traffic": {"blue": 100}}, location="local")
        self._key = platform.call("POST", f"{ENDPOINT}/listKeys").json()["primaryKey"]

    def deploy(self, name: str, nap_s: float, capacity: int = 1, **properties: Any) -> None:
        variables = {"NAP_S": str(nap_s), **properties.pop("environmentVariables", {})}
        runs = {**self._runs, "environmentVariables": variables, **properties}
        sku = {"name": "Default", "capacity": capacity}
        self.platform.put(f"{ENDPOINT}/deployments/{name}", runs, location="local", sku=sku)
        state = self.get(name)["properties"]["provisioningState"]
        assert state == "Succeeded", self.platform.call("POST", f"{ENDPOINT}/deployments/{name}/getLogs", {}).text

    def get(self, name: str) -> dict[str, Any]:
        return self.platform.get(f"{ENDPOINT}/deployments/{name}")

    def score(self, deployment: str = "", given: Any = None) -> requests.Response:
        more = {"azureml-model-deployment": deployment} if deployment else {}
        return requests.post(
            f"{self.platform.url}/endpoints/drill/score",
            json=given or {},
            verify=self.platform.ca,
            timeout=ANSWER_S,
            headers={"Authorization": f"Bearer {self._key}", **more},
        )

    def under_load(self, what: Callable[[], None], clients: int = 3) -> Counter[int]:
        """Which statuses there were while `what` was done."""
        stop, seen = threading.Event(), Counter[int]()

        def run() -> None:
            while not stop.is_set():
                try:
                    seen[self.score().status_code] += 1
                except requests.RequestException:
                    seen[0] += 1

        threads = [threading.Thread(target=run) for _ in range(clients)]
        for one in threads:
            one.start()
        try:
            what()
        finally:
            stop.set()
            for one in threads:
                one.join()
        return seen


@contextlib.contextmanager
def scored(root: Path, scale_in_after_s: int = 1) -> Iterator[Site]:
    hook = Hook()
    root.chmod(0o700)
    told = {"layout": 1, "scale_in_after_s": scale_in_after_s, "webhook_hosts": f"localhost:{hook.port}"}
    (root / "config.json").write_text(json.dumps(told))
    (root / "config.json").chmod(0o600)
    try:
        with Platform(root).started() as platform:
            yield Site(platform, hook)
    finally:
        hook.close()
