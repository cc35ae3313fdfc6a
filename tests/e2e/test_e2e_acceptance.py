"""The churn project, as a user of Azure ML writes it: with two versions of the client, and twice on one root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from live.clients import OLDER_SDK, SDK, Client

SCRIPT = Path(__file__).parent / "acceptance" / "train_and_serve.py"
pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("version", [SDK, SDK, OLDER_SDK], ids=["new", "again", "older"])
def test_train_and_serve(client_of: Callable[..., Client], version: str) -> None:
    said = client_of(version).run(SCRIPT)
    print(said)
    assert said.rstrip().endswith("PASSED")
