"""`kill -9` of the server at random moments under jobs of all sorts, some of them canceled, some without their agents."""

from __future__ import annotations

import os

import pytest

from live.platform import Platform
from live.servers import Servers
from live.soak import Soak

pytestmark = pytest.mark.e2e
SEEDS = [int(one) for one in os.environ.get("SMALT_SOAK_SEEDS", "1,2,3").split(",")]
RUNS = [(("sqlite", "postgresql")[number % 2], seed) for number, seed in enumerate(SEEDS)]


@pytest.mark.parametrize(("victim", "seed"), RUNS, indirect=["victim"])
def test_killed_under_jobs_of_all_sorts(platform: Platform, seed: int) -> None:
    """More seeds, more jobs and a longer time: scripts/soak."""
    servers = Servers.alone(platform)
    print(Soak(servers, seed, jobs=12, kill_s=4).run())
    servers.close()
