"""The code of two jobs beside each other, as a text: which files only one has, and which lines of the others differ."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from smalt.studio.files.reading import READERS, Files, all_below
from smalt.studio.pages.compare import names_of
from smalt.studio.pages.job import code_of
from smalt.studio.platform_api import Refused
from smalt.studio.rendering import page
from smalt.studio.routes import get
from smalt.studio.visit import Visit

FILES_MOST = 2000  # of one job's code
READ_MOST = 300  # files that both have
BYTES_MOST = 256 << 10  # of a file; of a larger one only its size is compared
LINES_MOST = 2000  # that are shown
_CUT = 10_000  # lines of one file that are compared
_AT_ONCE = 4


@dataclass(frozen=True)
class Differing:
    """A file. `lines`: of a unified diff; empty where `why` says that there is none."""

    name: str
    why: str
    lines: Sequence[str]


async def show(visit: Visit) -> Response:
    """`?jobs=A,B`."""
    names = await names_of(visit)
    if len(names) != 2:
        raise Refused(400, "InvalidQueryParameter", "The code of two jobs is compared: choose two.")
    one, other = await asyncio.gather(*(code_of(visit, name) for name in names))
    before, after = await asyncio.gather(_listed(one), _listed(other))
    both = [name for name in sorted(before) if name in after]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def differing(name: str) -> Differing | None:
        if max(before[name], after[name]) > BYTES_MOST:
            why = f"{before[name]} and {after[name]} bytes: too large to be read here"
            return Differing(name, why, ()) if before[name] != after[name] else None
        async with turn:
            texts = await asyncio.gather(one.read(name, 0, BYTES_MOST), other.read(name, 0, BYTES_MOST))
            return await READERS.run(_compared, name, *texts) if texts[0] != texts[1] else None

    found = [one for one in await asyncio.gather(*map(differing, both[:READ_MOST])) if one is not None]
    return page(
        "code_diff.html",
        visit,
        names=names,
        gone=[name for name in sorted(before) if name not in after],
        new=[name for name in sorted(after) if name not in before],
        files=list(_bounded(found)),
        unread=max(0, len(both) - READ_MOST),
        lines_most=LINES_MOST,
    )


async def _listed(files: Files) -> Mapping[str, int]:
    """Sizes by name. Raises Refused(413) for more than FILES_MOST."""
    return {one.name: one.size async for one in all_below(files, "", FILES_MOST)}


def _compared(name: str, before: bytes, after: bytes) -> Differing:
    if b"\0" in before or b"\0" in after:
        return Differing(name, f"{len(before)} and {len(after)} bytes, which are no text", ())
    was, now = (one.decode(errors="replace").splitlines()[:_CUT] for one in (before, after))
    lines = list(difflib.unified_diff(was, now, lineterm=""))[2:]  # its first two name the files
    return Differing(name, "" if lines else "only the ends of lines differ", lines)


def _bounded(files: Sequence[Differing]) -> Iterator[Differing]:
    left = LINES_MOST
    for one in files:
        yield Differing(one.name, one.why or ("" if left else "there is no more room for its lines"), one.lines[:left])
        left -= len(one.lines[:left])


ROUTES = (get("/jobs/compare/code", show),)
