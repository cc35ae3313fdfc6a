"""A step's settings, in a pipeline's spelling and a component's, as the properties of a job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines.bindings import document, items

_NODE = ("resources", "distribution", "limits", "environment_variables", "queue_settings", "services", "identity",
         "computeId", "tags", "properties", "description")  # fmt: skip
_TIMEOUTS = ("timeout", "trial_timeout", "trialTimeout")
_PRIORITIES = {"low": 1, "medium": 2, "high": 3}
_OBJECTS = tuple(
    spelled
    for key in ("resources", "distribution", "limits", "environment_variables", "queue_settings", "tags", "properties",
                "inputs", "outputs", "mapping")
    for spelled in dict.fromkeys((key, to_camel(key)))
)  # fmt: skip
_AS_WRITTEN = ("environment_variables", "tags", "properties")  # their keys are the user's
_DISTRIBUTIONS = {"pytorch": "PyTorch", "tensorflow": "TensorFlow", "mpi": "Mpi", "ray": "Ray"}
_POLICIES = {"bandit": "Bandit", "median_stopping": "MedianStopping", "truncation_selection": "TruncationSelection"}
_IDENTITIES = {"aml_token": "AMLToken", "user_identity": "UserIdentity",
               "managed": "Managed", "managed_identity": "Managed",
               "amltoken": "AMLToken", "useridentity": "UserIdentity"}  # fmt: skip


def no_objects(node: Mapping[str, Any], field: str) -> list[ArmError]:
    """What a step's document says in a place where an object belongs, and is none."""
    wrong = [key for key in _OBJECTS if not isinstance(node.get(key) or {}, dict)]
    return [invalid(f"{field}.{key}: {str(node[key])[:80]!r} is no object.", f"{field}.{key}") for key in wrong]


def given(node: Mapping[str, Any]) -> Document:
    """What a step's document says of its job."""
    both = {
        **{to_camel(key): node.get(to_camel(key)) for key in _NODE},
        **{to_camel(key): node.get(key) for key in _NODE if node.get(key) is not None},
    }
    return {key: value for key, value in both.items() if value is not None}


def settings(said: Document) -> Document:
    """As properties of a job."""
    written = {to_camel(key) for key in _AS_WRITTEN}
    found = {key: value if key in written else camel(value) for key, value in said.items()}
    if "distribution" in found:
        found["distribution"] = distribution(found["distribution"])
    if "identity" in found:
        found["identity"] = identity(found["identity"])
    if isinstance(services := said.get("services"), dict):
        found["services"] = {name: camel(one) for name, one in document(services).items()}
    if isinstance(limits := found.get("limits"), dict):
        found["limits"] = durations(document(limits))
    if isinstance(queue := found.get("queueSettings"), dict):
        said_of = document(queue)
        found["queueSettings"] = {**said_of, "priority": priority(said_of.get("priority"))}
    return found


def known(value: Any, is_unknown: Callable[[Any], bool]) -> Any:
    """`value` without the texts, at any depth, that are not known yet: they are checked when they are."""
    if isinstance(value, dict):
        return {
            key: known(one, is_unknown)
            for key, one in document(value).items()
            if not isinstance(one, str) or not is_unknown(one)
        }
    if isinstance(value, list):
        return [known(one, is_unknown) for one in items(value) if not isinstance(one, str) or not is_unknown(one)]
    return value


def durations(limits: Document) -> Document:
    """Timeouts are seconds in YAML, and durations in a job."""

    def written(given: Any) -> Any:
        is_number = not isinstance(given, bool) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", str(given))
        return f"PT{given}S" if is_number else given

    return {key: written(one) if key in _TIMEOUTS else one for key, one in limits.items()}


def priority(given: Any) -> Any:
    """A word in YAML, a number in a job; what is neither is refused when the job is taken."""
    if not isinstance(given, str):
        return given
    return int(given) if given.isdecimal() and len(given) < 10 else _PRIORITIES.get(given.lower(), given)


def camel(value: Any) -> Any:
    """The keys of objects at any depth, but for those in `properties`, which are the user's."""
    if isinstance(value, dict):
        return {to_camel(key): one if key == "properties" else camel(one) for key, one in document(value).items()}
    return value


def distribution(said: Any) -> Any:
    if not isinstance(said, dict):
        return said
    given = document(said)
    found = {key: one for key, one in given.items() if key not in ("type", "distributionType")}
    type_ = str(given.get("distributionType") or given.get("type") or "")
    return {"distributionType": _DISTRIBUTIONS.get(type_.lower(), type_), **found}


def identity(said: Any) -> Any:
    """`type` in YAML, and in what older clients send of a step."""
    if not isinstance(said, dict):
        return said
    given = document(said)
    found = {key: one for key, one in given.items() if key not in ("type", "identityType")}
    type_ = str(given.get("identityType") or given.get("type") or "")
    return {"identityType": _IDENTITIES.get(type_.lower(), type_), **found}


def policy(named: str) -> str:
    """The type of a sweep's policy, from YAML's."""
    return _POLICIES.get(named.lower(), named)


def command(spec: Mapping[str, Any], own: Mapping[str, Any]) -> Document:
    """The properties of the command job that a step is, from its component and what the pipeline says of it."""
    resources = {
        **camel(document(spec.get("resources"))),
        **{k: v for k, v in document(own.get("resources")).items() if v is not None},
    }
    base: Document = {
        "command": spec.get("command"),
        "environmentId": spec.get("environment"),
        "codeId": spec.get("code"),
        "distribution": distribution(camel(spec.get("distribution"))),
        "environmentVariables": {
            **document(spec.get("environment_variables")),
            **document(own.get("environmentVariables")),
        },
    }
    merged = {**base, **{key: value for key, value in own.items() if key != "environmentVariables"}}
    merged["resources"] = resources
    return {key: value for key, value in merged.items() if value not in (None, {})}
