from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.authentication import authenticate
from smalt.auth.identity_headers import IdentityHeaders
from smalt.auth.login_links import LoginLinks
from smalt.auth.owner import derived_principal, owner_principal
from smalt.auth.sealing import Sealer
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService
from smalt.settings import Settings
from smalt.store.database import Database

AUDIENCE = "https://localhost:7443"


@pytest.fixture
def sessions(settings: Settings, database: Database, clock: Any) -> Sessions:
    return Sessions(settings, database, clock)


def code_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["code"][0]


def cookie_of(sessions: Sessions, settings: Settings, clock: Any) -> str:
    cookie = sessions.redeem(code_of(LoginLinks(settings, clock).mint()))
    assert cookie is not None
    return cookie


def headers(cookie: str, **more: str) -> list[tuple[bytes, bytes]]:
    pairs = {"cookie": f"other=1; {cookie.split(';')[0]}; x=y", **{name.replace("_", "-"): more[name] for name in more}}
    return [(name.encode(), value.encode()) for name, value in pairs.items()]


def test_a_link_opens_once_also_after_a_restart(
    settings: Settings, database: Database, sessions: Sessions, clock: Any
) -> None:
    url = LoginLinks(settings, clock).mint("/studio")
    assert url.startswith("https://localhost:7443/login?code=") and url.endswith("&next=/studio")
    assert sessions.redeem(code_of(url)) is not None
    assert sessions.redeem(code_of(url)) is None
    assert Sessions(settings, database, clock).redeem(code_of(url)) is None


def test_a_link_ends_after_ten_minutes_and_cannot_be_made_up(
    settings: Settings, sessions: Sessions, clock: Any
) -> None:
    code = code_of(LoginLinks(settings, clock).mint())
    body, signature = code.split(".")
    forged = Sealer(settings, "session-cookie").seal({"nonce": "n"}, clock.now + 100)
    for wrong in ("", "x", ".", body, f"{body}.", f"{body[:-2]}AA.{signature}", forged, "é.é", "x" * 9000):
        assert sessions.redeem(wrong) is None
    clock.now += 601
    assert sessions.redeem(code) is None


def test_used_links_are_forgotten_once_they_are_over(settings: Settings, sessions: Sessions, clock: Any) -> None:
    first = code_of(LoginLinks(settings, clock).mint())
    assert sessions.redeem(first)
    clock.now += 601
    assert sessions.redeem(code_of(LoginLinks(settings, clock).mint()))
    with sessions._database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM used_link").scalar() == 1


def test_the_cookie_is_the_owner_for_twelve_hours(settings: Settings, sessions: Sessions, clock: Any) -> None:
    cookie = cookie_of(sessions, settings, clock)
    assert cookie.startswith("__Host-smalt-7443=")
    assert {"Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=43200"} <= set(cookie.split("; "))
    assert sessions.read("GET", headers(cookie)) == owner_principal(settings)
    clock.now += 12 * 3600 + 1
    assert sessions.read("GET", headers(cookie)) is None


def test_a_cookie_of_another_root_or_changed_is_nobody(
    tmp_path: Any, settings: Settings, sessions: Sessions, clock: Any
) -> None:
    cookie = cookie_of(sessions, settings, clock)
    name, value = cookie.split(";")[0].split("=", 1)
    elsewhere = Sealer(replace(settings, root=tmp_path / "other"), "session-cookie").seal({"oid": "x"}, clock.now + 99)
    for wrong in ("", value[:-4] + "AAAA", elsewhere, '"', "a b"):
        assert sessions.read("GET", headers(f"{name}={wrong}")) is None


@pytest.mark.parametrize(
    ("method", "more", "good"),
    [
        ("GET", {}, True),
        ("GET", {"sec_fetch_site": "same-origin"}, True),
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, True),
        ("GET", {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, False),
        ("POST", {}, False),
        ("POST", {"origin": "https://localhost:7443"}, True),
        ("POST", {"origin": "https://localhost:7443", "sec_fetch_site": "same-origin"}, True),
        ("POST", {"origin": "https://localhost:8888"}, False),
        ("POST", {"origin": "null"}, False),
        ("DELETE", {"origin": "https://evil.example", "sec_fetch_site": "cross-site"}, False),
        ("POST", {"sec_fetch_site": "same-site", "origin": "https://localhost:7443"}, False),
    ],
)
def test_other_pages_cannot_act_with_the_cookie(
    settings: Settings, sessions: Sessions, clock: Any, method: str, more: dict[str, str], good: bool
) -> None:
    cookie = cookie_of(sessions, settings, clock)
    assert (sessions.read(method, headers(cookie, **more)) is not None) is good


