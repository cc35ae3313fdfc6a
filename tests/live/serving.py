"""A scoring script behind an endpoint, deployed without the client: for tests that kill what serves it."""

from __future__ import annotations

import threading
from collections import Counter

import requests

from live.patience import ANSWER_S
from live.platform import HOME, Platform

SCRIPT = b"""
import json, os
def init():
    print("init was called")
def run(raw):
    return {"task": os.environ["SMALT_TASK"], "note": os.environ.get("NOTE")}
"""
_CONDA = "dependencies:\n- python=3.11\n- pip\n- pip:\n  - azureml-inference-server-http\n"


class Endpoint:
    """An endpoint with one deployment, `blue`, that takes all traffic."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.platform, self.name = platform, name
        self.url = f"{platform.url}/endpoints/{name}/score"
        self._key = ""

    def at(self, platform: Platform) -> Endpoint:
        """The same one as another server answers for it."""
        there = Endpoint(platform, self.name)
        there._key = self._key
        return there

    def create(self, instances: int) -> None:
        platform = self.platform
        platform.put(
            "environments/serving/versions/1",
            {"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", "condaFile": _CONDA},
        )
        platform.put(f"onlineEndpoints/{self.name}", {"authMode": "Key"}, location="local")
        self.finish(self.deploy(instances, "first"))
        platform.put(f"onlineEndpoints/{self.name}", {"authMode": "Key", "traffic": {"blue": 100}}, location="local")
        self._key = platform.call("POST", f"onlineEndpoints/{self.name}/listKeys").json()["primaryKey"]

    def deploy(self, instances: int, note: str) -> requests.Response:
        """Begin to create or change the deployment; `note` is in each of its answers."""
        code = self.platform.upload_code("serving", "score.py", SCRIPT)
        properties = {
            "environmentId": f"{HOME}/environments/serving/versions/1",
            "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
            "environmentVariables": {"NOTE": note},
            "instanceType": "Standard_DS3_v2",
        }
        answer = self.platform.call(
            "PUT",
            f"onlineEndpoints/{self.name}/deployments/blue",
            {"location": "local", "sku": {"name": "Default", "capacity": instances}, "properties": properties},
        )
        assert answer.status_code in (200, 201), answer.text
        return answer

    def finish(self, answer: requests.Response) -> None:
        ended = self.platform.finish(answer)
        assert ended["status"] == "Succeeded", ended

    def ask(self, session: requests.Session | None = None) -> requests.Response:
        return (session or requests).post(
            self.url,
            json={},
            headers={"Authorization": f"Bearer {self._key}"},
            verify=self.platform.ca,
            timeout=ANSWER_S,
        )


class Load:
    """Clients that ask all the time, each on a connection of its own, while the block runs."""

    def __init__(self, endpoint: Endpoint, clients: int = 3) -> None:
        self.answers: Counter[str] = Counter()
        self.tasks: set[str] = set()  # the marks of those that answered: process ids say nothing behind walls
        self.clients = clients
        self._endpoint, self._stop = endpoint, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                try:
                    answer = self._endpoint.ask(session)
                except requests.RequestException as error:
                    self.answers[type(error).__name__] += 1
                    continue
                if answer.ok:
                    self.tasks.add(answer.json()["task"])
                self.answers["ok" if answer.ok else f"{answer.status_code} {answer.text[:200]}"] += 1
