"""Which part answers a path."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smalt.gateway.listener import REFUSED_BODY, REFUSED_STATUS
from smalt.web.dispatcher import Dispatcher

PARTS = (
    "blobs",
    "tracking",
    "history",
    "datastores",
    "nodes",
    "visits",
    "registries",
    "arm",
    "studio",
    "open_routes",
)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/subscriptions/s/resourceGroups/g", "arm"),
        ("/SUBSCRIPTIONS", "arm"),
        ("/providers/Microsoft.Resources", "arm"),
        ("/tenants", "arm"),
        ("/nodes/v1/channel", "nodes"),
        ("/nodes/v2/channel", "open_routes"),
        ("/connect/v1/subscriptions/s/jobs/j/nodes/0", "visits"),
        # {scope}/providers/… of a client, with a scope that begins with a slash
        ("//subscriptions/s/providers/Microsoft.Authorization/locks/l", "arm"),
        ("///subscriptions/s", "open_routes"),
        ("/registrymanagement/v1.0/registries/r/discovery", "registries"),
        (
            "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/r/models",
            "registries",
        ),
        ("/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/jobs", "arm"),
        (
            "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/r/changes",
            "arm",
        ),
        (
            "/mlflow/v2.0/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/r/api/2.0/mlflow",
            "registries",
        ),
        ("/studio", "studio"),
        ("/studio/jobs/j", "studio"),
        ("/studios", "open_routes"),
        ("/x/subscriptions/s", "open_routes"),
        ("/", "open_routes"),
    ],
)
def test_a_path_is_answered_by_one_part(path: str, part: str) -> None:
    asked: list[str] = []

    def named(name: str) -> Any:
        async def answer(*_: Any) -> None:
            asked.append(name)

        return answer

    parts = {one: named(one) for one in PARTS}
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
    asyncio.run(Dispatcher(**parts)(scope, named("receive"), named("send")))
    assert asked == [part]


@pytest.mark.parametrize("path", ["/nodes/v1/channel", "/connect/v1/subscriptions/s/jobs/j/nodes/0"])
def test_a_conversation_is_refused_before_its_other_side_has_ended(path: str) -> None:
    """Who speaks to a job waits for what it says: its request has no end before the answer."""
    seen: list[Any] = []

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 409, "headers": []})

    async def receive() -> Any:
        raise AssertionError("nothing is to be waited for")

    async def send(message: Any) -> None:
        seen.append(message["status"])

    parts: dict[str, Any] = dict.fromkeys(PARTS, refuse)
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": []}
    asyncio.run(Dispatcher(**parts)(scope, receive, send))
    assert seen == [409]


@pytest.mark.parametrize(
    ("path", "status", "answered"),
    [
        ("/endpoints/ep/score", b"401", 401),
        ("/endpoints/ep/score", b"200", None),
        ("/endpoints/ep/score", b"", None),
        ("/subscriptions/s", b"401", None),
    ],
)
def test_what_the_gateway_refuses_gets_its_answer(path: str, status: bytes, answered: int | None) -> None:
    seen: list[Any] = []

    async def pass_on(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        seen.append(message)

    parts: dict[str, Any] = dict.fromkeys(PARTS, pass_on)
    headers = [(REFUSED_STATUS.encode(), status), (REFUSED_BODY.encode(), b'{"error": 1}')]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    asyncio.run(Dispatcher(**parts)(scope, receive, send))
    assert seen[0]["status"] == (answered or 299)
    if answered:
        assert seen[1]["body"] == b'{"error": 1}' and (b"content-type", b"application/json") in seen[0]["headers"]
