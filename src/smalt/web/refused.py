"""Requests that the gateway refuses, and leads here since their bodies may be large.

Each gets the answer that stands in its headers, once its body was read past (`refusals.py`). No client can write these:
the gateway takes them away.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from smalt.gateway.listener import REFUSED, REFUSED_BODY, REFUSED_STATUS

_STATUS, _BODY = REFUSED_STATUS.encode(), REFUSED_BODY.encode()
_KNOWN = {str(status).encode(): status for status in REFUSED}


class RefusedApp:
    @staticmethod
    def handles(scope: Scope) -> bool:
        return scope["path"].lower().startswith("/endpoints/") and _status(scope) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = _status(scope)
        assert status is not None
        body = dict(scope["headers"]).get(_BODY, b"")
        await Response(body, status, media_type="application/json")(scope, receive, send)


def _status(scope: Scope) -> int | None:
    return _KNOWN.get(dict(scope["headers"]).get(_STATUS, b""))
