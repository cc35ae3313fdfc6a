"""A package index of one's own: wheels made on the spot, so that resolving is real and needs no network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fakes.wheels import make_wheel


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def wheel(wheels: Path) -> Callable[..., Path]:
    """`wheel(name, version, *requires, tag=...)` puts a wheel into the index."""
    return partial(make_wheel, wheels)
