"""A deployment on a real platform: an instance is killed, it sleeps and wakes. No request that comes meanwhile fails.

Slower things on such a platform: `scripts/drill/run.py`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from live.platform import eventually
from live.scored import Site, scored

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with scored(tmp_path_factory.mktemp("platform")) as made:
        yield made


def test_an_instance_that_is_killed_under_load_costs_no_request(site: Site) -> None:
    def who(times: int) -> set[str]:
        return {site.score().json()["who"] for _ in range(times)}

    def kill() -> None:
        before: set[str] = set()
        eventually(lambda: len(before.update(who(10)) or before) == 2, "two instances")
        victim = next(one for name, one in site.platform.agents().items() if name.startswith("srv-"))
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: len(who(10) - before) == 1, "a successor")

    seen = site.under_load(kill)
    assert set(seen) == {200} and seen[200] > 50, seen


def test_it_sleeps_and_a_request_wakes_it(site: Site) -> None:
    given = {"scaleType": "TargetUtilization", "minInstances": 0, "maxInstances": 2, "pollingInterval": "PT1S"}
    site.deploy("sleepy", 0.0, scaleSettings=given)
    eventually(lambda: site.get("sleepy")["sku"]["capacity"] == 0, "its sleep")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(site.score("sleepy").status_code)) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [200] * 5
