"""`smalt login`: a fresh link that opens the Studio, and nothing else, on standard output."""

from __future__ import annotations

from pathlib import Path

from smalt.cli.access import login_url
from smalt.cli.root import CliError, holder, resolve
from smalt.config import read_settings


def run(root: Path | None) -> int:
    """Raises CliError where no platform runs there, whose link would open nothing."""
    settings = read_settings(resolve(root))
    if holder(settings.root) is None:
        raise CliError(f"no platform runs in {settings.root}: smalt up --root {settings.root} --detach starts it")
    print(login_url(settings))
    return 0
