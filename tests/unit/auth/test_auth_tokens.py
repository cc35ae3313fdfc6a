from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth import tokens as tokens_module
from smalt.auth.tokens import TokenService, arm_audiences, ml_audiences
from smalt.settings import TENANT, Settings

JOB = Principal("oid-1", "job-7", "job", TENANT, "client-1", "/subscriptions/s/resourcegroups/g")
AUDIENCE = "https://localhost:7443"


@pytest.fixture
def service(settings: Settings, clock: Any) -> TokenService:
    return TokenService(settings, clock)


def refused(service: TokenService, token: str, *audiences: str) -> ArmError:
    with pytest.raises(ArmError) as caught:
        service.verify(token, audiences or (AUDIENCE,))
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith(f'Bearer authorization_uri="{service.issuer}", error=')
    return caught.value


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def forge(service: TokenService, changes: dict[str, Any], drop: str = "") -> str:
    """A token signed with the real key, with other claims."""
    claims = claims_of(service.issue(JOB, AUDIENCE, 600)) | changes
    claims.pop(drop, None)
    key = service._keys[0]
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


def test_a_principal_comes_back_as_it_went_in(service: TokenService) -> None:
    token = service.issue(JOB, AUDIENCE, 600)
    assert service.verify(token, [AUDIENCE]) == JOB
    assert service.verify(token, ["other", AUDIENCE]) == JOB  # now from the cache
    claims = claims_of(token)
    assert {"iss", "aud", "exp", "nbf", "iat", "tid", "oid", "sub", "appid", "name", "idtyp"} <= set(claims)
    assert claims["exp"] - claims["iat"] == 600 and claims["idtyp"] == "app" and claims["aud"] == AUDIENCE


@pytest.mark.parametrize("cached", [False, True])
def test_the_audience_is_compared_exactly(service: TokenService, cached: bool) -> None:
    token = service.issue(JOB, AUDIENCE, 600)
    if cached:
        service.verify(token, [AUDIENCE])
    for other in (AUDIENCE + "/", AUDIENCE.upper(), "https://storage.azure.com", ""):
        assert refused(service, token, other).code == "InvalidAuthenticationTokenAudience"
    assert refused(service, forge(service, {"aud": [AUDIENCE]})).code == "InvalidAuthenticationToken"


@pytest.mark.parametrize("cached", [False, True])
def test_a_token_ends(service: TokenService, clock: Any, cached: bool) -> None:
    token = service.issue(JOB, AUDIENCE, 600)
    if cached:
        service.verify(token, [AUDIENCE])
    clock.now += 599
    assert service.verify(token, [AUDIENCE]) == JOB
    clock.now += 32
    error = refused(service, token)
    assert error.code == "ExpiredAuthenticationToken" and "earlier than current UTC time" in error.message


def test_a_token_does_not_begin_early(service: TokenService, clock: Any) -> None:
    token = service.issue(JOB, AUDIENCE, 600)
    clock.now -= 20  # another machine's clock
    assert service.verify(token, [AUDIENCE]) == JOB
    clock.now -= 20
    assert "not valid before" in refused(service, token).message


def test_unsigned_tampered_and_foreign_tokens_are_refused(service: TokenService, sign_with_public_key: Any) -> None:
    good = service.issue(JOB, AUDIENCE, 600)
    head, body, signature = good.split(".")
    public = RSAKey.import_key(service.jwks()["keys"][0])
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    owner = (
        base64.urlsafe_b64encode(json.dumps(claims_of(good) | {"smalt_kind": "owner"}).encode()).rstrip(b"=").decode()
    )
    with_public_key = sign_with_public_key(public, claims_of(good))
    stranger = RSAKey.generate_key(2048)
    wrong = [
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{owner}.{signature}",
        f"{head}.{body}.{signature[:-6]}abcdef",
        f"{head}.{body}.",
        with_public_key,
        jwt.encode({"alg": "RS256", "kid": public.kid}, claims_of(good), stranger),
        jwt.encode({"alg": "RS256", "kid": "other"}, claims_of(good), stranger),
        jwt.encode({"alg": "RS256"}, claims_of(good), stranger),
        jwt.encode({"alg": "RS256", "jwk": stranger.as_dict(private=False)}, claims_of(good), stranger),
        f"{base64.urlsafe_b64encode(json.dumps({'alg': 'RS256', 'kid': public.kid, 'crit': 5}).encode()).decode()}.{body}.{signature}",
        "",
        "nonsense",
        "a.b.c",
        "é.é.é",
        "\udc80",
        good + "." + good,
        "x" * 20_000,
    ]
    for token in wrong:
        assert refused(service, token).code == "InvalidAuthenticationToken"


