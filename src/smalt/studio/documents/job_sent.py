"""From a job's YAML to what the API takes: command, sweep and pipeline jobs. Others are sent by `az`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt.store.document import Document
from smalt.studio.documents import fields
from smalt.studio.documents.fields import Sent, camel, mapping, text, unknown
from smalt.studio.documents.pipeline_sent import steps
from smalt.studio.documents.runs import RUNS, runs
from smalt.studio.documents.written import Faulty, Path

COMMON = ("$schema", "type", "name", "display_name", "description", "experiment_name", "tags", "properties", "compute",
          "inputs", "outputs", "services", "identity", "queue_settings")  # fmt: skip
_OF_TYPE = {
    "command": (*COMMON, *RUNS, "limits"),
    "sweep": (*COMMON, "trial", "search_space", "sampling_algorithm", "objective", "limits", "early_termination",
              "resources"),
    "pipeline": (*COMMON, "jobs", "settings"),
}  # fmt: skip
_POLICIES = {"bandit": "Bandit", "median_stopping": "MedianStopping", "truncation_selection": "TruncationSelection"}
_ARGUMENTS = {
    "choice": ("values",), "randint": ("upper",), "uniform": ("min_value", "max_value"),
    "loguniform": ("min_value", "max_value"), "quniform": ("min_value", "max_value", "q"),
    "qloguniform": ("min_value", "max_value", "q"), "normal": ("mu", "sigma"), "lognormal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"), "qlognormal": ("mu", "sigma", "q"),
}  # fmt: skip


def type_of(document: Mapping[str, Any]) -> str:
    """As the official client guesses it where it is not said."""
    if given := document.get("type"):
        return str(given)
    return "sweep" if "trial" in document else "pipeline" if "jobs" in document else "command"


def sent(document: Document, code: str = "") -> Sent:
    """`code`: the id of code that was uploaded on the page, in place of a folder of one's own. Raises Faulty."""
    found = Sent()
    kind = type_of(document)
    if kind not in _OF_TYPE:
        found.wrong(
            ("type",),
            f"jobs of type '{kind}' cannot be made here: send the file by 'az ml job create -f', or a"
            " command, sweep or pipeline job.",
        )
        raise Faulty(found.faults)
    unknown(found, document, _OF_TYPE[kind], ())
    _common(found, document)
    {"command": _command, "sweep": _sweep, "pipeline": _pipeline}[kind](found, document, code)
    if found.faults:
        raise Faulty(found.faults)
    found.properties = {name: value for name, value in found.properties.items() if value not in (None, {}, "")}
    return found


def _common(found: Sent, document: Document) -> None:
    compute = text(found, document, "compute").removeprefix("azureml:")
    if compute == "local":
        found.wrong(("compute",), "a job that runs on your own machine is not sent; name a compute, or leave it out.")
    found.properties |= {
        "displayName": text(found, document, "display_name"),
        "description": text(found, document, "description"),
        "experimentName": text(found, document, "experiment_name"),
        "tags": fields.texts(found, document, "tags"),
        "properties": fields.texts(found, document, "properties"),
        "computeId": compute,
        "inputs": fields.inputs(found, document),
        "outputs": fields.outputs(found, document),
        "services": {name: _camels(one) for name, one in mapping(found, document, "services").items()},
        "queueSettings": _camels(mapping(found, document, "queue_settings")),
        "identity": _identity(found, document),
    }


def _identity(found: Sent, document: Document) -> Document | None:
    given = mapping(found, document, "identity")
    words = {
        "managed": "Managed",
        "managed_identity": "Managed",
        "user_identity": "UserIdentity",
        "aml_token": "AMLToken",
    }
    if not given:
        return None
    kind = text(found, given, "type", ("identity",), needed=True)
    if kind and kind not in words:
        found.wrong(("identity", "type"), f"'{kind}' is none of {', '.join(words)}.")
    return {"identityType": words.get(kind, kind)}


