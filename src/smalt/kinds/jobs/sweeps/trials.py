"""A trial: the command job that one combination of values makes of a sweep's document."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, cast

from smalt.arm.errors import ArmError, invalid
from smalt.arm.kind import Document
from smalt.arm.runs import PARAMETERS, WATCHED
from smalt.arm.validation import nearest
from smalt.kinds.jobs.children import Child
from smalt.kinds.jobs.sweeps.space import Values
from smalt.store.document import part

VARIABLE = "AZUREML_SWEEP_"
HYPERPARAMETERS = ("hyperparameters", "_aml_system_hyperparameters")  # tags in which Azure's clients find the values
_ASKED = re.compile(r"(['\"]?)\$\{\{\s*search_space\.([\w.\-]+?)\s*\}\}")
_OF_THE_TRIAL = ("command", "codeId", "environmentId", "distribution", "environmentVariables", "resources")
_OF_THE_SWEEP = ("computeId", "queueSettings", "identity")


def name_of(sweep: str, number: int) -> str:
    return f"{sweep}_{number}"


def child(sweep: str, number: int, properties: Document, values: Values, watched: bool) -> Child:
    """The job of this trial. `watched`: what it logs of the primary metric wakes the sweep."""
    logged = {name: text(value) for name, value in values.items()}
    ours: Document = {PARAMETERS: logged} | ({WATCHED: properties["objective"]["primaryMetric"]} if watched else {})
    return Child(name_of(sweep, number), command_job(properties, values), ours=ours)


def command_job(properties: Document, values: Values) -> Document:
    """What a client would send to run this trial alone."""
    trial, limits = part(properties, "trial"), part(properties, "limits")
    of_trial = {name: trial[name] for name in _OF_THE_TRIAL if trial.get(name) is not None}
    of_sweep = {name: properties[name] for name in _OF_THE_SWEEP if properties.get(name) is not None}
    job: Document = {"jobType": "Command", **of_sweep, **of_trial}
    if not job.get("resources") and properties.get("resources"):
        job["resources"] = properties["resources"]
    if limits.get("trialTimeout"):
        job["limits"] = {"jobLimitsType": "Command", "timeout": limits["trialTimeout"]}
    job["inputs"] = part(properties, "inputs")
    job["outputs"] = {name: _unnamed(one) for name, one in part(properties, "outputs").items()}
    own = part(trial, "environmentVariables")
    job["environmentVariables"] = {**_variables(job["inputs"], values), **own}
    found: Document = {name: _filled(one, values, shell=name == "command") for name, one in job.items()}
    hyperparameters = json.dumps(dict(values))
    return {**found, "tags": dict.fromkeys(HYPERPARAMETERS, hyperparameters)}


def check_names(properties: Document, known: list[str]) -> list[ArmError]:
    """What is wrong with each ${{search_space.x}}, wherever it stands."""
    places = {f"properties.trial.{name}": one for name, one in part(properties, "trial").items()}
    places |= {f"properties.{name}": properties.get(name) for name in ("inputs", "outputs")}
    asked = [(place, name) for place, one in places.items() for name in _asked(one) if name not in known]
    return [
        invalid(
            f"{place}: it references the parameter '{name}', which searchSpace does not have.{nearest(name, known)}",
            place,
        )
        for place, name in asked
    ]


def text(value: Any) -> str:
    """A value on a command line, and as a run's parameter."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)


def _asked(value: Any) -> list[str]:
    if isinstance(value, str):
        return [name for _, name in _ASKED.findall(value)]
    inner = cast("dict[str, Any]", value).values() if isinstance(value, dict) else ()
    return [name for one in inner for name in _asked(one)]


def _filled(value: Any, values: Values, shell: bool = False) -> Any:
    if isinstance(value, str):
        return _ASKED.sub(lambda found: found[1] + _quoted(values.get(found[2]), found[1], shell), value)
    if isinstance(value, dict):
        return {key: _filled(one, values) for key, one in cast("dict[str, Any]", value).items()}
    return value


def _quoted(value: Any, quote: str, shell: bool) -> str:
    """Quoting is the user's, but for an object, which is no word of the shell: it becomes one where none quotes it."""
    written = text(value)
    if not shell or not isinstance(value, dict) or quote == "'":
        return written
    return re.sub(r'(["\\$`])', r"\\\1", written) if quote else shlex.quote(written)


def _variables(inputs: Mapping[str, Any], values: Values) -> dict[str, str]:
    literals = {name: one["value"] for name, one in inputs.items() if one and one.get("jobInputType") == "literal"}
    return {f"{VARIABLE}{name}": text(value) for name, value in {**literals, **values}.items() if value is not None}


def _unnamed(output: Any) -> Any:
    """The best trial's output becomes a version of the asset, and that is the sweep's to say."""
    if not isinstance(output, dict):
        return output
    given = cast("dict[str, Any]", output)
    return {key: one for key, one in given.items() if key not in ("assetName", "assetVersion")}