def test_claims_that_do_not_fit_are_refused_even_when_signed(service: TokenService) -> None:
    wrong: list[dict[str, Any]] = [
        {"iss": "https://sts.windows.net/x/"},
        {"iss": None},
        {"oid": ""},
        {"oid": 7},
        {"smalt_kind": "emperor"},
        {"smalt_scope": ["/"]},
        {"exp": "9999999999"},
        {"exp": True},
        {"nbf": None},
    ]
    for changes in wrong:
        assert refused(service, forge(service, changes)).code == "InvalidAuthenticationToken", changes
    for dropped in ("oid", "exp", "nbf", "iss", "smalt_kind"):
        refused(service, forge(service, {}, drop=dropped))
    assert service.verify(forge(service, {}), [AUDIENCE]) == JOB


def test_challenges_cannot_be_broken_by_what_a_token_says(service: TokenService) -> None:
    error = refused(service, forge(service, {"aud": 'x"\r\nSet-Cookie: é'}))
    challenge = error.headers["WWW-Authenticate"]
    assert challenge.isascii() and "\r" not in challenge and "\n" not in challenge and challenge.count('"') == 6


def test_another_process_has_the_same_keys(service: TokenService, settings: Settings, clock: Any) -> None:
    other = TokenService(settings, clock)
    assert other.verify(service.issue(JOB, AUDIENCE, 600), [AUDIENCE]) == JOB
    assert other.jwks() == service.jwks()


def test_public_documents_hold_nothing_private(service: TokenService, settings: Settings) -> None:
    assert all(set(key) <= {"kty", "n", "e", "use", "alg", "kid"} for key in service.jwks()["keys"])
    assert service.discovery("t")["token_endpoint"] == f"{settings.url}/adfs/t/oauth2/v2.0/token"
    assert service.discovery("")["jwks_uri"] == f"{settings.url}/adfs/discovery/keys"
    keys = settings.secrets / "token-keys.json"
    assert keys.stat().st_mode & 0o777 == 0o600 and settings.secrets.stat().st_mode & 0o777 == 0o700


def test_a_process_that_starts_at_the_same_moment_takes_the_same_keys(settings: Settings) -> None:
    made: list[TokenService] = []
    threads = [threading.Thread(target=lambda: made.append(TokenService(settings))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({service.jwks()["keys"][0]["kid"] for service in made}) == 1
    assert [path.name for path in settings.secrets.iterdir()] == ["token-keys.json"]


def test_the_cache_is_bounded_and_a_hit_costs_microseconds(
    service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "CACHE_SIZE", 3)
    issued = [service.issue(JOB, AUDIENCE, 600) for _ in range(5)]
    for token in issued:
        service.verify(token, [AUDIENCE])
    assert len(service._cache) == 3
    took: list[float] = []
    for _ in range(20):  # the best of them: the others may have met what the machine does beside
        began = time.perf_counter()
        for _ in range(100):
            service.verify(issued[-1], [AUDIENCE])
        took.append((time.perf_counter() - began) / 100)
    assert min(took) < 100e-6


def test_audiences_come_with_and_without_the_slash(settings: Settings) -> None:
    assert arm_audiences(settings)[:2] == ("https://localhost:7443", "https://localhost:7443/")
    assert ml_audiences()[:2] == ("https://ml.azure.smalt", "https://ml.azure.smalt/")
    assert "https://management.azure.com" in arm_audiences(settings), "the scope that user code has written out"
    assert "https://ml.azure.com" in ml_audiences()
