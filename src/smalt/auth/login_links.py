"""The one-time links that `smalt up` prints. Needs no database, so that the command line starts fast."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from urllib.parse import quote

from smalt.auth.sealing import Sealer
from smalt.settings import Settings

LINK_LIFETIME_S = 600.0


class LoginLinks:
    """Makes login links; needs no database, so that the command line can."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._url = settings.url
        self._sealer = Sealer(settings, "login-link")
        self._clock = clock

    def mint(self, to: str = "/") -> str:
        """A URL that logs the owner in once within ten minutes, and then shows the page `to`."""
        code = self._sealer.seal({"nonce": secrets.token_urlsafe(16)}, self._clock() + LINK_LIFETIME_S)
        return f"{self._url}/login?code={code}" + ("" if to == "/" else f"&next={quote(to, safe='/')}")
