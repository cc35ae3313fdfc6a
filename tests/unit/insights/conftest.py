"""A webhook that hears, and an alert that tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fakes.alerts import Receiver, Site


@pytest.fixture
def hook() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Any, hook: Receiver) -> Iterator[Site]:
    made = Site(tmp_path, hook)
    yield made
    made.harness.close()
