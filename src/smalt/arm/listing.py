"""Pages of a collection: what a client asks for, which rows it gets, and the link to the rest.

A filter looks at rows one by one, so what one request reads is bounded, in rows and in bytes: a page may be short, or
empty, and still have a link to the next. Clients follow it until there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from smalt.arm.errors import ArmError
from smalt.store.pages import Page, place_after
from smalt.store.resources import Row

PAGE = 50
PAGE_MOST = 1000
READ_MOST = 2000  # rows that one request reads
CHUNK = 500
_SKIPS = ("$skipToken", "$skip", "skiptoken")
_NUMBER = re.compile(r"[0-9]{1,9}")

_ORDERS = {
    "createdtime desc": False, "createdtime asc": True, "createdtime": True, "CreatedAtDesc": False,
    "CreatedAtAsc": True,
}  # fmt: skip

Fetch = Callable[[int, str | None], Page]  # (rows at most, where to begin)


@dataclass(frozen=True)
class Paging:
    """Rows at most, where to begin, and whether exactly that many were asked for (`$top`: no more after them)."""

    most: int
    skip: str | None
    exact: bool

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Paging:
        """Raises ArmError(400)."""
        top = _number(query.get("$top", query.get("top", "")), "$top", least=1)
        size = top or _number(query.get("count", ""), "count", least=0) or PAGE
        skip = next((query[name] for name in _SKIPS if query.get(name)), None)
        if skip is not None and not _is_place(skip):
            raise _refused(f"{skip[:60]!r} is not a page of this list.", "$skipToken")
        return cls(min(size, PAGE_MOST), skip, top > 0)


def archived_shown(query: Mapping[str, str], views: Mapping[str, bool | None]) -> bool | None:
    """`listViewType`, one of `views`, the default first: which rows are shown, None: all. Raises ArmError(400)."""
    return _one_of(query, ("listViewType",), views, next(iter(views)))


def states_of(wanted: str | None, known: Sequence[str]) -> list[str] | None:
    """The states that a list is of, as rows have them; None: not only those of some that are known here."""
    asked = {one.strip().lower() for one in (wanted or "").split(",")} - {""}
    found = [one for one in known if one.lower() in asked]
    return found if asked and len(found) == len(asked) else None


def names_of(wanted: str) -> list[str]:
    """The names that a list is of. Raises ArmError(400)."""
    found = list(dict.fromkeys(filter(None, (one.strip() for one in wanted.split(",")))))
    if len(found) > PAGE_MOST:
        raise _refused(f"At most {PAGE_MOST} can be asked for by their names at once.", "names")
    return found


def oldest_first(query: Mapping[str, str]) -> bool:
    """`$orderBy`, by the time of creation. Raises ArmError(400)."""
    return _one_of(query, ("$orderBy", "orderBy"), _ORDERS, "createdtime desc")


def _one_of(query: Mapping[str, str], names: tuple[str, ...], known: Mapping[str, Any], default: str) -> Any:
    name = next((one for one in names if query.get(one)), names[0])
    given = query.get(name) or default
    found = {key.lower(): value for key, value in known.items()}
    wanted = " ".join(given.lower().split())
    if wanted not in found:
        raise _refused(f"{name} must be one of {', '.join(known)} (given: {given[:40]!r}).", name)
    return found[wanted]


def _number(text: str, name: str, least: int) -> int:
    if not text:
        return 0
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise _refused(f"{name} must be a number from {least} to 999999999 (given: {text[:40]!r}).", name)
    return int(text)


def _is_place(skip: str) -> bool:
    at, _, key = skip.partition("~")
    try:
        float(at)
    except ValueError:
        return False
    return bool(key)


def _refused(message: str, name: str) -> ArmError:
    return ArmError(400, "InvalidQueryParameter", message, target=name)


def collect(fetch: Fetch, shown: Callable[[Row], bool] | None, paging: Paging) -> tuple[list[Row], str | None]:
    """The rows of one page, and where the next begins.

    Reads `most` rows, and further chunks only as a filter takes rows out.
    """
    rows: list[Row] = []
    skip, size, left = paging.skip, paging.most, READ_MOST
    while True:
        page = fetch(size, skip)
        for at, row in enumerate(page.rows, 1):
            if shown is None or shown(row):
                rows.append(row)
            if len(rows) == paging.most:
                return rows, page.skip if at == len(page.rows) else place_after(row)
        left -= len(page.rows)
        if page.skip is None or page.full or left <= 0:
            return rows, page.skip
        skip, size = page.skip, min(CHUNK, left)


def carries(values: Mapping[str, str | None] | None, wanted: str | None) -> bool:
    """Whether tags or properties have all that a list asks for: names, or names with a value (`a,b=c`)."""
    for one in filter(None, (wanted or "").split(",")):
        name, valued, value = one.partition("=")
        if name not in (values or {}) or (valued and ((values or {})[name] or "") != value):
            return False
    return True


def named(value: Any, wanted: str | None) -> bool:
    """Whether a list that asks for one of these words (`a,b`), in any case, asks for this one; or for none."""
    return not wanted or str(value).lower() in (one.strip().lower() for one in wanted.split(","))


def next_link(url: str, query: Mapping[str, str], skip: str, paging: Paging, shown: int) -> str | None:
    """None where the client has all that it asked for. `url` is the collection's, decoded and without a query."""
    if paging.exact and shown == paging.most:
        return None
    left = {name: value for name, value in query.items() if name not in _SKIPS}
    if paging.exact:
        left["top" if "top" in left else "$top"] = str(paging.most - shown)
    parameters = urlencode({**left, "$skipToken": skip}, quote_via=quote, safe="$/~:")
    return f"{quote(url, safe='/:@$')}?{parameters}"
