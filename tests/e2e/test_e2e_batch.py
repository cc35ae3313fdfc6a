"""Batch endpoints with the official client."""

from __future__ import annotations

from pathlib import Path

import pytest

from live.clients import Client

pytestmark = pytest.mark.e2e


def test_batch_endpoints(client: Client, scripts: Path) -> None:
    assert client.run(scripts / "batch.py").rstrip().endswith("PASSED")
