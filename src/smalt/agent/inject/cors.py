"""Cross-origin headers for the origins in `AML_CORS_ORIGINS`, as Azure's server gives them."""

from __future__ import annotations

import re

_PATTERN_SIGNS = set("*\\]?$^[()")


class Cors:
    """`origins` are exact origins, `*`, or regular expressions (what holds one of their signs)."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._patterns = [one for one in origins if _PATTERN_SIGNS & set(one) and one != "*"]
        self._exact = {one.lower() for one in origins}
        self._vary = len(origins) > 1 or bool(self._patterns) or self._any
        literal = sorted(one for one in origins if not _PATTERN_SIGNS & set(one))
        self._default = "*" if self._any else literal[0] if literal else ""
        self.enabled = bool(origins)

    def headers(self, method: str, request_headers: dict[str, str]) -> list[tuple[str, str]]:
        origin = request_headers.get("origin")
        allowed = origin if origin and (self._any or self._allowed(origin)) else "" if origin else self._default
        if not allowed:
            return []
        headers = [("Access-Control-Allow-Origin", allowed)]
        if method == "OPTIONS" and request_headers.get("access-control-request-method", "").upper() in ("GET", "POST"):
            asked = request_headers.get("access-control-request-headers")
            if asked:
                names = sorted(one.strip() for one in asked.split(","))
                headers.append(("Access-Control-Allow-Headers", ", ".join(names)))
            headers.append(("Access-Control-Allow-Methods", "GET, POST"))
        if self._vary and allowed != "*":
            headers.append(("Vary", "Origin"))
        return headers

    def _allowed(self, origin: str) -> bool:
        return origin.lower() in self._exact or any(re.match(one, origin, re.IGNORECASE) for one in self._patterns)
