"""What a file says of itself as a blob."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable

from smalt.blob.store.objects import ObjectInfo

Hides = Callable[[os.stat_result], bool]  # whether a file of several links is one of the platform's own

# What the database's integers hold: file systems keep times after 2262 too, which may be lies.
_LAST_VERSION = 2**63 - 1


def file_info(name: str, status: os.stat_result) -> ObjectInfo | None:
    """None for what is not a regular file."""
    if not stat.S_ISREG(status.st_mode):
        return None
    version = max(-_LAST_VERSION - 1, min(status.st_mtime_ns, _LAST_VERSION))
    return ObjectInfo(name, status.st_size, version, version / 1e9, default_etag(version, status.st_size))


def hides_none(_: os.stat_result) -> bool:
    return False


def visible_info(name: str, status: os.stat_result, hides: Hides) -> ObjectInfo | None:
    """`file_info`, and None for a hard link to a file that no blob may show."""
    if status.st_nlink > 1 and hides(status):
        return None
    return file_info(name, status)


def default_etag(version: int, size: int) -> str:
    """The ETag of a file of which the database knows nothing (that fits)."""
    digest = hashlib.blake2b(b"%d/%d" % (version, size), digest_size=7).hexdigest()
    return f"0x8{digest.upper()}"
