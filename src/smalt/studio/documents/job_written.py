"""From a job as the API has it back to the YAML that would make it again: command, sweep and pipeline jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smalt.arm.durations import seconds_of
from smalt.store.document import Document, part
from smalt.studio.documents.fields import MODES, in_file

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/{}Job.schema.json"
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ASSET = re.compile(r"/(?:environments|components|data|models)/([^/]+)/versions/([^/]+)$", re.IGNORECASE)
_MODES = {name.lower(): word for word, name in MODES.items()}
_SERVICE = {"jobServiceType": "job_service_type", "port": "port", "nodes": "nodes", "properties": "properties"}
_IDENTITIES = {"Managed": "managed", "UserIdentity": "user_identity", "AMLToken": "aml_token"}
_OF_STEP = frozenset((
    "type", "name", "component_id", "display_name", "inputs", "outputs", "compute_id", "resources",
    "environment_variables", "limits",
))  # fmt: skip
_ARGUMENTS = {"choice": ("values",), "randint": ("upper",)}


def written(job: Mapping[str, Any]) -> Document | None:
    """`job`: the API's document. None: it has something that is not written here, so it would be lost."""
    properties = job["properties"]
    make = {"command": _command, "sweep": _sweep, "pipeline": _pipeline}.get(str(properties["jobType"]).lower())
    if make is None or not _is_writable(properties):
        return None
    kind = str(properties["jobType"]).lower()
    identity = _IDENTITIES.get(str(part(properties, "identity").get("identityType")))
    found: Document = {
        "$schema": _SCHEMA.format(kind),
        "type": kind,
        "display_name": properties.get("displayName"),
        "description": properties.get("description"),
        "experiment_name": properties.get("experimentName"),
        "tags": dict(part(properties, "tags")),
        "properties": dict(part(properties, "properties")),
        "identity": {"type": identity} if identity else None,
        **make(properties),
        "inputs": {name: _input(one) for name, one in part(properties, "inputs").items() if one},
        "outputs": {
            name: _output(one) for name, one in part(properties, "outputs").items() if one and name != "default"
        },
        "compute": _compute(properties.get("computeId")),
        "services": _services(properties),
        "queue_settings": snakes(part(properties, "queueSettings")),
    }
    return {name: value for name, value in found.items() if value not in (None, "", {}, [])}


def _is_writable(properties: Mapping[str, Any]) -> bool:
    """Whether `written` says all that was asked for: not of some steps and identities."""
    identity = {name: value for name, value in part(properties, "identity").items() if value is not None}
    known = identity in ({}, *({"identityType": one} for one in _IDENTITIES))
    return known and steps(part(properties, "jobs")) is not None


def steps(jobs: Mapping[str, Any]) -> Document | None:
    """Of a pipeline or of its component. None: one has something that is not written here, so it would be lost."""
    given = {name: snakes(one) for name, one in jobs.items() if one}
    lost = any(value for step in given.values() for name, value in step.items() if _is_lost(name))
    timed = all(snakes(part(step, "limits")).keys() <= {"timeout", "job_limits_type"} for step in given.values())
    return {name: _step(one) for name, one in given.items()} if timed and not lost else None


def _services(properties: Mapping[str, Any]) -> Document:
    """Those that were asked for, not those that the platform shows of each job."""
    asked = {k: one for k, one in part(properties, "services").items() if one and k not in ("Tracking", "Studio")}
    return {
        name: {field: one[key] for key, field in _SERVICE.items() if one.get(key) is not None}
        for name, one in asked.items()
    }


def _is_lost(field: str) -> bool:
    return field not in _OF_STEP and not field.startswith("_")


def _command(properties: Mapping[str, Any]) -> Document:
    timeout = part(properties, "limits").get("timeout")
    return {**_runs(properties), "limits": {"timeout": _seconds(timeout)} if timeout else None}


