"""Gives every test module here an Envoy of its own; `gateway_site` has what they share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # with importlib's import mode, siblings are not importable otherwise

from gateway_site import Site, standing


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with standing() as made:
        yield made
