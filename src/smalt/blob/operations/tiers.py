"""Access tiers of block blobs: Hot, Cool and Cold are remembered and shown. All lie on the same disk.

Archive is refused: an archived blob cannot be read, and jobs read the files themselves.
"""

from __future__ import annotations

from dataclasses import replace

from smalt.blob.dates import http_date
from smalt.blob.errors import BlobError, missing_header, unsupported
from smalt.blob.operations.service import BlobService
from smalt.blob.operations.upload import refuse_unsupported
from smalt.blob.protocol.blob import Blob
from smalt.blob.protocol.conditions import read_conditions
from smalt.blob.protocol.message import Answer, Request
from smalt.blob.store.catalog import BLOCK, Properties

HEADER = "x-ms-access-tier"
_INFERRED = "Hot"
_TIERS = ("Hot", "Cool", "Cold")


async def set_tier(service: BlobService, request: Request, answer: Answer) -> None:
    """Changes neither ETag nor Last-Modified."""
    refuse_unsupported(request)
    request.grant.require("w")
    if HEADER not in request.headers:
        raise missing_header(HEADER)
    tier = asked_tier(request)
    check = read_conditions(request).check_change

    def check_type(blob: Blob | None) -> Blob:
        found = check(blob)
        _check_type(found.properties.type)
        return found

    at = service.clock()
    await service.annotate(request.target, check_type, lambda before: replace(before, tier=tier, tier_changed=at))
    await answer.send(200, {})


def asked_tier(request: Request, blob_type: str = BLOCK) -> str:
    """The tier that a request asks for, or an empty string."""
    asked = request.header(HEADER)
    if not asked:
        return ""
    _check_type(blob_type)
    for tier in _TIERS:
        if tier.lower() == asked.lower():
            return tier
    if asked.lower() == "archive":
        raise unsupported("The access tier Archive")
    raise BlobError(400, "InvalidBlobTier", f"The access tier '{asked[:40]}' is none of {', '.join(_TIERS)}.")


def tier_headers(properties: Properties) -> dict[str, str]:
    if properties.type != BLOCK:
        return {}
    if not properties.tier:
        return {HEADER: _INFERRED, "x-ms-access-tier-inferred": "true"}
    changed = {"x-ms-access-tier-change-time": http_date(properties.tier_changed)} if properties.tier_changed else {}
    return {HEADER: properties.tier, **changed}


def tier_xml(properties: Properties) -> str:
    if properties.type != BLOCK:
        return ""
    if not properties.tier:
        return f"<AccessTier>{_INFERRED}</AccessTier><AccessTierInferred>true</AccessTierInferred>"
    changed = f"<AccessTierChangeTime>{http_date(properties.tier_changed)}</AccessTierChangeTime>"
    return f"<AccessTier>{properties.tier}</AccessTier>{changed if properties.tier_changed else ''}"


def _check_type(blob_type: str) -> None:
    if blob_type != BLOCK:
        raise BlobError(400, "AccessTierNotSupportedForBlobType", "Only block blobs have an access tier.")