def _runs(given: Mapping[str, Any]) -> Document:
    resources = {name: value for name, value in snakes(part(given, "resources")).items() if value not in (None, "", {})}
    if resources == {"instance_count": 1}:
        resources = {}
    spread = snakes(part(given, "distribution"))
    kind = str(spread.pop("distribution_type", "")).lower()
    found: Document = {
        "command": given.get("command"),
        "code": in_file(str(given.get("codeId") or "")),
        "environment": _named(given.get("environmentId")),
        "environment_variables": dict(part(given, "environmentVariables")),
        "resources": resources,
        "distribution": {"type": kind, **{k: v for k, v in spread.items() if v is not None}} if kind else None,
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _sweep(properties: Mapping[str, Any]) -> Document:
    limits = {k: v for k, v in snakes(part(properties, "limits")).items() if k != "job_limits_type" and v is not None}
    for name in ("timeout", "trial_timeout"):
        if name in limits:
            limits[name] = _seconds(limits[name])
    sampling = snakes(part(properties, "samplingAlgorithm"))
    policy = snakes(part(properties, "earlyTermination"))
    objective = snakes(part(properties, "objective"))
    return {
        "trial": _runs(part(properties, "trial")),
        "search_space": {name: _distribution(one) for name, one in part(properties, "searchSpace").items()},
        "sampling_algorithm": {
            "type": str(sampling.pop("sampling_algorithm_type", "random")).lower(),
            **{k: v for k, v in sampling.items() if v is not None},
        },
        "objective": {"goal": str(objective.get("goal")).lower(), "primary_metric": objective.get("primary_metric")},
        "limits": limits,
        "early_termination": {
            "type": _WORD.sub("_", str(policy.pop("policy_type"))).lower(),
            **{k: v for k, v in policy.items() if v is not None},
        }
        if policy
        else None,
    }


def _distribution(given: Any) -> Document:
    kind, values = str(given[0]), given[1]
    bounds = ("mu", "sigma") if "normal" in kind else ("min_value", "max_value")
    names = _ARGUMENTS.get(kind) or (*bounds, *(("q",) if kind.startswith("q") else ()))
    return {"type": kind, **dict(zip(names, values, strict=False))}


def _pipeline(properties: Mapping[str, Any]) -> Document:
    settings = {k: v for k, v in part(properties, "settings").items() if not k.startswith("_") and v not in (None, "")}
    for name in ("default_compute", "defaultCompute"):
        if name in settings:
            settings[name] = _compute(settings[name])
    return {
        "settings": snakes(settings),
        "jobs": steps(part(properties, "jobs")),
    }


def _step(step: Mapping[str, Any]) -> Document:
    timeout = part(step, "limits").get("timeout")
    found: Document = {
        "type": step.get("type") or "command",
        "component": _named(step.get("component_id")),
        "display_name": step.get("display_name"),
        "inputs": {name: _bound(one) for name, one in (step.get("inputs") or {}).items()},
        "outputs": {name: _bound(one) for name, one in (step.get("outputs") or {}).items()},
        "compute": _compute(step.get("compute_id")),
        "resources": step.get("resources"),
        "environment_variables": step.get("environment_variables"),
        "limits": {"timeout": _seconds(timeout)} if timeout else None,
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _bound(given: Any) -> Any:
    one = snakes(given) if isinstance(given, dict) else {"value": given}  # pyright: ignore
    if "value" in one:
        return one["value"]
    said = {"type": one.get("job_input_type") or one.get("job_output_type") or "uri_folder", "path": one.get("uri")}
    return {**{k: v for k, v in said.items() if v}, **_mode(one.get("mode"))}


def _input(given: Mapping[str, Any]) -> Any:
    if given.get("jobInputType") == "literal":
        return literal(given.get("value"))
    return {"type": given.get("jobInputType"), "path": _named(given.get("uri")), **_mode(given.get("mode"))}


def _output(given: Mapping[str, Any]) -> Document:
    """Where it was put is this job's own place, as a rule: another job's goes elsewhere."""
    found: Document = {"type": given.get("jobOutputType") or "uri_folder", **_mode(given.get("mode"))}
    uri = str(given.get("uri") or "")
    if uri and "/azureml/" not in uri and "dcid." not in uri:
        found["path"] = uri
    return {**found, **({"name": given["assetName"]} if given.get("assetName") else {})}


def _mode(given: Any) -> Document:
    word = _MODES.get(str(given or "").lower())
    return {"mode": word} if word else {}


def literal(value: Any) -> Any:
    """A number or a truth as one, where its text says the same."""
    if value in ("True", "False"):
        return value == "True"
    for kind in (int, float):
        try:
            if str(kind(str(value))) == str(value):
                return kind(str(value))
        except ValueError:
            continue
    return value


def _named(given: Any) -> Any:
    """`azureml:NAME:VERSION` where an id leads to something of this workspace, else as it is."""
    text = str(given or "")
    found = _ASSET.search(text)
    inner = "/registries/" in text.lower() or text.startswith("azureml://")
    return f"azureml:{found[1]}:{found[2]}" if found and not inner else given


def _compute(given: Any) -> str | None:
    name = str(given or "").rpartition("/")[2].removeprefix("azureml:")
    return f"azureml:{name}" if name and name.lower() != "serverless" else None


def _seconds(given: Any) -> Any:
    found = seconds_of(given, 0, "timeout") if isinstance(given, str) else given
    return int(found) if found == int(found) else found


def snakes(given: Mapping[str, Any]) -> Document:
    return {_WORD.sub("_", name).lower(): value for name, value in given.items()}
