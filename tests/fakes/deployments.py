"""One online endpoint and its deployments on a platform of fakes: what tests do with them."""

from __future__ import annotations

from typing import Any

from fakes.examples import EXAMPLES
from fakes.platform import Harness
from smalt.agent.wire import Phase

KEY = "workspaces/onlineendpoints/deployments"
BLUE = EXAMPLES[KEY].url
ENDPOINT = EXAMPLES["workspaces/onlineendpoints"].url


def deploy(harness: Harness, name: str = "blue", capacity: int = 1, **more: Any) -> Any:
    body = {**EXAMPLES[KEY].body(**more), "sku": {"name": "Default", "capacity": capacity}}
    answer = harness.put(f"{ENDPOINT}/deployments/{name}", body)
    assert answer.status_code in (200, 201), answer.text
    harness.settle()
    return answer


def come_up(harness: Harness) -> None:
    for name, state in list(harness.engine.states.items()):
        if state.phase is Phase.PREPARING:
            harness.engine.start(name)
            harness.engine.ready(name)
    harness.settle()


def state(harness: Harness, name: str = "blue") -> str:
    return harness.get(f"{ENDPOINT}/deployments/{name}").json()["properties"]["provisioningState"]


def traffic(harness: Harness, **shares: int) -> Any:
    answer = harness.put(ENDPOINT, {"properties": {"authMode": "Key", "traffic": shares}})
    harness.settle()
    return answer


def live(harness: Harness) -> set[str]:
    return {name for name, one in harness.engine.states.items() if one.phase is not Phase.EXITED}
