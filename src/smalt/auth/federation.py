"""Workload identity federation: a token of another issuer stands in for a client secret.

A credential says which issuer, subject and audiences to believe, and with which keys (given inline, or as the path of a
file that is read on each use, so that an issuer may rotate). As in
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from smalt.arm.errors import invalid
from smalt.auth.assertions import check_times, is_signed, peek, refused

DEFAULT_AUDIENCE = "api://AzureADTokenExchange"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")  # asymmetric only


@dataclass(frozen=True)
class FederatedCredential:
    """`jwks` is the key set itself ({"keys": […]}) or the absolute path of a file that holds it."""

    issuer: str
    subject: str
    audiences: Sequence[str] = (DEFAULT_AUDIENCE,)
    jwks: Mapping[str, Any] | str = ""

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "audiences": list(self.audiences)}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        return cls(document["issuer"], document["subject"], tuple(document["audiences"]), document["jwks"])


def check_credential(credential: FederatedCredential) -> None:
    """Raises ArmError(400) naming every field that cannot be right."""
    wrong = [
        invalid(f"The federated credential's {name} is missing.", name)
        for name in ("issuer", "subject")
        if not getattr(credential, name)
    ]
    if not credential.audiences or not all(credential.audiences):
        wrong.append(invalid("The federated credential needs at least one audience.", "audiences"))
    try:
        _key_set(credential)
    except ValueError as error:
        wrong.append(invalid(f"The federated credential's jwks cannot be used: {error}.", "jwks"))
    if wrong:
        raise invalid("The federated credential is not valid.", "federatedCredential", wrong)


def check_assertion(assertion: str, credentials: Sequence[FederatedCredential], now: float) -> None:
    """Return if one of `credentials` vouches for `assertion`; otherwise ArmError(401) that says what does not fit."""
    _, claims = peek(assertion)
    audience = claims.get("aud")
    given = audience if isinstance(audience, list) else [audience]
    fitting = [
        one
        for one in credentials
        if one.issuer == claims.get("iss")
        and one.subject == claims.get("sub")
        and set(one.audiences) & set(map(str, given))
    ]
    if not fitting:
        raise refused(
            "AADSTS70021: No matching federated identity record found for presented assertion. "
            f"Assertion Issuer: '{claims.get('iss')}'. Assertion Subject: '{claims.get('sub')}'. "
            f"Assertion Audience: '{', '.join(map(str, given))}'."
        )
    if not any(_signed(assertion, one) for one in fitting):
        raise refused(
            "AADSTS50013: Assertion failed signature validation against the keys of the federated credential."
        )
    check_times(claims, now)


def _signed(assertion: str, credential: FederatedCredential) -> bool:
    try:
        return is_signed(assertion, _key_set(credential), ALGORITHMS)
    except ValueError:  # the file with the keys is away, or holds none
        return False


def _key_set(credential: FederatedCredential) -> KeySet:
    """Raises ValueError where the keys cannot be read, or one of them is symmetric."""
    source: Any = credential.jwks
    try:
        if isinstance(source, str):
            source = json.loads(Path(source).read_text())
        keys = KeySet.import_key_set(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not keys.keys or any(key.key_type == "oct" for key in keys.keys):
        raise ValueError("it must hold public keys (RSA or EC), at least one")
    return keys
