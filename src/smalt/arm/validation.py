"""Names, ids and `properties` against a kind's declaration: every error of a request at once, each naming its field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Kind


class Properties(BaseModel):
    """Base of all `properties` models: camelCase on the wire, unknown fields kept, values coerced as the service does."""

    model_config = {
        "extra": "allow",
        "alias_generator": to_camel,
        "populate_by_name": True,
        "coerce_numbers_to_str": True,
    }


def check_name(kind: Kind, name: str) -> None:
    if not re.fullmatch(kind.name_pattern, name):
        raise ArmError(
            400,
            "ValidationError",
            f"'{name[:80]}' cannot name this {kind.title}: {_rule(kind.name_pattern)}.",
            target="name",
        )


def _rule(pattern: str) -> str:
    if pattern.endswith("{0,254}$"):
        return f"1 to 255 letters, digits, '-', '_' and '.', beginning with a letter or digit ({pattern})"
    return f"names of this kind match {pattern}"


def check_properties(kind: Kind, properties: Any) -> None:
    """Raises ArmError(400) with one detail for each wrong field."""
    if not isinstance(properties, dict):
        raise invalid("'properties' must be an object.", "properties")
    if kind.properties is None:
        return
    try:
        kind.properties.model_validate(properties)
    except ValidationError as error:
        details = [_detail(kind, one) for one in error.errors()]
        first = details[0].message if len(details) == 1 else f"{len(details)} fields of the {kind.title} are wrong."
        joined = first if len(details) == 1 else first + " " + " ".join(one.message for one in details[:10])
        raise invalid(joined, details[0].target, details) from None


def _detail(kind: Kind, error: Any) -> ArmError:
    path = ".".join(["properties", *(str(part) for part in error["loc"])])
    given = error.get("input")
    shown = "" if isinstance(given, dict | list) else f" (given: {str(given)[:80]!r})"
    return invalid(f"{path}: {error['msg']}{shown}.", path)


def nearest(name: str, known: Sequence[str]) -> str:
    """' Did you mean …?' for a message, or ''."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