def test_a_request_is_authenticated_by_its_token_first(settings: Settings, sessions: Sessions, clock: Any) -> None:
    tokens = TokenService(settings, clock)
    owner = owner_principal(settings)
    job = derived_principal(owner, "job", "/ws/jobs/a", "a", "/ws")
    cookie = headers(cookie_of(sessions, settings, clock))
    token = tokens.issue(job, AUDIENCE, 60).encode()

    def ask(*pairs: tuple[bytes, bytes], sessions: Sessions | None = sessions) -> Principal:
        return authenticate({"type": "http", "method": "GET", "headers": list(pairs)}, tokens, [AUDIENCE], sessions)

    assert ask((b"authorization", b"Bearer " + token), *cookie) == job
    assert ask((b"authorization", b"bearer " + token)) == job
    assert ask(*cookie) == owner
    wrong: list[list[tuple[bytes, bytes]]] = [
        [],
        [(b"authorization", b"Bearer wrong"), *cookie],  # a wrong token is not made good by a cookie
        [(b"authorization", b"Basic " + token)],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer " + token), (b"authorization", b"Bearer x")],
    ]
    for pairs in wrong:
        with pytest.raises(ArmError) as caught:
            ask(*pairs)
        assert caught.value.status == 401 and "WWW-Authenticate" in caught.value.headers
    with pytest.raises(ArmError) as caught:
        ask(*cookie, sessions=None)
    assert caught.value.code == "AuthenticationFailed"


def test_identity_headers_stand_for_whom_they_were_made(settings: Settings, clock: Any) -> None:
    made = IdentityHeaders(settings, clock)
    owner = owner_principal(settings)
    job = derived_principal(owner, "job", "/ws/jobs/a", "a", "/ws")
    assert IdentityHeaders(settings, clock).owner() == made.owner()
    grant = made.read(made.owner())
    assert grant is not None and grant.principal == owner and grant.expires_at is None
    header = made.mint(job, 100)
    grant = IdentityHeaders(settings, clock).read(header)
    assert grant is not None and grant.principal == job and grant.expires_at == clock.now + 100
    body, signature = header.split(".")
    for wrong in ("", "x", made.owner() + "x", f"{body}.{signature[:-4]}AAAA", "\udc80", "é"):
        assert made.read(wrong) is None
    clock.now += 101
    assert made.read(header) is None
    assert (settings.secrets / "msi").stat().st_mode & 0o777 == 0o600


def test_a_session_that_was_ended_is_over_on_every_server(
    settings: Settings, database: Database, sessions: Sessions, clock: Any
) -> None:
    here, there = (cookie_of(sessions, settings, clock) for _ in range(2))
    other = Sessions(settings, database, clock)
    assert sessions.read("GET", headers(here)) and other.read("GET", headers(here))
    ended = sessions.end(headers(here))
    assert "Max-Age=0" in ended and sessions.read("GET", headers(here)) is None
    clock.now += 1
    assert other.read("GET", headers(here)) is None and other.read("GET", headers(there))
    name, _, value = here.partition(";")[0].partition("=")
    assert sessions.read("GET", headers(f"{name}={value[:-1]}{'A' if value[-1] != 'A' else 'B'}")) is None


def test_all_sessions_are_ended_and_the_next_one_holds(settings: Settings, sessions: Sessions, clock: Any) -> None:
    olds = [cookie_of(sessions, settings, clock) for _ in range(3)]
    clock.now += 60
    sessions.end(headers(olds[0]), everywhere=True)
    assert not any(sessions.read("GET", headers(one)) for one in olds)
    clock.now += 1
    new = cookie_of(sessions, settings, clock)
    assert sessions.read("GET", headers(new)) and sessions.ends_at(headers(new)) == clock.now + 12 * 3600
    sessions.end(headers("none=1"), everywhere=True)
    assert sessions.read("GET", headers(new)), "who has no session ends none"
