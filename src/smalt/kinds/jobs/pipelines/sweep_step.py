"""Steps that are sweeps: the trial is a command component, and what is searched are inputs of it.

A step's document has YAML's spelling, which becomes that of a sweep job here:
https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-sweep
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smalt.arm.errors import invalid
from smalt.arm.kind import Document
from smalt.kinds.jobs.pipelines import overrides
from smalt.kinds.jobs.pipelines.bindings import document, items
from smalt.kinds.jobs.pipelines.command_step import KEPT
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_type import Component, IsUnknown, Node, StepType
from smalt.kinds.jobs.sweeps.space import ARGUMENTS
from smalt.store.document import part

_OBJECTS = ("search_space", "objective", "limits", "early_termination")
_FIELDS = (*_OBJECTS, "sampling_algorithm")
_OF_THE_TRIAL = ("distribution", "environmentVariables")
_WHOLE = ("max_total_trials", "max_concurrent_trials", "evaluation_interval", "delay_evaluation",
          "truncation_percentage", "seed", "upper")  # fmt: skip
_NUMBERS = ("min_value", "max_value", "mu", "sigma", "q", "slack_factor", "slack_amount")
_SEARCHED = "search_space"
_INPUT = re.compile(r"\$\{\{\s*inputs\.([\w\-]+?)(?:\.path)?\s*\}\}")
ANY: Document = {"type": "choice", "values": ["0"]}  # in place of what is not known yet
_DEEPEST = 20  # of choices in choices: what is deeper is refused as a space that is too deep


def _given(node: Node) -> Document:
    return overrides.given(node) | {key: node[key] for key in _FIELDS if node.get(key) is not None}


def _known(given: Document, is_unknown: IsUnknown) -> Document:
    """What is searched without its bounds is anything; a policy without its numbers is none."""
    if not is_unknown(given):
        return given
    left = {key: one for key, one in given.items() if key not in _FIELDS}
    space = {name: ANY if is_unknown(one) else one for name, one in document(given.get(_SEARCHED)).items()}
    objective = (
        {
            "goal": "maximize",
            "primary_metric": "any",
            **overrides.known(document(given.get("objective")), is_unknown),
        }
        if is_unknown(given.get("objective"))
        else given.get("objective")
    )
    found = overrides.known(left, is_unknown) | {
        _SEARCHED: space,
        "objective": objective,
        "limits": overrides.known(document(given.get("limits")), is_unknown),
        "sampling_algorithm": "random"
        if is_unknown(given.get("sampling_algorithm"))
        else given.get("sampling_algorithm"),
        "early_termination": None if is_unknown(given.get("early_termination")) else given.get("early_termination"),
    }
    return {key: one for key, one in found.items() if one is not None}


def _said(given: Document, field: str) -> Document:
    """Raises ArmError(400)."""
    for key in _OBJECTS:
        if not isinstance(given.get(key, {}), dict):
            raise invalid(f"{field}.{key}: {str(given[key])[:80]!r} is no object.", f"{field}.{key}")
    found = overrides.settings({key: one for key, one in given.items() if key not in _FIELDS})
    found["searchSpace"] = {name: _parameter(one, 0) for name, one in document(given.get(_SEARCHED)).items()}
    found["objective"] = overrides.camel(document(given.get("objective")))
    found["samplingAlgorithm"] = _algorithm(given.get("sampling_algorithm"))
    if limits := document(given.get("limits")):
        kept = {key: one for key, one in limits.items() if key not in ("job_limits_type", "jobLimitsType")}
        found["limits"] = {"jobLimitsType": "Sweep", **overrides.camel(_numbers(overrides.durations(kept)))}
    if policy := document(given.get("early_termination")):
        named = str(policy.get("policy_type") or policy.get("type") or "")
        rest = {key: one for key, one in policy.items() if key not in ("type", "policy_type")}
        found["earlyTermination"] = {
            "policyType": overrides.policy(named),
            **overrides.camel(_numbers(rest)),
        }
    return found


def _algorithm(given: Any) -> Document:
    """A name alone, or an object."""
    said = document(given) or {"type": given}
    rest = {key: one for key, one in said.items() if key not in ("type", "sampling_algorithm_type")}
    named = str(said.get("type") or said.get("sampling_algorithm_type") or "random")
    return {"samplingAlgorithmType": named.lower().capitalize(), **overrides.camel(_numbers(rest))}


def _parameter(given: Any, depth: int) -> Any:
    """As a sweep job has it, `["uniform", [0, 1]]`; what is no distribution stays as it is."""
    said = document(given)
    type_ = str(said.get("type") or "").lower()
    if type_ and type_ not in ARGUMENTS and not depth:
        return [said["type"], []]  # which is refused with the nearest name
    if type_ not in ARGUMENTS or depth > _DEEPEST:
        return given
    said = _numbers(said)
    if type_ != "choice":
        return [type_, [said.get(name) for name in ARGUMENTS[type_]]]
    values = said.get("values")
    if not isinstance(values, list):
        return [type_, [values]]
    return [type_, [[_option(one, depth) for one in items(values)]]]


def _option(given: Any, depth: int) -> Any:
    if isinstance(given, dict):
        return {name: _parameter(one, depth + 1) for name, one in document(given).items()}
    return given


def _numbers(given: Mapping[str, Any]) -> Document:
    """With numbers in place of the texts that bindings leave."""
    return {key: _number(one, key in _WHOLE) if key in (*_WHOLE, *_NUMBERS) else one for key, one in given.items()}


def _number(given: Any, whole: bool) -> Any:
    """What is no number is refused when the sweep is taken."""
    if not isinstance(given, str):
        return given
    try:
        return int(given) if whole else float(given)
    except ValueError:
        return given


def _job(component: Component, own: Document, settings: Settings) -> Document:
    command = overrides.command(component.spec, {key: own[key] for key in ("resources", *_OF_THE_TRIAL) if key in own})
    asked = str(command.get("command") or "")
    trial = {**command, "command": _INPUT.sub(lambda found: _searched(found, part(own, "searchSpace")), asked)}
    rest = {key: one for key, one in own.items() if key not in _OF_THE_TRIAL}
    return {**rest, "trial": trial, "jobType": "Sweep"}


def _searched(found: re.Match[str], space: Document) -> str:
    return f"${{{{{_SEARCHED}.{found[1]}}}}}" if found[1] in space else found[0]


def _work(properties: Document, ours: Document) -> Document:
    """Two sweeps that search the same have the same best trial, though they may draw other values."""
    of_sweep = ("searchSpace", "samplingAlgorithm", "objective", "earlyTermination", "limits")
    trial = properties["trial"]
    return {
        "trial": {key: trial.get(key) for key in ("command", "environmentVariables", "distribution", "resources")},
        "environment": ours["plan"]["key"],
        "variables": part(ours["plan"], "variables"),
        "sweep": {key: properties.get(key) for key in of_sweep},
    }


TYPE = StepType(
    "sweep",
    component="command",
    job=_job,
    kept=KEPT,
    reference=("trial", "componentId"),
    given=_given,
    said=_said,
    known=_known,
    elsewhere=lambda node: list(document(node.get(_SEARCHED))),
    work=_work,
)
