"""`kill -9` of the server between a request to a batch endpoint and the end of its job: one job, and of each row one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from live.platform import Platform, eventually
from live.servers import Servers

pytestmark = pytest.mark.e2e

SCORE = b"""
import time
from pathlib import Path
def init():
    pass
def run(mini_batch):
    time.sleep(0.1)
    return [Path(one).stem for one in mini_batch]
"""
ENDPOINT, FILES = "batchEndpoints/killed", [f"row-{at}" for at in range(12)]
PATHS = "azureml://datastores/workspaceblobstore/paths/killed"


def _make(platform: Platform, servers: Servers) -> None:
    (servers.container / "killed" / "in").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (servers.container / "killed" / "in" / name).write_text("x")
    if platform.call("GET", f"{ENDPOINT}/deployments/v1").status_code == 200:
        return
    platform.put(ENDPOINT, {"authMode": "AADToken"}, location="local")
    code = platform.upload_code("killed", "score.py", SCORE)
    settings = {
        "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
        "miniBatchSize": 1,
        "environmentId": platform.ensure_environment(),
    }
    platform.put(f"{ENDPOINT}/deployments/v1", settings, location="local")
    platform.put(ENDPOINT, {"authMode": "AADToken", "defaults": {"deploymentName": "v1"}}, location="local")


def _begun(platform: Platform, name: str) -> bool:
    """Whether its step has a task that runs."""
    return any(state["phase"] == "running" for state in platform.agents().values())


@pytest.mark.parametrize(
    "moment", [lambda platform, name: True, _begun], ids=["when it is answered", "while it is scored"]
)
def test_killed_meanwhile(
    platform: Platform, moment: Callable[[Platform, str], bool], request: pytest.FixtureRequest
) -> None:
    servers = Servers.alone(platform)
    _make(platform, servers)
    key, to = {"Repeatability_Request-ID": request.node.name}, f"out-{request.node.name[-8:-1].replace(' ', '-')}"
    body = {
        "properties": {
            "inputData": {"files": {"jobInputType": "UriFolder", "uri": f"{PATHS}/in/"}},
            "outputData": {"score": {"jobOutputType": "UriFolder", "uri": f"{PATHS}/{to}/"}},
        }
    }
    known = {one["name"] for one in platform.get(f"{ENDPOINT}/jobs")["value"]}
    name = platform.call("POST", f"{ENDPOINT}/jobs", body, key).json()["name"]
    eventually(lambda: moment(platform, name), "the moment")
    before = platform.kill("server")

    def again() -> requests.Response | None:
        """The client, which sends its request again as long as it has no answer."""
        try:
            answer = platform.call("POST", f"{ENDPOINT}/jobs", body, key, timeout_s=5)
        except requests.RequestException:
            return None
        return answer if answer.status_code in (200, 201) else None

    answer = eventually(again, "an answer")
    platform.restarted("server", before)
    assert (answer.status_code, answer.json()["name"]) == (200, name)
    platform.wait_for(name, "Completed")
    assert {one["name"] for one in platform.get(f"{ENDPOINT}/jobs")["value"]} - known == {name}
    rows = (servers.container / "killed" / to / "predictions.csv").read_text().split()
    assert sorted(rows) == sorted(FILES)
    servers.close()