def _camels(given: Any) -> Any:
    return {camel(name): value for name, value in given.items()} if isinstance(given, dict) else given  # pyright: ignore


def _command(found: Sent, document: Document, code: str) -> None:
    limits = mapping(found, document, "limits")
    unknown(found, limits, ("timeout",), ("limits",))
    timeout = fields.seconds(found, limits, "timeout", ("limits",))
    found.properties |= {"jobType": "Command", **runs(found, document, code)}
    if timeout:
        found.properties["limits"] = {"jobLimitsType": "Command", "timeout": timeout}


def _sweep(found: Sent, document: Document, code: str) -> None:
    trial = mapping(found, document, "trial")
    unknown(found, trial, RUNS, ("trial",))
    objective = mapping(found, document, "objective")
    goal = text(found, objective, "goal", ("objective",), needed=True)
    metric = text(found, objective, "primary_metric", ("objective",), needed=True)
    limits = mapping(found, document, "limits")
    unknown(found, limits, ("max_total_trials", "max_concurrent_trials", "timeout", "trial_timeout"), ("limits",))
    times = {name: fields.seconds(found, limits, name, ("limits",)) for name in ("timeout", "trial_timeout")}
    said = {camel(name): value for name, value in {**limits, **times}.items() if value is not None}
    found.properties |= {
        "jobType": "Sweep",
        "trial": runs(found, trial, code, ("trial",)),
        "searchSpace": {
            name: _distribution(found, one, ("search_space", name))
            for name, one in mapping(found, document, "search_space").items()
        },
        "samplingAlgorithm": _sampling(found, document),
        "objective": {"goal": goal.lower(), "primaryMetric": metric},
        "limits": {"jobLimitsType": "Sweep", **said},
        "earlyTermination": _policy(found, document),
        "resources": fields.resources(found, document),
    }


def _distribution(found: Sent, given: Any, path: Path) -> list[Any]:
    """`["uniform", [0, 1]]`."""
    if not isinstance(given, dict) or str(given.get("type")) not in _ARGUMENTS:  # pyright: ignore
        found.wrong(path, f"this is a mapping whose 'type' is one of {', '.join(_ARGUMENTS)}.")
        return []
    names = _ARGUMENTS[given["type"]]  # pyright: ignore
    unknown(found, given, ("type", *names), path)  # pyright: ignore
    for name in names:
        if name not in given:
            found.wrong((*path, name), "this is missing.")
    return [given["type"], [given.get(name) for name in names]]  # pyright: ignore


def _sampling(found: Sent, document: Document) -> Document:
    given = document.get("sampling_algorithm") or "random"
    if isinstance(given, dict):
        kind = text(found, given, "type", ("sampling_algorithm",), needed=True)  # pyright: ignore
        return {"samplingAlgorithmType": kind.capitalize(), **{k: v for k, v in given.items() if k != "type"}}  # pyright: ignore
    return {"samplingAlgorithmType": str(given).capitalize()}


def _policy(found: Sent, document: Document) -> Document | None:
    given = mapping(found, document, "early_termination")
    if not given:
        return None
    kind = text(found, given, "type", ("early_termination",), needed=True)
    if kind and kind not in _POLICIES:
        found.wrong(("early_termination", "type"), f"'{kind}' is none of {', '.join(_POLICIES)}.")
    more = {camel(name): value for name, value in given.items() if name != "type"}
    return {"policyType": _POLICIES.get(kind, kind), **more}


def _pipeline(found: Sent, document: Document, code: str) -> None:
    settings = mapping(found, document, "settings")
    found.properties |= {
        "jobType": "Pipeline",
        "jobs": steps(found, document, code),
        "settings": {**settings, "_source": "YAML.JOB"} if settings else {},
    }
    default = str(settings.get("default_compute") or "").removeprefix("azureml:")
    if default and not found.properties["computeId"]:
        found.properties["computeId"] = default
