"""A folder and, of the file chosen in it, the beginning: what `files.html` shows."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from posixpath import basename

from smalt.studio.files.answers import suffix
from smalt.studio.files.preview import TABLES, Preview, previewed
from smalt.studio.files.reading import Entry, Files, Level
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit

_LOOKED_THROUGH = 100  # files, for one with a table


@dataclass
class Browser:
    """`path`: the folder below the root; `trail`: the folders above it, each with its path. `why`: it is refused."""

    path: str = ""
    trail: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    level: Level | None = None
    file: str = ""
    preview: Preview | None = None
    why: str = ""
    first: bool = True
    title: str = ""  # of the root, where that is a file


async def browsed(visit: Visit, opened: Awaitable[Files]) -> Browser:
    """As the URL says: `path`, `after` (pages of the folder), `file`, `delimiter`."""
    given = visit.http.query_params
    found = Browser(path=given.get("path", ""), file=given.get("file", ""), first=not given.get("after"))
    if found.path and not found.path.endswith("/"):
        found.path += "/"
    steps = found.path.split("/")[:-1]
    found.trail = [(step, "/".join(steps[: at + 1]) + "/") for at, step in enumerate(steps)]
    try:
        files = await opened
        found.title = basename(files.place.root)
        if files.place.is_folder:
            found.level = await files.level(found.path, given.get("after", ""))
            if not found.file and any(one.name == f"{found.path}MLTable" for one in found.level.entries):
                found.file = f"{found.path}MLTable"
        if found.file or not files.place.is_folder:
            found.preview = await previewed(files, found.file, given.get("delimiter", ""))
    except Refused as error:
        found.why = error.message
    return found


async def with_root(files: Files) -> Files:
    """Where nobody said whether the root is a file or a folder: what is there."""
    if files.place.is_folder or await files.size() is not None:
        return files
    return Files(files.api, replace(files.place, root=f"{files.place.root}/"))


async def table_of(visit: Visit, files: Files) -> Preview:
    """The table that a profile is of: the file chosen, or the first one that is a table. Raises Refused."""
    name = visit.http.query_params.get("file", "")
    if not name and files.place.is_folder:
        entries = (await files.level("", deep=True, most=_LOOKED_THROUGH)).entries
        name = _first_table(entries)
    return await previewed(files, name, visit.http.query_params.get("delimiter", ""))


def _first_table(entries: list[Entry]) -> str:
    """Raises Refused(404)."""
    if any(one.name == "MLTable" for one in entries):
        return "MLTable"
    found = next((one.name for one in entries if suffix(one.name) in TABLES), None)
    if found is None:
        raise Refused(404, "NoTable", f"None of its first {_LOOKED_THROUGH} files is CSV, JSON lines or Parquet.")
    return found
