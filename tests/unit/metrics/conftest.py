"""A platform with an endpoint that has two deployments, and what records and collects numbers of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.metrics import BLUE, ENDPOINT
from fakes.platform import WORKSPACE, Harness
from smalt.metrics.collector import Collector
from smalt.metrics.recorder import Recorder
from smalt.store import resources


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    made = Harness(tmp_path)
    with made.database.write() as connection:
        for written, parent, kind in (
            (ENDPOINT, WORKSPACE, "workspaces/onlineendpoints"),
            (BLUE, ENDPOINT, "workspaces/onlineendpoints/deployments"),
            (f"{ENDPOINT}/deployments/green", ENDPOINT, "workspaces/onlineendpoints/deployments"),
        ):
            resources.insert(
                connection,
                key=written.lower(),
                written=written,
                kind=kind,
                parent=parent.lower(),
                name=written.rpartition("/")[2],
                spec={"properties": {}},
                status={},
                state="Succeeded",
                now=1.0,
                by="ada",
            )
    return made


@pytest.fixture
def recorder(harness: Harness) -> Recorder:
    return Recorder(harness.clock)


@pytest.fixture
def collector(harness: Harness, recorder: Recorder) -> Collector:
    return Collector(harness.platform, recorder)
