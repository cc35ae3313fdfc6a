"""What MLflow's clients can send in a body, as far as MLflow itself does not check it.

For these its own answer would be a 500. Only what no client sends is refused. What MLflow refuses with a
message of its own is left to it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast
from urllib.parse import parse_qsl

from smalt.arm.errors import ArmError, invalid

DEPTH_MOST = 100
_ROUTE = re.compile(
    r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/"
    r"(?:runs|experiments|registered-models|model-versions|logged-models)(?:/.*)?",
    re.DOTALL,
)
_INTEGERS = frozenset({"start_time", "end_time", "timestamp", "step", "max_results"})
_IDS = frozenset({"experiment_id", "version"})  # integers, written as texts
_TEXTS = frozenset(
    {"run_id", "run_uuid", "run_name", "user_id", "key", "name", "new_name", "status", "source", "model_id",
     "model_type", "source_run_id", "stage", "alias", "description", "artifact_location", "filter", "page_token",
     "run_view_type", "view_type", "model_json", "run_link"}
)  # fmt: skip
_SCALARS = _INTEGERS | _IDS | _TEXTS | {"value"}
_OBJECTS = frozenset({"metrics", "params", "tags", "datasets", "models"})
_NO_NUL = frozenset({"source", "artifact_location", "run_id", "run_uuid", "name", "key"})
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_LEAST, _MOST = -(2**63), 2**63 - 1


def check_body(rest: str, body: bytes) -> None:
    """Raises ArmError(400) for a JSON body of the route `rest` that no client sends.

    What is no JSON object is not looked at.
    """
    try:
        content = json.loads(body)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        return
    if not isinstance(content, dict):
        return
    given = cast("dict[str, Any]", content)
    nul = b"\\u0000" in body
    odd = {name: value for name, value in given.items() if nul or not _is_plain(name, value)}
    if odd and body.count(b"[") + body.count(b"{") > DEPTH_MOST:
        _check_depth(odd)
    if _HALF_PAIR.search(body):
        _check_pairs(body)
    if odd and _ROUTE.fullmatch(rest):
        _check_fields(odd, "")


def _is_plain(name: str, value: Any) -> bool:
    """Whether it is what clients log by the thousand: a short look, because it is taken at every batch."""
    if name not in _OBJECTS:
        return value.__class__ is str and name not in _IDS
    if value.__class__ is not list:
        return False
    for one in value:
        if one.__class__ is not dict:
            return False
        for field, inner in one.items():
            kind = inner.__class__
            if (
                kind is not str
                and (kind is not int or not _LEAST <= inner <= _MOST)
                and (kind is not float or field != "value")
            ):
                return False
    return True


def check_query(query: str) -> None:
    """The same for what stands in the URL. Raises ArmError(400)."""
    if not query:
        return
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _IDS or name in _INTEGERS:
            _check_id(value, name)


def _check_fields(content: dict[str, Any], path: str) -> None:
    for name, value in content.items():
        if name in _SCALARS:
            if value.__class__ in (list, dict):
                raise invalid(f"{path}{name} must be a single value, not {_kind(value)}.", f"{path}{name}")
            if name in _INTEGERS:
                _check_integer(value, f"{path}{name}")
            elif name in _IDS:
                _check_id(value, f"{path}{name}")
            elif name in _NO_NUL and value.__class__ is str and "\0" in value:
                raise invalid(f"{path}{name} holds a NUL character.", f"{path}{name}")
        elif name in _OBJECTS and value:
            _check_objects(value, f"{path}{name}")
        elif name == "experiment_ids" and isinstance(value, list):
            for one in cast("list[Any]", value):
                _check_id(one, f"{path}{name}")


def _check_objects(value: Any, path: str) -> None:
    if not isinstance(value, list):
        raise invalid(f"{path} must be a list of objects, not {_kind(value)}.", path)
    for at, one in enumerate(cast("list[Any]", value)):
        if not isinstance(one, dict):
            raise invalid(f"{path}[{at}] must be an object, not {_kind(one)}.", f"{path}[{at}]")
        _check_fields(cast("dict[str, Any]", one), f"{path}[{at}].")


def _check_integer(value: Any, path: str) -> None:
    if isinstance(value, float) and (not math.isfinite(value) or not value.is_integer()):
        raise invalid(f"{path} must be an integer (given: {value}).", path)
    if isinstance(value, int | float) and not _LEAST <= int(value) <= _MOST:
        raise invalid(f"{path} must be an integer of 64 bits.", path)


def _check_id(value: Any, path: str) -> None:
    """An id of digits alone is a number in MLflow's tables."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        value = int(value) if len(value) <= 20 else 2**64
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        raise invalid(f"{path} must be a number of 64 bits.", path)


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(DEPTH_MOST):
        level = [
            one
            for value in level
            for one in (value.values() if value.__class__ is dict else value)
            if one.__class__ in (dict, list)
        ]
        if not level:
            return
    raise _too_deep()


def _check_pairs(body: bytes) -> None:
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise invalid(
            "The body holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.", "body"
        ) from None


def _too_deep() -> ArmError:
    return invalid(f"The body is nested more than {DEPTH_MOST} levels deep.", "body")


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(value.__class__, "a number")
