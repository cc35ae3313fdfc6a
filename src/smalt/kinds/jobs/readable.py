"""Jobs as every client can read them: in one spelling, however they were written.

What is kept is what was sent: REST's spelling, YAML's, or an older client's. Clients know one of each alone; where a
word is spelled otherwise they read no such job, and give None, or an exception, for a list of jobs with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic.alias_generators import to_snake

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError
from smalt.arm.kind import Document
from smalt.kinds.jobs.model import IDENTITIES, MODES
from smalt.kinds.jobs.pipelines import overrides
from smalt.kinds.jobs.pipelines.bindings import document, items
from smalt.kinds.jobs.pipelines.control import ROUNDS_MOST
from smalt.kinds.jobs.pipelines.graph import DO_WHILE, PARALLEL_FOR
from smalt.kinds.jobs.sweeps.space import ARGUMENTS

_MODES = {"ro_mount": "ReadOnlyMount", "rw_mount": "ReadWriteMount", "eval_mount": "EvalMount",
          "eval_download": "EvalDownload", "download": "Download", "upload": "Upload", "direct": "Direct"}  # fmt: skip
_USERS = ("properties", "tags", "environment_variables")  # their keys are the user's
_DEEPEST = 20  # of choices in choices


def properties(kept: Mapping[str, Any]) -> Document:
    """Those of a job of any type."""
    found = {key: _PROPERTIES[key](one) if key in _PROPERTIES and one else one for key, one in kept.items()}
    if trial := document(found.get("trial")):
        found["trial"] = {key: _distribution(one) if key == "distribution" else one for key, one in trial.items()}
    return found


def steps(jobs: Any) -> Document:
    """The `jobs` of a pipeline."""
    return {name: _step(one) if isinstance(one, dict) else one for name, one in document(jobs).items()}


def search_space(given: Any) -> Document:
    """Of a sweep job: the types of distributions are small letters."""
    return {name: _searched(one, 0) for name, one in document(given).items()}


def _port(given: Any) -> Any:
    mode = MODES.get(str(document(given).get("mode")).lower())
    return {**given, "mode": _MODES[mode]} if mode else given


def _ports(given: Any) -> Document:
    return {name: _port(one) for name, one in document(given).items()}


def _identity(given: Any) -> Any:
    """None for what is no identity: it says nothing, and jobs with it cannot be read."""
    said = overrides.identity(given)
    return said if document(said).get("identityType") in IDENTITIES else None


def _distribution(given: Any) -> Any:
    return overrides.distribution(given) if given else given


def _searched(given: Any, depth: int) -> Any:
    one = items(given)
    type_ = str(one[0]).lower() if one else ""
    if type_ not in ARGUMENTS or depth > _DEEPEST:
        return given
    return [type_, *(_options(one[1:], depth) if type_ == "choice" else one[1:])]


def _options(given: list[Any], depth: int) -> list[Any]:
    return [_option(one, depth) for one in given]


def _option(given: Any, depth: int) -> Any:
    if isinstance(given, dict):
        return {name: _searched(one, depth + 1) for name, one in document(given).items()}
    return _options(items(given), depth) if isinstance(given, list) else given


_PROPERTIES: Mapping[str, Callable[[Any], Any]] = {
    "inputs": _ports,
    "outputs": _ports,
    "identity": _identity,
    "distribution": _distribution,
    "searchSpace": search_space,
    "jobs": steps,
}


def _step(given: Any) -> Document:
    node = {key: one for key, one in document(given).items() if one is not None}
    said = overrides.settings(overrides.given(node))
    said["identity"] = _identity(said.get("identity"))
    named = {key if key == "computeId" else to_snake(key): one for key, one in said.items() if one is not None}
    settings = {key: one if key in _USERS else _snake(one) for key, one in named.items()}
    found = {**{key: one for key, one in node.items() if key not in said and to_snake(key) not in settings}, **settings}
    if "identity" not in settings:
        found.pop("identity", None)
    if "inputs" in found:
        found["inputs"] = {name: _value(one) for name, one in document(node["inputs"]).items() if one is not None}
    if "outputs" in found:
        found["outputs"] = {name: _output(one) for name, one in document(node["outputs"]).items() if one is not None}
    special = _STEPS.get(str(node.get("type")))
    return special(found, node) if special else found


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            to_snake(key): one if key in _USERS else _snake(one)
            for key, one in document(value).items()
            if one is not None
        }
    return value


def _value(given: Any) -> Any:
    return _port(given) if isinstance(given, dict) else {"job_input_type": "literal", "value": str(given)}


def _output(given: Any) -> Document:
    """A text is bound to the pipeline's output."""
    said = document(_port(given)) or {"value": given, "type": "literal"}
    if "value" in said or "jobOutputType" in said or "job_output_type" in said:
        return said
    rest = {key: one for key, one in said.items() if key != "type"}
    return {"job_output_type": said.get("type") or "uri_folder", **rest}


