"""`GET {scope}/changes`: what happened in a workspace, a group, a subscription, or to one resource, and who did it.

A page of JSON, or a stream of server-sent events that goes on for as long as its reader likes. Both begin behind a
cursor (`after`, or the `Last-Event-ID` of a stream that broke off), so a reader that comes back misses nothing and gets
nothing twice. A reader is shown what he may read: the scope itself, and of what is in it what his grants reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from urllib.parse import urlencode

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from smalt.arm.above import missing
from smalt.arm.envelope import timestamp
from smalt.arm.errors import ArmError, invalid
from smalt.arm.event_stream import Sent, Streams
from smalt.arm.ids import ML, ResourceId, kind_key
from smalt.arm.listing import PAGE_MOST, READ_MOST, Paging
from smalt.arm.platform import Platform
from smalt.arm.ports import Principal
from smalt.arm.reach import covers, narrowed
from smalt.arm.registry import Kinds
from smalt.arm.threads import Threads
from smalt.store import feed, resources
from smalt.store.changes import What
from smalt.store.document import Document
from smalt.store.feed import Change, Cursor, NotACursor, Page

THREADS = 4  # so many reads at once, however many streams there are; what comes meanwhile is read together
SENT_AT_ONCE = 100  # changes that a stream holds in memory
NOW = "now"
STREAM = "text/event-stream"
_RESUMED = "Last-Event-ID"


@dataclass(frozen=True)
class _Asked:
    """Which changes: of `id` and what is in it, of these kinds and sorts (none: all), as far as the principal sees."""

    id: ResourceId
    principal: Principal
    kinds: frozenset[str]
    whats: frozenset[str]
    most: int


class ChangeFeed:
    """`answer` is one GET; who asks has been let in."""

    def __init__(self, platform: Platform, kinds: Kinds, streams: Streams | None = None) -> None:
        self._platform = platform
        self._kinds = kinds
        self._threads = Threads(THREADS)
        self._streams = streams or Streams(platform.hub)

    async def answer(
        self,
        http: HttpRequest,
        principal: Principal,
        id_: ResourceId,
        query: Mapping[str, str],
        allow: Callable[[], None],
    ) -> Response:
        """`allow` raises ArmError where the principal may not read this, now or when it is asked again later."""
        await self._threads.run(allow)
        resumed = http.headers.get(_RESUMED, "")
        field, given = (_RESUMED, resumed) if resumed else ("after", query.get("after", ""))
        streamed = STREAM in http.headers.get("accept", "")
        if query.get("order"):
            return JSONResponse(await self._threads.run(self._latest, http, principal, id_, query))
        asked = self._asked(principal, id_, query, SENT_AT_ONCE if streamed else PAGE_MOST)
        read = partial(self._read, asked, field)
        page = await self._threads.run(self._first, asked, read, given, field)
        if not streamed:
            return JSONResponse(self._body(http, query, page))

        async def more(cursor: str) -> Sent:
            return self._sent(await self._threads.run(read, Cursor.parse(cursor)))

        async def check() -> None:
            await self._threads.run(allow)

        reader = f"{principal.oid} {principal.name} {principal.scope}"
        return self._streams.open(reader, id_.key, self._sent(page), more, check)

    def _asked(self, principal: Principal, id_: ResourceId, query: Mapping[str, str], most: int) -> _Asked:
        self._kinds.at(id_)
        kinds = frozenset(self._kind(one) for one in _listed(query, "kind"))
        whats = frozenset(_listed(query, "what"))
        if unknown := sorted(whats - set(What)):
            raise invalid(f"'{unknown[0][:100]}' is none of {', '.join(What)}.", "what")
        return _Asked(id_, principal, kinds, whats, min(Paging.of(query).most, most))

    def _latest(self, http: HttpRequest, principal: Principal, id_: ResourceId, query: Mapping[str, str]) -> Document:
        """`order=newest`: a page backwards, before the cursor `before`; `actor`: of what one of them did;
        `notActor`: of what others did; `since`, `until`: of this time."""
        if query["order"] != "newest":
            raise invalid("'order' can be 'newest'; without it the oldest comes first.", "order")
        asked = self._asked(principal, id_, query, PAGE_MOST)
        sees, actor, other = cache(partial(self._reach, asked)), query.get("actor", ""), query.get("notActor")
        since, until = (_time(query.get(name, ""), name) for name in ("since", "until"))
        sequence, looked, found = _parsed(query.get("before", ""), "before").sequence, 0, list[Change]()
        while True:
            with self._platform.database.read() as connection:
                page = feed.latest(connection, sequence, id_.key, asked.kinds, asked.whats, asked.most)
            for one in page:
                looked, sequence = looked + 1, one.cursor.sequence
                wanted = (not actor or one.actor == actor) and one.actor != other and (not until or one.at < until)
                if wanted and one.at >= since and _reaches(sees(one.kind), one.resource_id):
                    found.append(one)
                if len(found) == asked.most:
                    break
            earlier = bool(page) and page[-1].at < since  # all behind it are, too
            more = not earlier and (len(page) == asked.most or len(found) == asked.most)
            if not more or len(found) == asked.most or looked >= READ_MOST:
                break
        body: Document = {"value": [self._document(one) for one in found]}
        if more:
            further = {**query, "before": str(Cursor(sequence=sequence))}
            body["nextLink"] = f"{self._platform.settings.url}{http.scope['path']}?{urlencode(further)}"
        return body

    def _kind(self, written: str) -> str:
        provider, _, path = written.partition("/")
        key = kind_key(provider, path) if "." in provider else kind_key(ML, written)
        if key not in self._kinds:
            raise invalid(f"'{written[:100]}' is not a type of resource that is known here.", "kind")
        return key

    def _first(self, asked: _Asked, read: Callable[[Cursor], Page], given: str, field: str) -> Page:
        if given == NOW:
            with self._platform.database.read() as connection:
                return Page([], feed.newest(connection), False)
        page = read(_parsed(given, field))
        if not given and not page.changes:
            with self._platform.database.read() as connection:
                if resources.get(connection, asked.id.key) is None:
                    raise missing(connection, self._kinds, asked.id)
        return page

    def _read(self, asked: _Asked, field: str, cursor: Cursor) -> Page:
        """A page behind `cursor`; it may be short, or empty, and still have more behind it."""
        found: list[Change] = []
        looked = 0
        sees = cache(partial(self._reach, asked))
        while True:
            try:
                with self._platform.database.read() as connection:
                    page = feed.after(
                        connection, cursor, asked.id.key, asked.kinds, asked.whats, asked.most - len(found)
                    )
            except NotACursor:
                raise _wrong(field) from None
            found += [one for one in page.changes if _reaches(sees(one.kind), one.resource_id)]
            looked, cursor = looked + len(page.changes), page.cursor
            if not page.more or len(found) >= asked.most or looked >= READ_MOST:
                return Page(found, cursor, page.more)

    def _reach(self, asked: _Asked, kind: str) -> tuple[str, ...] | None:
        """Ids at and below which the reader may read what is of this kind; None: everywhere."""
        action = f"{self._type(kind)}/read"
        return narrowed(self._platform.grants.reach(asked.principal, action), asked.id.key)

    def _type(self, kind: str) -> str:
        return self._kinds[kind].qualified if kind in self._kinds else kind

    def _body(self, http: HttpRequest, query: Mapping[str, str], page: Page) -> Document:
        body: Document = {"value": [self._document(one) for one in page.changes], "cursor": str(page.cursor)}
        if page.more:
            asked = {**query, "after": str(page.cursor)}
            body["nextLink"] = f"{self._platform.settings.url}{http.scope['path']}?{urlencode(asked)}"
        return body

    def _sent(self, page: Page) -> Sent:
        newest_at = max((one.at for one in page.changes), default=0.0)
        events = [(str(one.cursor), self._document(one)) for one in page.changes]
        return Sent(events, str(page.cursor), page.more, newest_at)

    def _document(self, one: Change) -> Document:
        shown: Document = {
            "cursor": str(one.cursor),
            "at": timestamp(one.at),
            "what": one.what,
            "resourceId": one.resource_id,
            "type": self._type(one.kind),
            "generation": one.generation,
            "from": one.before,
            "to": one.after,
            "reason": one.reason,
            "actor": one.actor,
            "requestId": one.request_id,
        }
        return {key: value for key, value in shown.items() if value not in (None, "")}


def _reaches(seen: tuple[str, ...] | None, key: str) -> bool:
    return seen is None or any(covers(one, key) for one in seen)


def _listed(query: Mapping[str, str], name: str) -> list[str]:
    return [one.strip() for one in query.get(name, "").split(",") if one.strip()]


def _time(given: str, field: str) -> float:
    """Seconds since the epoch; 0 where nothing is given. A day without a time begins at midnight, UTC."""
    try:
        found = datetime.fromisoformat(given) if given else datetime.fromtimestamp(0, UTC)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise invalid(
            f"{field}: '{given[:40]}' is no time such as 2030-01-31 or 2030-01-31T12:00:00Z.", field
        ) from None


def _parsed(given: str, field: str) -> Cursor:
    if not given:
        return Cursor()
    try:
        return Cursor.parse(given)
    except NotACursor:
        raise _wrong(field) from None


def _wrong(field: str) -> ArmError:
    message = f"'{field}' must be a cursor that this platform gave out, or '{NOW}' for what comes from now on."
    return invalid(message, field)
