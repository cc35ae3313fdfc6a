"""A deployment on a real platform: an instance is killed, it sleeps and wakes. Nothing fails but what a killed one worked on.

Slower things on such a platform: `scripts/drill/run.py`.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import urllib3

from live.patience import PATIENCE_S
from live.platform import eventually
from live.scored import Site, scored

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with scored(tmp_path_factory.mktemp("platform")) as made:
        yield made


def instances(site: Site) -> list[dict[str, Any]]:
    """Of all deployments, those that run."""
    found = site.platform.agents().values()
    return [one for one in found if one["phase"] == "running" and one["name"].startswith("srv-")]


def test_an_instance_that_is_killed_under_load_costs_what_it_worked_on(site: Site) -> None:
    def who(times: int) -> set[str]:
        return {answer.json()["who"] for _ in range(times) if (answer := site.score()).ok}

    def kill() -> None:
        before: set[str] = set()
        eventually(lambda: len(before.update(who(10)) or before) == 2, "two instances")
        victim = instances(site)[0]
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: len(who(10) - before) == 1, "a successor")

    seen = site.under_load(kill)
    assert set(seen) <= {200, 502} and seen[200] > 50 and seen[502] <= 3, seen


def test_a_request_that_takes_its_instance_down_takes_no_other(site: Site) -> None:
    def who() -> set[str]:
        return {answer.json()["who"] for _ in range(10) if (answer := site.score()).ok}

    before: set[str] = set()
    eventually(lambda: len(before.update(who()) or before) == 2, "two instances")
    answer = site.score(given={"die": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "InstanceEnded")
    after: set[str] = set()
    eventually(lambda: len(after.update(who()) or after) == 2, "a successor")
    assert len(after & before) == 1


def test_a_large_body_with_a_wrong_key_is_told_why(site: Site, tmp_path: Path) -> None:
    """By clients of each kind: some send all of it before they read an answer."""
    url, ca, body = f"{site.platform.url}/endpoints/drill/score", site.platform.ca, b"x" * (50 << 20)
    headers = {"Authorization": "Bearer wrong", "Content-Type": "application/octet-stream"}
    assert requests.post(url, data=body, headers=headers, verify=ca).status_code == 401
    assert requests.post(url, data=iter([body]), headers=headers, verify=ca).status_code == 401
    with httpx.Client(verify=ssl.create_default_context(cafile=ca)) as client:
        assert client.post(url, content=body, headers=headers).json()["error"]["code"] == "Unauthorized"
    with urllib3.PoolManager(ca_certs=ca) as pool:
        assert pool.request("POST", url, body=body, headers=headers, retries=False).status == 401
    (tmp_path / "body").write_bytes(body)
    for version in ("--http1.1", "--http2"):
        asked = ["curl", "-s", version, "--cacert", ca, "-T", str(tmp_path / "body"), "-X", "POST", url]
        done = subprocess.run(
            [*asked, "-H", "Authorization: Bearer wrong"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0 and json.loads(done.stdout)["error"]["code"] == "Unauthorized"


def test_it_sleeps_and_a_request_wakes_it(site: Site) -> None:
    given = {"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 2, "pollingInterval": "PT1S"}
    site.deploy("sleepy", 0.0, scaleSettings=given)
    eventually(lambda: site.get("sleepy")["sku"]["capacity"] == 0, "its sleep")
    eventually(lambda: len(instances(site)) == 2, "the end of its instance: by then requests are led to who wakes it")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(site.score("sleepy").status_code)) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [200] * 5