def _sweep(found: Document, node: Mapping[str, Any]) -> Document:
    """YAML's spelling, but for the policy's type; and no component but the trial's."""
    result = {key: one for key, one in found.items() if key not in ("componentId", "early_termination")}
    if "search_space" in node:
        space = document(node["search_space"])
        result["search_space"] = {name: _parameter(one, 0) for name, one in space.items()}
    if algorithm := document(node.get("sampling_algorithm")):
        rest = {key: one for key, one in algorithm.items() if key not in ("type", "sampling_algorithm_type")}
        type_ = str(algorithm.get("type") or algorithm.get("sampling_algorithm_type") or "random")
        result["sampling_algorithm"] = {"type": type_.lower(), **rest}
    if "objective" in node:
        result["objective"] = _snake(node["objective"])
    if "limits" in node:
        limits = document(_snake(node["limits"]))
        limits = {key: _seconds(one) if key.endswith("timeout") else one for key, one in limits.items()}
        result["limits"] = {key: one for key, one in limits.items() if key != "job_limits_type"}
    if policy := document(_snake(node.get("early_termination"))):
        type_ = str(policy.get("policy_type") or policy.get("type") or "")
        rest = {key: one for key, one in policy.items() if key not in ("type", "policy_type")}
        result["early_termination"] = {"policy_type": overrides.policy(type_), **rest}
    return result


def _parameter(given: Any, depth: int) -> Any:
    """`["uniform", [0, 1]]`, which is a sweep job's spelling, and YAML's."""
    one = items(given)
    type_ = str(one[0] if one else document(given).get("type")).lower()
    if type_ not in ARGUMENTS or depth > _DEEPEST:
        return given
    said = dict(zip(ARGUMENTS[type_], items(one[1]), strict=False)) if len(one) > 1 else dict(document(given))
    if isinstance(options := said.get("values"), list):
        said["values"] = [
            {name: _parameter(inner, depth + 1) for name, inner in document(option).items()}
            if isinstance(option, dict)
            else option
            for option in items(options)
        ]
    return {**said, "type": type_}


def _seconds(timeout: Any) -> Any:
    """What is no duration is itself."""
    try:
        return round(seconds_of(timeout, 0)) if isinstance(timeout, str) else timeout
    except ArmError:
        return timeout


def _do_while(found: Document, node: Mapping[str, Any]) -> Document:
    return {**found, "limits": document(_snake(node.get("limits"))) or {"max_iteration_count": ROUNDS_MOST}}


def _parallel_for(found: Document, node: Mapping[str, Any]) -> Document:
    given = node.get("items")
    return found if given is None or isinstance(given, str) else {**found, "items": json.dumps(given)}


_STEPS: Mapping[str, Callable[[Document, Mapping[str, Any]], Document]] = {
    "sweep": _sweep,
    DO_WHILE: _do_while,
    PARALLEL_FOR: _parallel_for,
}
