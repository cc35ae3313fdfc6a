"""Browser sessions: a one-time link (`login_links.py`) becomes a signed cookie.

Link and cookie are sealed notes, so any process of the platform can make them; that a link was used, or a session ended
(`ended_sessions.py`), is a row in the database, so it opens once, and is over, even over a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from smalt.arm.ports import Principal
from smalt.auth.ended_sessions import EndedSessions
from smalt.auth.owner import owner_principal
from smalt.auth.sealing import Sealer
from smalt.auth.used_once import use
from smalt.settings import Settings
from smalt.store.database import Database

SESSION_LIFETIME_S = 12 * 3600.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Sessions:
    def __init__(self, settings: Settings, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._origin = settings.url
        self._database = database
        self._clock = clock
        self._links = Sealer(settings, "login-link")
        self._cookies = Sealer(settings, "session-cookie")
        self._owner = owner_principal(settings)
        self._ended = EndedSessions(database)
        self.cookie_name = f"__Host-smalt-{settings.port}"  # a browser does not keep the ports of one host apart

    def redeem(self, code: str) -> str | None:
        """The `Set-Cookie` value for a login link's code; None if it is not ours, over, or was used before."""
        now = self._clock()
        note = self._links.open(code, now)
        if note is None or not use(self._database, note["nonce"], note["exp"], now):
            return None
        sealed = self._cookies.seal({"oid": self._owner.oid, "link": note["nonce"]}, now + SESSION_LIFETIME_S)
        return self._set_cookie(sealed, int(SESSION_LIFETIME_S))

    def end(self, headers: Iterable[tuple[bytes, bytes]], everywhere: bool = False) -> str:
        """End the session of this request, or all that have begun; the `Set-Cookie` value that logs its browser out."""
        now = self._clock()
        if found := self._note(_texts(headers)):
            cookie, note = found
            self._ended.end(cookie, note["exp"], now)
            if everywhere:
                self._ended.end_all(note["oid"], now + SESSION_LIFETIME_S, now)
        return self._set_cookie("", 0)

    def ends_at(self, headers: Iterable[tuple[bytes, bytes]]) -> float | None:
        """When the session of this request is over, in seconds since the epoch."""
        found = self._note(_texts(headers))
        return float(found[1]["exp"]) if found else None

    def read(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """Who the session cookie speaks for, if the request is one that our own pages make.

        Other pages of the same host (another port is the same *site*) can send our cookie along; they cannot read
        answers, so only what changes something, and what the browser says comes from elsewhere, is refused.
        """
        found = _texts(headers)
        if self.cookie_name not in found.get("cookie", "") or not self._same_origin(method, found):
            return None
        opened = self._note(found)
        if opened is None or opened[1]["oid"] != self._owner.oid:
            return None
        cookie, note = opened
        return None if self._ended.has_ended(cookie, note["oid"], note["exp"], self._clock()) else self._owner

    def _note(self, headers: dict[str, str]) -> tuple[str, dict[str, Any]] | None:
        """The cookie and what it says, if it is one of ours and not over."""
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return None
        note = self._cookies.open(morsel.value, self._clock()) if morsel else None
        return (morsel.value, note) if morsel and note is not None else None

    def _same_origin(self, method: str, headers: dict[str, str]) -> bool:
        site, origin = headers.get("sec-fetch-site", ""), headers.get("origin")
        if method in SAFE_METHODS:
            return site in ("", "none", "same-origin") or headers.get("sec-fetch-mode") == "navigate"
        return origin == self._origin and site in ("", "same-origin")

    def _set_cookie(self, value: str, max_age: int) -> str:
        return f"{self.cookie_name}={value}; Path=/; Max-Age={max_age}; HttpOnly; Secure; SameSite=Lax"


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
