"""The token service: JSON Web Tokens of our own, signed with RS256, in the shape of Microsoft Entra's v1.0 tokens.

Claims: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference. `smalt_kind` and
`smalt_scope`, and `smalt_holder` where there is one, carry what a `Principal` has beyond them.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import base64_to_int

from smalt.arm.errors import ArmError
from smalt.arm.ports import ASSIGNED_IDENTITY, SIGN_IN, Principal
from smalt.auth.secret_files import keep_secret
from smalt.settings import ML_AUDIENCE, TENANT, Settings

ALGORITHM = "RS256"
KEY_BITS = 2048
LEEWAY_S = 30
CACHE_SIZE = 4096
LONGEST_TOKEN = 16_384
KINDS = frozenset({*SIGN_IN, ASSIGNED_IDENTITY, "job", "endpoint"})


@dataclass(frozen=True)
class _Checked:
    """A token whose signature and issuer were found good; audience and times are looked at on each use."""

    principal: Principal
    audience: str
    not_before: float
    expires: float


class TokenService:
    """Implements `ports.Tokens`. Thread-safe; several processes share the keys in `settings.secrets`."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        others: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`others`: addresses of servers on the same database, which share our keys: their tokens are as good."""
        self.issuer = f"{settings.url}/adfs/{TENANT}"
        self._url = settings.url
        self._clock = clock
        self._others = others
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, _Checked] = OrderedDict()
        self._keys = keep_secret(settings.secrets / "token-keys.json", lambda: _dump([_new_key()]), _parse)

    def issue(self, principal: Principal, audience: str, lifetime_s: float) -> str:
        """A token for `principal` that services of `audience` accept for `lifetime_s` seconds."""
        now = int(self._clock())
        key = self._keys[0]
        claims = {
            "aud": audience,
            "iss": self.issuer,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime_s),
            "tid": principal.tenant,
            "oid": principal.oid,
            "sub": principal.oid,
            "appid": principal.client_id or principal.oid,
            "name": principal.name,
            "idtyp": "user" if principal.kind == "owner" else "app",
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
            "smalt_kind": principal.kind,
            "smalt_scope": principal.scope,
            **({"smalt_holder": principal.holder} if principal.holder else {}),
        }
        return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}, claims, key, algorithms=[ALGORITHM])

    def verify(self, token: str, audiences: Sequence[str]) -> Principal:
        """Who `token` speaks for. Raises ArmError(401) with ARM's codes; `audiences` are compared exactly."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        checked = self._cached(digest)
        if checked is None:
            checked = self._check(token)
            self._remember(digest, checked)
        now = self._clock()
        if checked.expires + LEEWAY_S <= now:
            raise self.refusal(
                f"The access token expiry UTC time '{_utc(checked.expires)}' is earlier"
                f" than current UTC time '{_utc(now)}'.",
                "ExpiredAuthenticationToken",
            )
        if checked.not_before - LEEWAY_S > now:
            raise self.refusal(f"The access token is not valid before UTC time '{_utc(checked.not_before)}'.")
        if checked.audience not in audiences:
            allowed = ", ".join(f"'{one}'" for one in audiences)
            raise self.refusal(
                f"The access token has been obtained for wrong audience or resource '{checked.audience}'. "
                f"It should exactly match with one of the allowed audiences {allowed}.",
                "InvalidAuthenticationTokenAudience",
            )
        return checked.principal

    def jwks(self) -> dict[str, Any]:
        """The public keys, as served under `discovery/keys` and given to the gateway."""
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def discovery(self, tenant: str) -> dict[str, Any]:
        """The OpenID Connect discovery document for `tenant`, a path segment that clients chose ('' for `/adfs`)."""
        base = f"{self._url}/adfs/{tenant}" if tenant else f"{self._url}/adfs"
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/keys",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["pairwise"],
            "scopes_supported": ["openid", "profile"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "tid", "oid", "appid", "name"],
        }

    def refusal(self, message: str, code: str = "InvalidAuthenticationToken") -> ArmError:
        """The 401 as ARM words it, with the challenge that clients read."""
        said = message.replace("\\", " ").replace('"', "'").encode("ascii", "replace").decode()
        said = "".join(one if one.isprintable() else " " for one in said)
        challenge = f'Bearer authorization_uri="{self.issuer}", error="invalid_token", error_description="{said}"'
        return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})

    def _check(self, token: str) -> _Checked:
        if len(token) > LONGEST_TOKEN:
            raise self.refusal(f"The access token is longer than {LONGEST_TOKEN} characters.")
        try:
            claims = jwt.decode(token, self._find_key, algorithms=[ALGORITHM], registry=_registry()).claims
        except (JoseError, ValueError, TypeError) as error:
            # also: `none`, HS256 with our public key, a key that is not ours; TypeError: a header's "crit" is no list
            raise self.refusal("The access token is invalid: it is not one that this server signed.") from error
        issuer = self._server_of(claims.get("iss"))
        if issuer is None:
            raise self.refusal(
                f"The access token is from the wrong issuer '{claims.get('iss')}'; expected '{self.issuer}'."
            )
        named = ("aud", "oid", "name", "smalt_kind", "tid", "appid", "smalt_scope", "smalt_holder")
        texts = {name: claims.get(name, "") for name in named}
        times = [claims.get("exp"), claims.get("nbf")]
        if not all(isinstance(text, str) for text in texts.values()) or not all(
            type(at) in (int, float) for at in times
        ):
            raise self.refusal("The access token is invalid: a claim is of the wrong type.")
        if not texts["oid"] or texts["smalt_kind"] not in KINDS:
            raise self.refusal("The access token is missing the claim 'oid' or 'smalt_kind'.")
        principal = Principal(
            texts["oid"],
            texts["name"],
            texts["smalt_kind"],
            texts["tid"],
            texts["appid"],
            texts["smalt_scope"],
            holder=texts["smalt_holder"],
        )
        return _Checked(principal, self._as_ours(texts["aud"], issuer), float(claims["nbf"]), float(claims["exp"]))

    def _server_of(self, issuer: object) -> str | None:
        """The address of the server that issues as this; None: none of ours."""
        return next((url for url in (self._url, *self._others()) if issuer == f"{url}/adfs/{TENANT}"), None)

    def _as_ours(self, audience: str, issuer: str) -> str:
        """What another server's token says of that server's address holds for this one's."""
        rest = audience.removeprefix(issuer)
        return self._url + rest if audience.startswith(issuer) and rest[:1] in ("", "/") else audience

    def _find_key(self, token: Any) -> RSAKey:
        kid = token.headers().get("kid")
        for key in self._keys:
            if key.kid == kid:
                return key
        raise ValueError("unknown key")

    def _cached(self, digest: bytes) -> _Checked | None:
        with self._lock:
            found = self._cache.get(digest)
            if found is not None:
                self._cache.move_to_end(digest)
            return found

    def _remember(self, digest: bytes, checked: _Checked) -> None:
        if checked.expires <= self._clock():
            return
        with self._lock:
            self._cache[digest] = checked
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)


