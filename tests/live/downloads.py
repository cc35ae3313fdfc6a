"""What is downloaded for environments: once for all platforms of these tests, as packages do not change."""

from __future__ import annotations

from pathlib import Path

from live.clients import CLIENTS

CACHE = CLIENTS / "cache"


def share(root: Path) -> None:
    """A root that has none yet has uv's cache where the clients have theirs. Not on a disk of its own: there it would count."""
    CACHE.mkdir(parents=True, exist_ok=True)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = root / "envs" / "cache"
    if not own.exists() and root.stat().st_dev == CACHE.stat().st_dev:
        own.parent.mkdir(mode=0o700, exist_ok=True)
        own.symlink_to(CACHE)
