"""Folders that every user of the machine can look into; pytest's own are root's alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="smalt-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