PUBLIC_ARM = "https://management.azure.com"  # written out in much user code, whatever cloud it runs in
PUBLIC_ML = "https://ml.azure.com"


def arm_audiences(settings: Settings) -> tuple[str, ...]:
    """What clients ask tokens for when they mean ARM: with and without the slash, as their scope was written."""
    return settings.url, settings.url + "/", PUBLIC_ARM, PUBLIC_ARM + "/"


def ml_audiences() -> tuple[str, ...]:
    """The ML audience: the client derives it from the portal without a slash, older ones with it."""
    return ML_AUDIENCE, ML_AUDIENCE + "/", PUBLIC_ML, PUBLIC_ML + "/"


def _registry() -> JWSRegistry:
    return JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)


def _new_key() -> RSAKey:
    key = RSAKey.generate_key(KEY_BITS, {"use": "sig", "alg": ALGORITHM})
    key.ensure_kid()
    return key


def _dump(keys: Sequence[RSAKey]) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=True) for key in keys]}).encode()


def _parse(content: bytes) -> list[RSAKey]:
    keys = [_read(one) for one in json.loads(content)["keys"]]
    if not keys:
        raise ValueError("no key")
    return keys


def _read(document: dict[str, Any]) -> RSAKey:
    """A key that we made: that its numbers are primes is not tried again, which takes 50 ms in each process."""
    try:
        RSAKey.validate_dict_key(document)
    except JoseError as error:
        raise ValueError(error) from error
    d, p, q, dp, dq, qi, e, n = (base64_to_int(document[name]) for name in ("d", "p", "q", "dp", "dq", "qi", "e", "n"))
    numbers = RSAPrivateNumbers(p, q, d, dp, dq, qi, RSAPublicNumbers(e, n))
    return RSAKey(numbers.private_key(unsafe_skip_rsa_key_validation=True), document)


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if abs(at) < 1e11 else str(at)
