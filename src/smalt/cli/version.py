"""Which Smalt this is."""

from __future__ import annotations

from importlib.metadata import version


def installed() -> str:
    return version("smalt")
