"""The first half of `smalt down --jobs cancel`: end every job while the platform can still do it."""

from __future__ import annotations

from pathlib import Path

from smalt.cli.jobs import cancel_all
from smalt.cli.root import holder, resolve
from smalt.config import read_settings


def run(root: Path | None) -> int:
    settings = read_settings(resolve(root))
    if holder(settings.root) is None:
        return 0
    for name, status in cancel_all(settings):
        print(f"job {name}: {status}")
    return 0
