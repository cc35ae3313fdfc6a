"""Conditional headers, with the answers that Azure gives: 304 and 412 for reads, 412 and 409 for writes.

A lease's id is one too: who names it counts on holding that lease; who writes to what is leased has to name it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from smalt.blob.dates import http_date, parse_date
from smalt.blob.errors import BlobError, blob_exists, blob_not_found, condition_not_met, invalid_header, not_modified
from smalt.blob.protocol.blob import Blob
from smalt.blob.protocol.message import Request
from smalt.blob.store.leases import NONE as NO_LEASE
from smalt.blob.store.tag_query import BadQuery, Test, parse_condition


@dataclass(frozen=True, slots=True)
class Conditions:
    """The headers of a request.

    ETags without quotes, `*` for any; times in seconds since the epoch; `lease`: its id.
    """

    match: str = ""
    none_match: str = ""
    modified_since: float | None = None
    unmodified_since: float | None = None
    tags: Test | None = None
    lease: str = ""

    @property
    def must_be_new(self) -> bool:
        return self.none_match == "*"

    def without_lease(self) -> Conditions:
        """For Lease Blob, where the id is what the operation is about."""
        return replace(self, lease="")

    def check_read(self, blob: Blob) -> None:
        if self.lease:
            blob.lease.check_named(self.lease)
        if self.must_be_new:
            raise BlobError(
                400, "UnsatisfiableCondition", "The request includes an unsatisfiable condition for this operation."
            )
        if self.match and not _matches(self.match, blob.etag):
            raise condition_not_met()
        if self.unmodified_since is not None and blob.modified_s > self.unmodified_since:
            raise condition_not_met()
        if self.tags and not self.tags(blob.properties.tags):
            raise condition_not_met()
        headers = {"etag": f'"{blob.etag}"', "last-modified": http_date(blob.modified)}
        if self.none_match:
            if _matches(self.none_match, blob.etag):
                raise not_modified(headers)
        elif self.modified_since is not None and blob.modified_s <= self.modified_since:
            raise not_modified(headers)

    def check_write(self, blob: Blob | None) -> None:
        """For what makes or replaces a blob; `blob` is what is there now."""
        self.check_lease(blob)
        if blob is None:
            if self.match or self.tags:
                raise condition_not_met()
            return
        if self.must_be_new:
            raise blob_exists()
        self._check_change(blob)

    def check_lease(self, blob: Blob | None) -> None:
        """For what is about to become a part of a blob: it asks for no more than the lease."""
        (blob.lease if blob else NO_LEASE).check_write(self.lease)

    def check_change(self, blob: Blob | None) -> Blob:
        """For what needs an existing blob: 404 comes before any condition."""
        if blob is None:
            raise blob_not_found()
        self.check_lease(blob)
        self._check_change(blob)
        return blob

    def check_present(self, blob: Blob | None) -> Blob:
        """For what needs an existing blob and leaves it as it is: a lease is looked at if it is named."""
        if blob is None:
            raise blob_not_found()
        if self.lease:
            blob.lease.check_named(self.lease)
        self._check_change(blob)
        return blob

    def check_times(self, changed_at: float) -> None:
        """For containers, which have no other conditions."""
        if self.modified_since is not None and int(changed_at) <= self.modified_since:
            raise condition_not_met()
        if self.unmodified_since is not None and int(changed_at) > self.unmodified_since:
            raise condition_not_met()

    def _check_change(self, blob: Blob) -> None:
        if self.match and not _matches(self.match, blob.etag):
            raise condition_not_met()
        if self.none_match and _matches(self.none_match, blob.etag):
            raise condition_not_met()
        if self.modified_since is not None and blob.modified_s <= self.modified_since:
            raise condition_not_met()
        if self.unmodified_since is not None and blob.modified_s > self.unmodified_since:
            raise condition_not_met()
        if self.tags and not self.tags(blob.properties.tags):
            raise condition_not_met()


_NONE = Conditions()


def read_conditions(request: Request, prefix: str = "") -> Conditions:
    """The request's conditions, or with `x-ms-source-` those on a copy's source."""
    headers = request.headers
    match, none_match = headers.get(prefix + "if-match", ""), headers.get(prefix + "if-none-match", "")
    since, until = headers.get(prefix + "if-modified-since", ""), headers.get(prefix + "if-unmodified-since", "")
    tags = headers.get("x-ms-source-if-tags" if prefix else "x-ms-if-tags", "")
    lease = "" if prefix else headers.get("x-ms-lease-id", "")
    if not (match or none_match or since or until or tags or lease):
        return _NONE
    return Conditions(
        match,
        none_match,
        parse_date(prefix + "if-modified-since", since) if since else None,
        parse_date(prefix + "if-unmodified-since", until) if until else None,
        _tags(tags) if tags else None,
        lease,
    )


def _tags(text: str) -> Test:
    try:
        return parse_condition(text)
    except BadQuery as error:
        raise invalid_header("x-ms-if-tags", str(error)) from None


def _matches(condition: str, etag: str) -> bool:
    return any(one.strip().removeprefix("W/").strip('"') in ("*", etag) for one in condition.split(","))
