"""Conditional headers, with the answers that Azure gives: 304 and 412 for reads, 412 and 409 for writes."""

from __future__ import annotations

from dataclasses import dataclass

from smalt.blob.errors import BlobError, blob_exists, blob_not_found, condition_not_met, not_modified
from smalt.blob.message import Request, http_date, parse_date
from smalt.blob.service import Blob


@dataclass(frozen=True, slots=True)
class Conditions:
    """The four headers of a request. ETags without quotes, `*` for any; times in seconds since the epoch."""

    match: str = ""
    none_match: str = ""
    modified_since: float | None = None
    unmodified_since: float | None = None

    @property
    def must_be_new(self) -> bool:
        return self.none_match == "*"

    def check_read(self, blob: Blob) -> None:
        if self.must_be_new:
            raise BlobError(
                400, "UnsatisfiableCondition", "The request includes an unsatisfiable condition for this operation."
            )
        if self.match and not _matches(self.match, blob.etag):
            raise condition_not_met()
        if self.unmodified_since is not None and blob.modified_s > self.unmodified_since:
            raise condition_not_met()
        headers = {"etag": f'"{blob.etag}"', "last-modified": http_date(blob.modified)}
        if self.none_match:
            if _matches(self.none_match, blob.etag):
                raise not_modified(headers)
        elif self.modified_since is not None and blob.modified_s <= self.modified_since:
            raise not_modified(headers)

    def check_write(self, blob: Blob | None) -> None:
        """For what makes or replaces a blob; `blob` is what is there now."""
        if blob is None:
            if self.match:
                raise condition_not_met()
            return
        if self.must_be_new:
            raise blob_exists()
        self._check_change(blob)

    def check_change(self, blob: Blob | None) -> Blob:
        """For what needs an existing blob: 404 comes before any condition."""
        if blob is None:
            raise blob_not_found()
        self._check_change(blob)
        return blob

    def _check_change(self, blob: Blob) -> None:
        if self.match and not _matches(self.match, blob.etag):
            raise condition_not_met()
        if self.none_match and _matches(self.none_match, blob.etag):
            raise condition_not_met()
        if self.modified_since is not None and blob.modified_s <= self.modified_since:
            raise condition_not_met()
        if self.unmodified_since is not None and blob.modified_s > self.unmodified_since:
            raise condition_not_met()


_NONE = Conditions()


def read_conditions(request: Request, prefix: str = "") -> Conditions:
    """The request's conditions, or with `x-ms-source-` those on a copy's source."""
    headers = request.headers
    match, none_match = headers.get(prefix + "if-match", ""), headers.get(prefix + "if-none-match", "")
    since, until = headers.get(prefix + "if-modified-since", ""), headers.get(prefix + "if-unmodified-since", "")
    if not (match or none_match or since or until):
        return _NONE
    return Conditions(
        match,
        none_match,
        parse_date(prefix + "if-modified-since", since) if since else None,
        parse_date(prefix + "if-unmodified-since", until) if until else None,
    )


def _matches(condition: str, etag: str) -> bool:
    return any(one.strip().removeprefix("W/").strip('"') in ("*", etag) for one in condition.split(","))
