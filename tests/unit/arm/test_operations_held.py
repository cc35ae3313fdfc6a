"""The GET of an operation is held until it ends, whichever server ends it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.arm.hub import Hub
from smalt.arm.router import ArmApp


def test_another_server_ends_it(harness: Harness) -> None:
    """Two servers on one database, with a hub each: what B holds ends soon after A's loop has ended it."""
    asked = harness.put(f"{WORKSPACE}-two", {"location": "local", "properties": {}})
    url = asked.headers["azure-asyncoperation"]
    harness.app = ArmApp(replace(harness.platform, hub=Hub()), harness.crud, lambda scope: OWNER, lambda *_: None)
    ended: list[float] = []

    def end() -> None:
        harness.settle()
        ended.append(time.monotonic())

    timer = threading.Timer(0.3, end)
    timer.start()
    assert harness.get(url).json()["status"] == "Succeeded"
    timer.join()
    assert time.monotonic() - ended[0] < 3
