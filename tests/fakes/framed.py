"""Databases of PostgreSQL that begin with a group and a workspace: made once, and copied with the files beside them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.platform import Harness
from live.postgres import Postgres


class Framed:
    """For one server of PostgreSQL; `folder` is where the files of the first stay."""

    def __init__(self, server: Postgres, migrated: str, folder: Path) -> None:
        self._server, self._folder = server, folder
        url = server.create(migrated)
        Harness(folder, database_url=url).close()
        self._template = url.rpartition("/")[2]

    @contextmanager
    def copied(self, root: Path) -> Iterator[str]:
        """The URL of a database for a platform on `root`."""
        shutil.copytree(self._folder, root, dirs_exist_ok=True)
        url = self._server.create(self._template)
        yield url
        self._server.drop(url)
