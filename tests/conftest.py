"""Fixtures for all layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def harness(tmp_path: Path) -> Iterator:
    from fakes.platform import Harness

    made = Harness(tmp_path)
    yield made
    made.database.close()
