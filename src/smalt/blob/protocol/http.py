"""uvicorn's HTTP/1.1 with the one thing that ASGI forgets: the case of metadata's names.

Azure gives `x-ms-meta-Owner` back as it was written. ASGI has header names in lower case; here those of metadata keep
theirs after the prefix, which is lower case like all other names. (For the way back see `message.Spelled`.)
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PREFIX = b"x-ms-meta-"


class BlobProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=…)`."""

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        lower_case = self.headers[-1][0]
        if lower_case.startswith(_PREFIX):
            self.headers[-1] = (_PREFIX + name[len(_PREFIX) :], value)
