"""How large one document may be: what is stored is read again with every list, and held by every client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from smalt.arm.errors import ArmError, invalid

DOCUMENT_MOST = 1 << 20  # bytes
TEMPLATE_MOST = 4 << 20  # a template deployment describes several resources; Azure's own limit
# https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations
TAGS_MOST, TAG_NAME_MOST, TAG_VALUE_MOST = 50, 512, 256


def too_large(most: int) -> ArmError:
    message = (
        f"A document holds at most {most >> 20} MiB. Put what is larger into a file, upload that as data or code, "
        "and name it in the document."
    )
    return ArmError(413, "RequestEntityTooLarge", message, target="body")


def check_size(document: Mapping[str, Any]) -> None:
    """For what is merged from several requests. Raises ArmError(413)."""
    if len(json.dumps(document)) > DOCUMENT_MOST:
        raise too_large(DOCUMENT_MOST)


def check_tags(document: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    """The tags of a resource and of its properties. Raises ArmError(400).

    Those that stay as they are in `old` are not looked at: MLflow's clients may have given more, or longer ones, to a model.
    """
    before = old or {}
    _check(document.get("tags"), before.get("tags"), "tags")
    properties, known = document.get("properties"), before.get("properties")
    if isinstance(properties, Mapping):
        given = cast("Mapping[str, Any]", properties).get("tags")
        _check(
            given,
            cast("Mapping[str, Any]", known).get("tags") if isinstance(known, Mapping) else None,
            "properties.tags",
        )


def _check(tags: Any, before: Any, field: str) -> None:
    if not isinstance(tags, Mapping) or tags == before:
        return
    given, known = (
        cast("Mapping[str, Any]", tags),
        cast("Mapping[str, Any]", before if isinstance(before, Mapping) else {}),
    )
    if len(given) > max(TAGS_MOST, len(known)):
        raise invalid(f"{field}: a resource has at most {TAGS_MOST} tags (given: {len(given)}).", field)
    for name, value in given.items():
        if name in known and value == known[name]:
            continue
        if len(name) > TAG_NAME_MOST:
            raise invalid(f"{field}: a tag's name has at most {TAG_NAME_MOST} characters ('{name[:40]}…').", field)
        if isinstance(value, str) and len(value) > TAG_VALUE_MOST:
            message = f"{field}: the value of tag '{name[:80]}' has more than {TAG_VALUE_MOST} characters."
            raise invalid(message, f"{field}.{name[:80]}")
