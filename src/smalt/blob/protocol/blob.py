"""A blob as the protocol sees it: bytes, properties, lease."""

from __future__ import annotations

from dataclasses import dataclass

from smalt.blob.dates import http_date
from smalt.blob.store.catalog import Properties, Row
from smalt.blob.store.leases import NONE as NO_LEASE
from smalt.blob.store.leases import Lease
from smalt.blob.store.objects import ObjectInfo

NOT_ENCRYPTED = {"x-ms-request-server-encrypted": "false"}
DEFAULT_TYPE = "application/octet-stream"
_NO_PROPERTIES = Properties()


@dataclass(frozen=True, slots=True)
class Blob:
    """One version of a blob: the object, and the row that fits it if there is one; and the lease on the blob."""

    info: ObjectInfo
    row: Row | None
    lease: Lease = NO_LEASE
    snapshot: str = ""

    @property
    def properties(self) -> Properties:
        return self.row.properties if self.row else _NO_PROPERTIES

    @property
    def etag(self) -> str:
        """Without quotes."""
        return self.row.etag if self.row else self.info.etag

    @property
    def modified(self) -> float:
        return self.properties.modified or self.info.modified

    @property
    def modified_s(self) -> int:
        """What `Last-Modified` can express: whole seconds."""
        return int(self.modified)

    @property
    def content_type(self) -> str:
        return self.properties.content_type or DEFAULT_TYPE


def changed(blob: Blob) -> dict[str, str]:
    return {**identity(blob), **NOT_ENCRYPTED}


def identity(blob: Blob) -> dict[str, str]:
    return {"etag": f'"{blob.etag}"', "last-modified": http_date(blob.modified)}
