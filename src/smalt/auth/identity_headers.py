"""The secrets that open the managed identity endpoint: `IDENTITY_HEADER`, one for the owner and each job or replica.

The owner's is a file (0600). The others are sealed notes that say whom they stand for and until when, so nothing is
stored and a job's header is worth nothing once the job's time is over.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from smalt.arm.ports import Principal
from smalt.auth.owner import owner_principal
from smalt.auth.sealing import Sealer
from smalt.auth.secret_files import keep_secret
from smalt.settings import Settings


@dataclass(frozen=True)
class HeaderGrant:
    """Whom a header stands for; `expires_at` bounds the tokens got with it (None: the owner's, without an end).

    `holder`: the task that was given it for another's identity; empty: the principal is itself what ends.
    """

    principal: Principal
    expires_at: float | None
    holder: str = ""


class IdentityHeaders:
    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._owner = owner_principal(settings)
        self._owner_header = keep_secret(
            settings.secrets / "msi", lambda: secrets.token_urlsafe(32).encode(), bytes.decode
        )
        self._sealer = Sealer(settings, "identity-header")
        self._clock = clock

    def owner(self) -> str:
        """The owner's header, for `smalt env`."""
        return self._owner_header

    def mint(self, principal: Principal, lifetime_s: float, holder: str = "") -> str:
        """A header with which `principal` gets tokens for `lifetime_s` seconds from now, while `holder` runs."""
        note = {
            "oid": principal.oid,
            "name": principal.name,
            "kind": principal.kind,
            "tenant": principal.tenant,
            "client_id": principal.client_id,
            "scope": principal.scope,
            **({"holder": holder} if holder else {}),
        }
        return self._sealer.seal(note, self._clock() + lifetime_s)

    def read(self, header: str) -> HeaderGrant | None:
        """Whom `header` stands for; None for one that we did not give out, or that is over."""
        if hmac.compare_digest(header.encode("utf-8", "surrogatepass"), self._owner_header.encode()):
            return HeaderGrant(self._owner, None)
        note = self._sealer.open(header, self._clock())
        if note is None:
            return None
        expires_at: float = note.pop("exp")
        holder: str = note.pop("holder", "")
        return HeaderGrant(Principal(**note), expires_at, holder)
