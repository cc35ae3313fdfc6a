"""From an ASGI request to a `Principal`: the bearer token first, else a browser's session cookie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smalt.arm.ports import Principal
from smalt.auth.sessions import Sessions
from smalt.auth.tokens import TokenService

GUEST = "smalt.guest"  # a key of an ASGI scope


def authenticate(
    scope: Mapping[str, Any], tokens: TokenService, audiences: Sequence[str], sessions: Sessions | None = None
) -> Principal:
    """Who makes the request of this ASGI `scope`. Raises ArmError(401) with ARM's codes and challenge.

    A guest comes in by the Studio alone, which asks inside the process and says so where no header can (`GUEST`).

    `sessions`, where given, lets a browser in by its cookie: to read, and to change only from our own pages.
    """
    if isinstance(guest := scope.get(GUEST), Principal):
        return guest
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) > 1:
        raise tokens.refusal("The request has more than one 'Authorization' header.")
    if given:
        scheme, _, token = given[0].decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise tokens.refusal("The 'Authorization' header must be 'Bearer' and an access token.")
        return tokens.verify(token.strip(), audiences)
    if sessions is not None:
        principal = sessions.read(scope["method"], headers)
        if principal is not None:
            return principal
    raise tokens.refusal("Authentication failed. The 'Authorization' header is missing.", "AuthenticationFailed")
