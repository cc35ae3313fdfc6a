"""The files that a job left as artifacts, and its logs among them: a folder at a time, one to read, a text in a log.

GET jobs/NAME/files?path=outputs/&after=…    what is in a folder
GET jobs/NAME/file?path=outputs/plot.png     its size, and an address that reads it for an hour
GET jobs/NAME/searchLog?path=user_logs/std_log.txt&text=error    where a text is, in all of a log
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError, invalid, not_found
from smalt.arm.kind import Action, Document, Request
from smalt.auth.shared_links import signed_for
from smalt.kinds.jobs import launch
from smalt.settings import STORAGE_SUFFIX
from smalt.store.resources import Row

SHOWN_MOST = 500  # entries of a folder in one answer
FOUND_MOST = 200  # places of a text
TEXT_MOST, LINE_MOST = 200, 400  # characters that are looked for; bytes of a line that are shown
SEARCHED_MOST = 4 << 30  # bytes: a log has at most some hundred MiB (`agent/log_bound.py`), another file may be larger
_PIECE = 4 << 20
_SAS_S = 3600.0
_LAST = "/\U0010ffff"  # behind all names in a folder


def _list(request: Request, row: Row | None) -> tuple[int, Any]:
    """Folders are told once, not with all that is in them, however much it is."""
    folder, blobs = _ref(request, row, folder=True), request.platform.blobs
    after, shown, more = request.query.get("after") or "", list[Document](), ""
    while not more:
        for one in blobs.list(*folder, after=folder.name + after if after else ""):
            name, inner, _ = one.name.removeprefix(folder.name).partition("/")
            if len(shown) == SHOWN_MOST:
                more = after
                break
            shown.append({"name": name, "folder": bool(inner), "size": None if inner else one.size})
            after = name + _LAST if inner else name
            if inner:
                break  # on behind all that is in it
        else:
            break
    return 200, {"value": shown, "after": more or None}


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    ref, platform = _ref(request, row), request.platform
    size = platform.blobs.size(*ref)
    if size is None:
        raise not_found("The file", str(request.query.get("path")))
    sas = platform.blobs.sas(ref.account, "r", signed_for(request.principal, _SAS_S), ref.container, ref.name)
    place = f"{ref.account}.blob.{STORAGE_SUFFIX}/{ref.container}/{quote(ref.name)}"
    return 200, {"size": size, "url": f"{platform.settings.url}/{place}?{sas}"}


def _search(request: Request, row: Row | None) -> tuple[int, Any]:
    """The first places, in any case of letters, with the line around each: bytes from the beginning of the file."""
    ref, text = _ref(request, row), (request.query.get("text") or "").strip()
    if not 0 < len(text) <= TEXT_MOST:
        raise invalid(f"text: give 1 to {TEXT_MOST} characters to look for.", "text")
    finder, blobs, found = _finder(text), request.platform.blobs, list[Document]()
    begin, kept = 0, b""  # of the piece that is looked at; what was cut off the one before it
    while begin < SEARCHED_MOST and len(found) < FOUND_MOST:
        piece = blobs.read(*ref, most_bytes=_PIECE, at=begin)
        if piece is None:
            raise not_found("The file", str(request.query.get("path")))
        last = len(piece) < _PIECE
        whole = kept + piece
        end = len(whole) if last else whole.rfind(b"\n") + 1 or max(0, len(whole) - 4 * TEXT_MOST)  # lines are whole
        _places(whole, end, finder(whole), begin - len(kept), found)
        kept, begin = whole[end:], begin + len(piece)
        if last:
            break
    return 200, {"value": found, "searched": begin, "more": len(found) == FOUND_MOST}


def _finder(text: str) -> Callable[[bytes], Callable[[int], int]]:
    """Of some bytes, in UTF-8, where the text is next from a place on, in any case of letters; -1: nowhere.

    Bytes have cases only for letters of ASCII; of these alone, folding them is ten times as fast as an expression.
    """
    if text.isascii():
        folded = text.lower().encode()
        return lambda lines: partial(lines.lower().find, folded)
    spelled = ({one, one.lower(), one.upper()} for one in text)
    wanted = re.compile(
        b"".join(b"(?:%s)" % b"|".join(re.escape(way.encode()) for way in sorted(ways)) for ways in spelled)
    )

    def of(lines: bytes) -> Callable[[int], int]:
        return lambda at: place.start() if (place := wanted.search(lines, at)) else -1

    return of


def _places(lines: bytes, until: int, find: Callable[[int], int], begin: int, found: list[Document]) -> None:
    """Those that begin before `until`."""
    at = 0
    while len(found) < FOUND_MOST and 0 <= (hit := find(at)) < until:
        first = max(lines.rfind(b"\n", 0, hit) + 1, hit - LINE_MOST // 2)
        end = lines.find(b"\n", hit)
        at = len(lines) if end < 0 else end + 1
        line = lines[first : min(at, first + LINE_MOST)]
        found.append({"at": begin + first, "line": line.decode(errors="replace").rstrip("\r\n")})


def _ref(request: Request, row: Row | None, folder: bool = False) -> Ref:
    """What `path` names among the job's artifacts. Raises ArmError(400)."""
    assert row is not None
    path = (request.query.get("path") or "").strip("/")
    if path and ("\\" in path or any(part in ("", ".", "..") for part in path.split("/"))):
        raise ArmError(400, "InvalidPath", f"path: {path[:200]!r} names no file of a job.", "path")
    if not path and not folder:
        raise invalid("path: name a file of the job.", "path")
    with request.platform.database.read() as connection:
        artifacts = launch.artifacts_of(connection, row)
    return artifacts.below(f"{path}/" if folder else path) if path else artifacts


LIST, READ, SEARCH = Action(_list, method="GET"), Action(_read, method="GET"), Action(_search, method="GET")
