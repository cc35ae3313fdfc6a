"""Compressed bodies, inflated with a bound.

What is small on the wire must not become large in memory, here or in MLflow.
"""

from __future__ import annotations

import zlib

from smalt.arm.errors import ArmError
from smalt.tracking.edge.replies import too_large

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's names for the formats: its `wbits`


def inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """`body` without its Content-Encoding.

    Raises ArmError: 413 above `limit` bytes, 400 for what is broken, 415 for what is not read here.
    """
    name = encoding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    try:
        if name in ("gzip", "x-gzip"):
            return _inflated(body, _GZIP, limit)
        if name == "deflate":  # zlib's format; some clients send it without the frame
            return _inflated(body, _ZLIB if _is_framed(body) else _RAW, limit)
    except zlib.error as error:
        message = f"The body is not what its Content-Encoding '{name}' says: {error}."
        raise ArmError(400, "InvalidRequestContent", message, "Content-Encoding") from None
    raise ArmError(
        415,
        "UnsupportedMediaType",
        f"Bodies with the Content-Encoding '{name[:40]}' are not read here; send gzip, deflate, or no encoding.",
        "Content-Encoding",
        headers={"Accept-Encoding": "gzip, deflate"},
    )


def _inflated(body: bytes, wbits: int, limit: int) -> bytes:
    """All members of the body, one behind the other."""
    out = bytearray()
    while body:
        reader = zlib.decompressobj(wbits)
        out += reader.decompress(body, limit + 1 - len(out))
        if len(out) > limit:
            raise too_large(limit)
        if not reader.eof:
            raise zlib.error("it ends too early")
        body = reader.unused_data
        if wbits != _GZIP and body:
            raise zlib.error("something follows its end")
    return bytes(out)


def _is_framed(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
