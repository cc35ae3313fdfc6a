"""Where environments live under the root; the server and the build process must agree on it, and on nothing else.

envs/
  venvs/{key}/            the environment; complete only when `.complete` (JSON) is in it
  locks/{key}.txt         exact versions and hashes: written once, used again for this key for ever
  logs/                   {key}.failure.json: the cause, where the last build failed. The logs themselves are blobs
  packs/                  {key}.tar.gz: as another machine has packed it, fetched for the build to unpack;
                          {key}.own.tar.gz: as it was built here, until it is stored (`packs.py`)
  wheels/{key}/           those that were built of its lock's source distributions, for this key alone
  scratch/{key}/          while its build runs others' code: where that happens. Thrown away afterwards
  flocks/{key}            held (flock) by the build that is under way, and by its uv
  cache/                  uv's cache. It may be deleted at any time: built environments are hardlinks and keep their
                          files, and a lock is then built again from the package index instead of from this disk.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalt.agent.whole_file import write_whole

BUILDER = 1  # part of every key: raise it when the same definition must give another environment
VARIABLE = "SMALT_ENVIRONMENT"  # carries the definition to the build process, which takes it out of its environment


@dataclass(frozen=True)
class Layout:
    """Paths of one root's environments; `key` is always a hex digest of our own."""

    envs: Path

    @property
    def cache(self) -> Path:
        return self.envs / "cache"

    def prefix(self, key: str) -> Path:
        return self.envs / "venvs" / key

    def marker(self, key: str) -> Path:
        return self.prefix(key) / ".complete"

    def lock(self, key: str) -> Path:
        return self.envs / "locks" / f"{key}.txt"

    def wheels(self, key: str) -> Path:
        return self.envs / "wheels" / key

    def fetched(self, key: str) -> Path:
        return self.envs / "packs" / f"{key}.tar.gz"

    def packed(self, key: str) -> Path:
        return self.envs / "packs" / f"{key}.own.tar.gz"

    def scratch(self, key: str) -> Path:
        return self.envs / "scratch" / key

    def failure(self, key: str) -> Path:
        return self.envs / "logs" / f"{key}.failure.json"

    def flock(self, key: str) -> Path:
        return self.envs / "flocks" / key


def write_atomically(path: Path, text: str) -> None:
    """The whole file or nothing, also after `kill -9`; 0600, because index addresses may hold credentials."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text, sync=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_atomically` wrote, or None where there is nothing that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
