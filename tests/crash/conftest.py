"""Platforms that may be killed, one on each database: started once for all crash tests, which leave them running."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from live.platform import Platform
from smalt.config import LAYOUT


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("victim")
    if request.param == "postgresql":
        told = {"layout": LAYOUT, "database_url": request.getfixturevalue("postgres").create()}
        (root / "config.json").write_text(json.dumps(told))
    with Platform(root).started() as one:
        assert one.submit("warm", "true").status_code == 201  # the plain environment is built
        one.wait_for("warm", "Completed")
        yield one


@pytest.fixture
def platform(victim: Platform) -> Platform:
    """Running, whatever the test before did to it."""
    if not victim.is_up():
        victim.up()
    victim.wait_until_it_answers()
    return victim
