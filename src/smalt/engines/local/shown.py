"""What of the machine the owner shows to all jobs and replicas (`--show`), and what cannot be shown."""

from __future__ import annotations

import os
from pathlib import Path

from smalt.settings import Settings

_OWN = ("/", "/etc", "/tmp", "/run", "/var", "/home", "/root")  # the walls make these anew, with something in them
_OWN_FILES = tuple(f"/etc/{name}" for name in ("passwd", "group", "hosts", "hostname"))
_OWN_TREES = ("/proc", "/sys", "/dev")


def refusal(settings: Settings) -> str:
    """Why one of `settings.shown` cannot be shown, in words; empty if all can."""
    return next((why for one in settings.shown if (why := _refused(settings, one))), "")


def showable(settings: Settings) -> list[str]:
    """Those that are there and may be shown, now: a link on the way may lead elsewhere than it did at the start."""
    return [one for one in settings.shown if not _refused(settings, one)]


def _refused(settings: Settings, path: str) -> str:
    real = os.path.realpath(path)
    if not Path(real).exists():
        return f"{path} cannot be shown to jobs: nothing is there."
    for one in (path, real):
        if one in (*_OWN, *_OWN_FILES) or f"{one}/".startswith(tuple(f"{tree}/" for tree in _OWN_TREES)):
            return f"{path} cannot be shown to jobs: they have a {one} of their own; name a folder below it."
    for ours, what in _ours(settings).items():
        if _contains(real, ours) or _contains(ours, real):
            return f"{path} cannot be shown to jobs: the {what} of the platform are in {ours}; name another folder."
    return ""


def _ours(settings: Settings) -> dict[str, str]:
    """Where no job may look, and what is there; the store and the database may lie elsewhere than the rest."""
    places = {str(settings.root): "keys", str(settings.run): "keys", str(settings.blobs): "blobs"}
    if settings.database.startswith("sqlite:///"):
        places[settings.database.removeprefix("sqlite:///")] = "rows"
    return {os.path.realpath(path): what for path, what in places.items()}


def _contains(folder: str, path: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")
