"""`$filter` of Resource Manager's own lists: `NAME eq 'VALUE'`, joined by `and`.

https://learn.microsoft.com/rest/api/resources/resources/list
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.store.resources import Row

TAGS = ("tagName", "tagValue")
_TERM = re.compile(r"\(*\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*\)*", re.IGNORECASE)
_AND = re.compile(r"\s+and\s+(?=\(*\s*\w+\s+eq\s)", re.IGNORECASE)


def read(query: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Lowered name → value of the query's `$filter`, all of which must hold. Raises ArmError(400)."""
    text = query.get("$filter", "").strip()
    found: dict[str, str] = {}
    for term in _AND.split(text) if text else []:
        match = _TERM.fullmatch(term.strip())
        name = match[1].lower() if match else ""
        if match is None or name in found or name not in (one.lower() for one in names):
            raise _refused(
                f"{term[:100]!r} is not read here; write NAME eq 'VALUE', joined by 'and', where NAME is"
                f" {', '.join(names[:-1])} or {names[-1]}."
            )
        found[name] = match[2].replace("''", "'")
    if "tagvalue" in found and "tagname" not in found:
        raise _refused("tagValue is read together with tagName.")
    return found


def keeps(terms: Mapping[str, str], row: Row) -> bool:
    """Whether a tracked resource is one that such a filter asks for."""
    id_ = ResourceId.parse(row.written)
    has = {"name": row.name, "resourcegroup": id_.group, "location": str(row.spec.get("location") or "")}
    if any(name in terms and terms[name].lower() != value.lower() for name, value in has.items()):
        return False
    if "tagname" not in terms:
        return True
    tags = {name.lower(): value for name, value in (row.spec.get("tags") or {}).items()}
    name = terms["tagname"].lower()
    return name in tags and terms.get("tagvalue", tags[name]) == tags[name]


def _refused(message: str) -> ArmError:
    return ArmError(400, "InvalidFilterInQueryString", f"$filter: {message}", target="$filter")
