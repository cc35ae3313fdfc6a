"""A platform with an endpoint that has two deployments, and what records and collects numbers of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import rows
from fakes.metrics import BLUE, ENDPOINT
from fakes.platform import Harness
from smalt.metrics.collector import Collector
from smalt.metrics.recorder import Recorder


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    made = Harness(tmp_path)
    with made.database.write() as connection:
        for written in (ENDPOINT, BLUE, f"{ENDPOINT}/deployments/green"):
            rows.put(connection, written)
    return made


@pytest.fixture
def recorder(harness: Harness) -> Recorder:
    return Recorder(harness.clock)


@pytest.fixture
def collector(harness: Harness, recorder: Recorder) -> Collector:
    return Collector(harness.platform, recorder)
