"""Tools that some tests need beside what `uv` installs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def wanting(tool: str, remedy: str) -> NoReturn:
    """`tool` is not there: a failure in CI, which installs all; elsewhere a skip that the summary names."""
    said = f"{tool} is not here: {remedy}"
    if os.environ.get("SMALT_CI"):
        pytest.fail(f"{said} (in CI nothing is skipped for want of a tool)")
    pytest.skip(said)
