"""What is recorded though no row changes: refusals, sign-ins, and reads of secrets.

Anybody may be refused as often as he likes, so one of a kind is written at once, and those that follow are counted: one
row at the end of the minute says how many. As long as it goes on, the pauses grow, up to an hour. What cannot be
written (a full disk) is left to the log: the answer does not depend on it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.errors import ArmError
from smalt.arm.ids import NotAnId, ResourceId
from smalt.arm.ports import Principal
from smalt.settings import SUBSCRIPTION
from smalt.store import author, changes
from smalt.store.changes import What
from smalt.store.database import Collision, Database

log = logging.getLogger("smalt.arm")

WINDOW_S = 60.0
WINDOW_MOST_S = 3600.0
KINDS_MOST = 500  # of what is counted at once; whatever comes beyond is one kind
UNKNOWN = "unknown"  # who tried to sign in without being anybody
_WRITES = frozenset(("PUT", "PATCH", "DELETE"))  # a POST may only ask (`validate`)
_PLATFORM = ResourceId(SUBSCRIPTION)
_DEEPEST, _LONGEST = 24, 2000  # of a path: words, characters
_SIMPLE = re.compile(r"[A-Za-z]{1,40}", re.ASCII)


@dataclass(frozen=True)
class _Note:
    what: What
    about: ResourceId
    reason: str
    actor: str
    request_id: str


@dataclass
class _Window:
    ends_at: float
    length_s: float
    last: _Note
    more: int = 0


def known(principal: Principal) -> Principal:
    """`principal` makes the request at hand: what it writes is recorded as theirs."""
    author.identified(principal.name or principal.client_id, not principal.acts_for_what_runs)
    return principal


class Audit:
    """`clock` gives seconds since the epoch. Never called inside of a transaction: it writes in one of its own."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, ...], _Window] = {}

    def refuses(self, error: ArmError, method: str, writes: bool = True) -> bool:
        """Whether this answer to the request at hand is one to record: `refused` is to be called with it.

        `writes` False: a refused write is nothing special here, only who may not do something.
        """
        if not author.current().name or author.current().name == author.PLATFORM:
            return False
        return error.status in (401, 403) or (writes and method in _WRITES and 400 <= error.status < 500)

    def refused(self, error: ArmError, method: str, path: str) -> None:
        about, last = _named(path)
        said = f"{method} {last}" if _SIMPLE.fullmatch(last) and method == "POST" else method
        outcome = f"{error.status} {error.code}"
        self._note(What.REFUSED, about, f"{said}: {outcome}", method, outcome)  # by nothing that was made up

    def refused_beside(self, error: ArmError, request: str, about: ResourceId, by: str, request_id: str) -> None:
        """By a service beside ARM. `request` (`blob PUT`) is one of few, `by` somebody who is known, or UNKNOWN."""
        outcome = f"{error.status} {error.code}"
        with author.on_behalf(request_id):
            author.identified(by, True)
            self._note(What.REFUSED, about, f"{request}: {outcome}", request, outcome)

    def secret_read(self, about: ResourceId, how: str) -> None:
        """`how`: the action's name."""
        self._note(What.SECRET_READ, about, how, how, about.key)

    def connected(self, about: ResourceId, where: str) -> None:
        """Somebody got a process behind the walls of a job that runs."""
        self._note(What.CONNECTED, about, where, where, about.key)

    def signed_in(self, name: str, how: str) -> None:
        author.identified(name, True)
        self._note(What.SIGNED_IN, _PLATFORM, how, how)

    def came(self, name: str, link: ResourceId) -> None:
        """A guest, by a link that somebody shared."""
        author.identified(name, True)
        self._note(What.SIGNED_IN, link, "shared link", link.key)

    def sign_in_refused(self, name: str, why: str) -> None:
        """`name`: of an identity that there is, else ''. `why` is one of few, and nothing that was sent."""
        author.identified(name or UNKNOWN, True)
        self._note(What.SIGN_IN_REFUSED, _PLATFORM, why, why)

    def settle(self, all_: bool = False) -> None:
        """Write what was counted in windows that are over; `all_`: in all, at the end of the server."""
        with self._lock:
            over = self._over(float("inf") if all_ else self._clock())
        self._write(over)

    def _note(self, what: What, about: ResourceId, reason: str, *sort: str) -> None:
        """Whatever has the same author, `what` and `sort` is counted together."""
        by = author.current()
        note = _Note(what, about, reason, by.name, by.request_id)
        now, kind = self._clock(), (by.name, str(what), *sort)
        with self._lock:
            notes = self._over(now)
            if kind not in self._windows and len(self._windows) >= KINDS_MOST:
                kind, note = (str(what),), replace(note, actor=UNKNOWN, reason="others")
            if (window := self._windows.get(kind)) is not None:
                window.last, window.more = note, window.more + 1
            else:
                self._windows[kind] = _Window(now + WINDOW_S, WINDOW_S, note)
                notes.append(note)
        self._write(notes)

    def _over(self, now: float) -> list[_Note]:
        """End the windows whose time has come. One in which something came is followed by a longer one."""
        notes: list[_Note] = []
        for kind, window in list(self._windows.items()):
            if window.ends_at > now:
                continue
            if not window.more or now == float("inf"):
                del self._windows[kind]
            if window.more:
                notes.append(replace(window.last, reason=f"{window.last.reason} ({window.more} more times)"))
                longest = WINDOW_S if window.last.what is What.SECRET_READ else WINDOW_MOST_S
                window.more, window.length_s = 0, min(2 * window.length_s, longest)
                window.ends_at = now + window.length_s
        return notes

    def _write(self, notes: list[_Note]) -> None:
        if not notes:
            return
        try:
            with self._database.write() as connection:
                for one in notes:
                    with author.on_behalf(one.request_id):
                        author.identified(one.actor, True)
                        changes.record(
                            connection,
                            one.about.key,
                            None,
                            None,
                            one.reason,
                            self._clock(),
                            what=one.what,
                            kind=one.about.kind,
                        )
        except (SQLAlchemyError, Collision) as error:
            log.error("%s could not be recorded: %s", [f"{one.what} {one.actor} {one.reason}" for one in notes], error)


def _named(path: str) -> tuple[ResourceId, str]:
    """The resource that a path leads to, or begins with, and what follows it. Behind some service's own words, too."""
    begin = path.lower().find("/subscriptions/")
    words = path[max(begin, 0) :][:_LONGEST].strip("/").split("/")
    last = words[-1]
    for length in range(min(len(words), _DEEPEST), 0, -1):
        try:
            return ResourceId.parse("/".join(words[:length])), last if length < len(words) else ""
        except NotAnId:
            continue
    return _PLATFORM, last
