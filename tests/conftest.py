"""Fixtures for all layers, and how tests run side by side (`live/turns.py`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import turns
from live.ports import free_port

TESTS = Path(__file__).parent


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return turns.workers(config.args)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = {item: turns.group(item.path, TESTS) for item in items}
    for item, name in names.items():
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: turns.rank(names[item]))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: waiting for a turn is not the test's own time
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with turns.turn(alone=item.get_closest_marker("serial") is not None):
        return (yield)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator:
    from fakes.platform import Harness

    made = Harness(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def port() -> int:
    """For a server of this test's own."""
    return free_port()
