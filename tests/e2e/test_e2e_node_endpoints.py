"""An endpoint on two machines that dial in: the official client deploys, a server is killed, a machine dies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from live.clients import Client, client_python
from live.nodes import Node, ended_at_once, started
from live.patience import ANSWER_S
from live.platform import Platform, eventually

pytestmark = pytest.mark.e2e
CLUSTER, ENDPOINT = "far", "far-away"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")).started() as one:
        machine = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}}
        one.put(f"computes/{CLUSTER}", {"computeType": "AmlCompute", "properties": machine}, location="local")
        yield one


@pytest.fixture
def machines(platform: Platform, tmp_path: Path) -> Iterator[list[Node]]:
    with ExitStack() as stack:
        at = {"far-1": "127.0.0.2", "far-2": "127.0.0.3"}
        yield [stack.enter_context(started(platform, tmp_path, name, CLUSTER, address)) for name, address in at.items()]


def test_the_official_client_deploys_there(platform: Platform, machines: list[Node], scripts: Path) -> None:
    client = Client(client_python(), platform.variables)
    said = client.run(scripts / "far_endpoint.py", CLUSTER, ENDPOINT)
    print(said)
    *_, passed, reached = said.splitlines()
    assert "PASSED" in passed
    found = json.loads(reached)
    assert not list(platform.root.glob("envs/venvs/*/.complete")), "the platform's machine built nothing"

    with Asking(platform, found["url"], found["key"]) as asking:
        platform.restarted("server", platform.kill("server"))
        asking.more(20)
        ended_at_once(machines[0].root)
        asking.more(50)
        where = f"onlineEndpoints/{ENDPOINT}/deployments/blue"
        eventually(lambda: platform.get(where)["properties"]["provisioningState"] == "Succeeded", "that it goes on")
    assert set(asking.codes) <= {200, 502} and asking.codes.count(502) <= 1, (
        "more than what the machine that died worked on"
    )


class Asking:
    """Requests, one after the other, until the end."""

    def __init__(self, platform: Platform, url: str, key: str) -> None:
        self.codes: list[int] = []
        self._url, self._stop = url, threading.Event()
        self._session = requests.Session()
        self._ca = platform.ca
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._thread = threading.Thread(target=self._run)

    def more(self, count: int) -> None:
        enough = len(self.codes) + count
        eventually(lambda: len(self.codes) >= enough, f"{count} more answers")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self._session.post(self._url, json={"x": 1}, verify=self._ca, timeout=ANSWER_S)
                self.codes.append(answer.status_code)
            except requests.RequestException:
                self.codes.append(0)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
