"""Names, ids and `properties` against a kind's declaration: every error of a request at once, each naming its field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.alias_generators import to_camel

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import NAME, Kind

_DETAILS_MOST = 100
# What is in a field of such a name is repeated in no error: it may be a secret, or one in the wrong place.
NAMES_OF_SECRETS = re.compile(r"credential|secret|token|password|passphrase|key|sas|certificate|connectionstring", re.I)


def _of_boolean(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


# Tags, properties, variables. YAML's `true` comes from clients as a boolean, and is taken as text, as by the service.
Texts = dict[str, Annotated[str, BeforeValidator(_of_boolean)] | None]


class Properties(BaseModel):
    """Base of all `properties` models: camelCase on the wire, unknown fields kept, values coerced as by the service."""

    model_config = {
        "extra": "allow",
        "alias_generator": to_camel,
        "coerce_numbers_to_str": True,
    }


ASSET_NAME = r"^[a-zA-Z0-9_][a-zA-Z0-9_.\-]{0,254}$"  # of what has versions, and of a version
_RULES = {
    NAME: "1 to 255 letters, digits, '-', '_' and '.', beginning with a letter or a digit",
    ASSET_NAME: "1 to 255 letters, digits, '-', '_' and '.', beginning with a letter, a digit or '_'",
}


def check_name(kind: Kind, name: str) -> None:
    if not re.fullmatch(kind.name_pattern, name):
        raise ArmError(400, "ValidationError", name_fault(name, f"this {kind.title}", kind.name_pattern), target="name")


def name_fault(name: str, what: str, pattern: str = ASSET_NAME) -> str:
    """Why `name`, which does not match `pattern`, cannot be the name of `what`."""
    rule = f"{_RULES[pattern]} ({pattern})" if pattern in _RULES else f"names of this kind match {pattern}"
    return f"'{name[:80]}' cannot name {what}: {rule}."


class _Document(Properties):
    """What stands beside `properties`."""

    location: str | None = None
    kind: str | None = None
    tags: Texts | None = None
    identity: dict[str, Any] | None = None
    sku: dict[str, Any] | None = None


def check_document(kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
    """The whole document as `check_properties` gives its `properties`."""
    properties = check_properties(kind, document.get("properties"))
    return {**checked(_Document, document, "", kind.title), "properties": properties}


def check_properties(kind: Kind, properties: Any) -> dict[str, Any]:
    """What was given, with the types that the kind's model declares.

    Raises ArmError(400) with one detail for each wrong field.
    """
    if not isinstance(properties, dict):
        raise invalid("'properties' must be an object.", "properties")
    given = cast("dict[str, Any]", properties)
    return given if kind.properties is None else checked(kind.properties, given, "properties", kind.title)


def checked(model: type[BaseModel], given: dict[str, Any], path: str, title: str) -> dict[str, Any]:
    """What was given, with the types that `model` declares. Raises ArmError(400) with one detail for each wrong field.

    `path`: where in the document it stands; `title`: what it is of, for people.
    """
    try:
        parsed = model.model_validate(given)
    except ValidationError as error:
        details = [_detail(path, one) for one in error.errors(include_url=False)[:_DETAILS_MOST]]
        wrong = error.error_count()
        first = details[0].message if wrong == 1 else f"{wrong} fields of the {title} are wrong."
        joined = first if wrong == 1 else first + " " + " ".join(one.message for one in details[:10])
        raise invalid(joined, details[0].target, details) from None
    return _as_written(given, parsed.model_dump(by_alias=True, exclude_unset=True))


def _as_written(given: Any, parsed: Any) -> Any:
    """`parsed` with its keys in the order in which they came."""
    if isinstance(given, dict) and isinstance(parsed, dict):
        ours = cast("dict[str, Any]", parsed)
        return {key: _as_written(value, ours[key]) for key, value in cast("dict[str, Any]", given).items()}
    return parsed


def _detail(base: str, error: Any) -> ArmError:
    path = ".".join([*filter(None, [base]), *(str(part) for part in error["loc"])])
    given = error.get("input")
    hidden = any(NAMES_OF_SECRETS.search(str(part)) for part in error["loc"])
    shown = "" if hidden or isinstance(given, dict | list) else f" (given: {str(given)[:80]!r})"
    return invalid(f"{path}: {error['msg']}{shown}.", path)


def nearest(name: str, known: Sequence[str]) -> str:
    """' Did you mean …?' for a message, or ''."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
