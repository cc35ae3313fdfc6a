"""A request's JSON, as far as it can be kept and given back: what is stored must be readable for ever.

Python's reader takes more than JSON has (NaN, numbers past a double, halves of surrogate
pairs), which no answer can hold.
"""

from __future__ import annotations

import json
from typing import Any

from smalt.arm.errors import ArmError

DEPTH_MOST = 100


def parsed(text: bytes, lists: bool = False) -> dict[str, Any]:
    """The object that `text` is; `{}` where it is empty. Raises ArmError(400).

    `lists`: where it is a list, that is the `value` of the object.
    """
    if not text.strip():
        return {}
    try:
        # decoded here: json.loads would let halves of surrogate pairs through
        written = text.decode(json.detect_encoding(text))
        body = json.loads(written, parse_constant=_no_number, parse_float=_finite)
        _check(body, 0)
    except (ValueError, RecursionError) as error:
        raise _refused(f"The body is not JSON that can be kept: {error}.") from None
    if lists and isinstance(body, list):
        return {"value": body}
    if not isinstance(body, dict):
        raise _refused("The body must be a JSON object.")
    return body  # pyright: ignore[reportUnknownVariableType]


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(written: str) -> float:
    value = float(written)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{written[:40]} is larger than any number here")
    return value


def _check(value: Any, depth: int) -> None:
    """Raises ValueError for text that is none, and for more levels than can be written again."""
    if isinstance(value, str):
        if not value.isascii():
            value.encode()
    elif isinstance(value, dict | list):
        if depth == DEPTH_MOST:
            raise ValueError(f"it has more than {DEPTH_MOST} levels")
        if isinstance(value, dict):
            for name in value:  # pyright: ignore[reportUnknownVariableType]
                _check(name, depth)
        for one in value.values() if isinstance(value, dict) else value:  # pyright: ignore[reportUnknownVariableType]
            _check(one, depth + 1)


def _refused(message: str) -> ArmError:
    return ArmError(400, "InvalidRequestContent", message, target="body")
