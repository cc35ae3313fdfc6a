"""What holds for every kind holds on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.platform import Harness


@pytest.fixture
def harness(tmp_path: Path, framed_url: str) -> Iterator[Harness]:
    made = Harness(tmp_path, database_url=framed_url)
    yield made
    made.close()
