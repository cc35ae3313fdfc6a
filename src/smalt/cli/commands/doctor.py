"""`smalt doctor`: what this machine can and cannot do, and how to change it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from smalt.cli.root import resolve
from smalt.config import read_settings
from smalt.doctor.examine import examine
from smalt.doctor.machine import Machine
from smalt.doctor.report import as_json as written
from smalt.doctor.report import show
from smalt.settings import Settings, SettingsError


def run(root: Path | None, as_json: bool) -> int:
    """1 where something is missing without which Smalt cannot run at all."""
    all_ = examine(Machine(_settings(resolve(root))))
    if as_json:
        print(written(all_))
    else:
        show(all_, Console(highlight=False, soft_wrap=True))
    return 1 if any(one.fatal for one in all_) else 0


def _settings(root: Path) -> Settings:
    """Those of the root; the defaults where its file cannot be used, which a check tells."""
    try:
        return read_settings(root)
    except SettingsError:
        return Settings(root)
