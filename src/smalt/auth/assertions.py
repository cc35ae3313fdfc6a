"""What all client assertions have in common, whoever signed them: JSON Web Tokens that stand in for a client secret."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry

from smalt.arm.errors import ArmError

LEEWAY_S = 60
LONGEST_ASSERTION = 32_768


def peek(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not yet believed: only to find the key that then decides. ArmError(401) for what has none."""
    try:
        if len(assertion) > LONGEST_ASSERTION:
            raise ValueError("too long")
        encoded = assertion.split(".")[:2]
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in encoded)
    except (ValueError, RecursionError) as error:
        raise refused("AADSTS50027: The client assertion is not a JSON Web Token.") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise refused("AADSTS50027: The client assertion's header or claims are not a JSON object.")
    return header, claims


def is_self_signed(assertion: str, client_id: str) -> bool:
    """Whether it says that the client itself made it (with a certificate's key), rather than another issuer."""
    _, claims = peek(assertion)
    return claims.get("iss") in (client_id, claims.get("sub"))


def is_signed(assertion: str, key: Key | KeySet, algorithms: Sequence[str]) -> bool:
    registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
    registry.max_header_length = LONGEST_ASSERTION  # it may hold a chain of certificates
    try:
        jwt.decode(assertion, key, algorithms=algorithms, registry=registry)
    except (JoseError, ValueError, TypeError):  # TypeError: a header's "crit" is no list
        return False
    return True


def check_times(claims: Mapping[str, Any], now: float) -> float:
    """When the assertion ends, in seconds since the epoch. ArmError(401) outside of its time."""
    expires, not_before = _time(claims.get("exp")), _time(claims.get("nbf", 0))
    if expires is None or not_before is None:
        raise refused("AADSTS50027: The assertion has no valid 'exp' or 'nbf' claim.")
    if expires + LEEWAY_S <= now:
        raise refused("AADSTS700024: Client assertion is not within its valid time range: it is expired.")
    if not_before - LEEWAY_S > now:
        raise refused("AADSTS700024: Client assertion is not within its valid time range: it is not valid yet.")
    return expires


def refused(message: str) -> ArmError:
    return ArmError(401, "invalid_client", message)


def _time(claim: Any) -> float | None:
    """A whole number may be too large for a float, and JSON's NaN and Infinity are no times."""
    try:
        return float(claim) if type(claim) in (int, float) and math.isfinite(claim) else None
    except OverflowError:
        return None
