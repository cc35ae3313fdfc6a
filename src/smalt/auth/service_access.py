"""Browsers at the services of jobs: a link that opens once becomes a cookie of that one service's origin.

Both are sealed notes that say who it is and for which service; neither opens anything anywhere else.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote

from smalt.arm.ports import Principal
from smalt.auth.sealing import Sealer
from smalt.auth.used_once import use
from smalt.settings import Settings
from smalt.store.database import Database

LINK_LIFETIME_S = 60.0
COOKIE_LIFETIME_S = 12 * 3600.0
COOKIE = "__Host-smalt-service"
ENTER = "/.smalt/enter"


class ServiceAccess:
    """`place` is the service, as text."""

    def __init__(self, settings: Settings, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._links = Sealer(settings, "service-link")
        self._cookies = Sealer(settings, "service-cookie")

    def link(self, principal: Principal, place: str, origin: str, to: str = "/") -> str:
        """A URL that lets a browser in as `principal`, once within a minute, and shows the page `to`."""
        note = {
            "nonce": secrets.token_urlsafe(16),
            "place": place,
            "who": asdict(principal) | {"shared": sorted(principal.shared)},
        }
        code = self._links.seal(note, self._clock() + LINK_LIFETIME_S)
        return f"{origin}{ENTER}?code={code}" + ("" if to == "/" else f"&to={quote(to, safe='/')}")

    def redeem(self, code: str, place: str) -> tuple[Principal, str] | None:
        """Who comes, and the `Set-Cookie` value; None where the code is not for here, is over, or was used before."""
        now = self._clock()
        note = self._links.open(code, now)
        principal = _who(note, place)
        if note is None or principal is None or not use(self._database, note["nonce"], note["exp"], now):
            return None
        sealed = self._cookies.seal({"place": place, "who": note["who"]}, now + COOKIE_LIFETIME_S)
        cookie = f"{COOKIE}={sealed}; Path=/; Max-Age={COOKIE_LIFETIME_S:.0f}; HttpOnly; Secure; SameSite=Lax"
        return principal, cookie

    def read(self, cookies: str, place: str) -> Principal | None:
        """Whom the cookie among those of a request speaks for."""
        try:
            morsel = SimpleCookie(_own(cookies)).get(COOKIE)
        except CookieError:
            return None
        return _who(self._cookies.open(morsel.value, self._clock()) if morsel else None, place)


def _who(note: Mapping[str, Any] | None, place: str) -> Principal | None:
    """Of whom a note is, if it is for that service. One of another version may say it in other words."""
    try:
        return (
            Principal(**note["who"] | {"shared": frozenset(note["who"].get("shared", ()))})
            if note is not None and note["place"] == place
            else None
        )
    except TypeError:
        return None


def without_own(cookies: str) -> str:
    """The other cookies of a request: those of the service itself."""
    return "; ".join(one for one in _split(cookies) if not one.startswith(f"{COOKIE}="))


def _own(cookies: str) -> str:
    return next((one for one in _split(cookies) if one.startswith(f"{COOKIE}=")), "")


def _split(cookies: str) -> list[str]:
    return [one for part in cookies.split(";") if (one := part.strip())]


def is_of_own_page(method: str, headers: Mapping[str, str], origin: str) -> bool:
    """Whether a request that brings our cookie is made by the service's own pages, or is a person's visit.

    Other services and the platform are the same *site*, so `SameSite` keeps none of them from sending it along.
    """
    given, site = headers.get("origin"), headers.get("sec-fetch-site", "")
    if given is not None and given != origin:
        return False
    if headers.get("upgrade"):
        return given == origin
    if site in ("", "none", "same-origin"):
        return given == origin or method in ("GET", "HEAD", "OPTIONS") or site == "same-origin"
    visit = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return visit and method in ("GET", "HEAD")
