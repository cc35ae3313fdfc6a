"""One workspace with the Studio for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.studio import StudioSite


@pytest.fixture
def site(tmp_path: Path) -> StudioSite:
    return StudioSite(tmp_path)
