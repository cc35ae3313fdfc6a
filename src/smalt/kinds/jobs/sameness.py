"""Whether a PUT of a job that exists asks for that job. Clients write back what they read, in spellings of their own.

Each fixed property has one form for comparison (`_FORMS`): what is absent, null, empty or a default is left out; names
and addresses stand for what they lead to; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.kinds.assets import references
from smalt.kinds.assets.versions import meaning
from smalt.kinds.jobs import readable
from smalt.kinds.jobs.admission import STANDARD, asset_type, compute_name
from smalt.kinds.jobs.model import MODES
from smalt.sched.want import MEDIUM

_READ = MODES["readonlymount"]
_TIMEOUTS = ("timeout", "trialTimeout")
_WORDS = ("samplingAlgorithmType", "rule", "goal", "policyType")


@dataclass(frozen=True)
class Sameness:
    """Compares inside one workspace, as it is now."""

    platform: Platform
    connection: Connection
    workspace: ResourceId

    def same(self, name: str, given: Any, known: Any, asked: Any) -> bool:
        """Whether the property `name` is `known`, or what was asked for when it became that.

        `latest` may have been another version then.
        """
        if given in (known, asked):
            return True
        form = _FORMS.get(name)
        return form is not None and form(self, given) == form(self, known)

    def asset(self, text: Any, type_: str) -> Any:
        return references.asset_key(self.connection, self.workspace, str(text), type_) if text else None

    def inputs(self, given: Any) -> Any:
        return {name: self._input(one) for name, one in _object(given).items() if one}

    def trial(self, given: Any) -> Any:
        """Of a sweep: each of its fields as that of a command job."""
        return {name: _FORMS[name](self, one) if name in _FORMS else one for name, one in _object(given).items() if one}

    def _input(self, given: Mapping[str, Any]) -> Any:
        if given.get("jobInputType") == "literal":
            return {"jobInputType": "literal", "value": str(given.get("value"))}
        one = dict(meaning(given))
        one["mode"] = MODES.get(str(given.get("mode") or "").lower(), _READ)
        uri, type_ = str(given.get("uri") or ""), str(given.get("jobInputType"))
        one["uri"] = references.place_key(self.platform, self.connection, self.workspace, uri, asset_type(uri, type_))
        return one


def _object(given: Any) -> Document:
    return given or {}


def _less(given: Any, **defaults: Any) -> Document:
    """Without what says nothing, and without what is the default."""
    return {key: one for key, one in _object(meaning(given)).items() if one != defaults.get(key)}


def _resources(given: Any) -> Document:
    found = _less(given, instanceCount=1, shmSize="2g")
    return {key: one.lower() if key == "instanceType" else one for key, one in found.items()}


def _limits(given: Any) -> Document:
    found = {key: one for key, one in _less(given).items() if key not in ("jobLimitsType", *_TIMEOUTS)}
    return {**found, **{name: _seconds(_object(given).get(name)) for name in _TIMEOUTS}}


def _seconds(timeout: Any) -> Any:
    """0: no limit. What is no duration is itself."""
    try:
        return seconds_of(timeout, 0)
    except ArmError:
        return timeout


def _distribution(given: Any) -> Document:
    found = _less(given, processCountPerInstance=1, parameterServerCount=0)
    return {key: one.lower() if key == "distributionType" else one for key, one in found.items()}


def _queue(given: Any) -> Document:
    found = {**_less(given, priority=MEDIUM)}
    return {**found, "jobTier": str(found.get("jobTier") or STANDARD).lower()}


def _chosen(given: Any) -> Document:
    """A sampling algorithm, an objective or a policy of a sweep: words in any case, and 0 is what is not given."""
    return {key: one.lower() if key in _WORDS else one for key, one in _less(given).items() if one != 0}


def _variables(given: Any) -> Document:
    """An empty text is a value here."""
    return {key: str(one) for key, one in _object(given).items() if one is not None}


_FORMS: Mapping[str, Callable[[Sameness, Any], Any]] = {
    "computeId": lambda _, given: compute_name(str(given or "serverless")).lower(),
    "environmentId": lambda where, given: where.asset(given, "environments"),
    "codeId": lambda where, given: where.asset(given, "codes"),
    "inputs": lambda where, given: where.inputs(given),
    "resources": lambda _, given: _resources(given),
    "limits": lambda _, given: _limits(given),
    "distribution": lambda _, given: _distribution(given),
    "queueSettings": lambda _, given: _queue(given),
    "environmentVariables": lambda _, given: _variables(given),
    "jobs": lambda _, given: readable.steps(given),
    "searchSpace": lambda _, given: readable.search_space(given),
    "trial": lambda where, given: where.trial(given),
    "samplingAlgorithm": lambda _, given: _chosen(given),
    "objective": lambda _, given: _chosen(given),
    "earlyTermination": lambda _, given: _chosen(given),
}
