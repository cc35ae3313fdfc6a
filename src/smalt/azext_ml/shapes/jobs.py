"""Command, sweep and pipeline jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .common import Fields, Unshaped, Where, arm, creation_context, lowered, printed, seconds, short, snake

_MODES = {"ReadOnlyMount": "ro_mount", "ReadWriteMount": "rw_mount", "Download": "download", "Upload": "upload",
          "Direct": "direct", "EvalMount": "eval_mount", "EvalDownload": "eval_download"}  # fmt: skip
_IDENTITIES = {"Managed": "managed", "AMLToken": "aml_token", "UserIdentity": "user_identity"}
_DISTRIBUTIONS = {"PyTorch": "pytorch", "Mpi": "mpi", "TensorFlow": "tensorflow", "Ray": "ray"}
_ALGORITHMS = {"Random": "random", "Grid": "grid", "Bayesian": "bayesian"}
_POLICIES = {"Bandit": "bandit", "MedianStopping": "median_stopping", "TruncationSelection": "truncation_selection"}
_LOCAL = "IsLocal"  # among the properties of resources: a job on the compute `local`
_RANGES: Mapping[str, tuple[str, ...]] = {
    "choice": ("values",), "randint": ("upper",), "uniform": ("min_value", "max_value"),
    "loguniform": ("min_value", "max_value"), "quniform": ("min_value", "max_value", "q"),
    "qloguniform": ("min_value", "max_value", "q"), "normal": ("mu", "sigma"), "lognormal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"), "qlognormal": ("mu", "sigma", "q"),
}  # fmt: skip


_EMPTY = ("tags", "properties", "inputs", "outputs")  # not printed where a pipeline has none


def job(document: Mapping[str, Any], where: Where) -> dict[str, Any]:
    left = Fields(document["properties"])
    kind = left.take("jobType")
    services, resources = left.take("services") or {}, document["properties"].get("resources") or {}
    local = _LOCAL in (resources.get("properties") or {})
    left.drop("provisioningState", "isArchived", "parentJobName", "notificationSetting", "componentId")
    shown = printed(
        name=document["name"],
        id=arm(document["id"]),
        creation_context=creation_context(document.get("systemData")),
        type=lowered(kind),
        description=left.take("description"),
        tags=left.take("tags", {}),
        properties=left.take("properties", {}),
        display_name=left.take("displayName"),
        experiment_name=left.take("experimentName"),
        status=left.take("status"),
        services={name: _service(one, where, kind) for name, one in services.items()},
        inputs=inputs(left.take("inputs")),
        outputs=outputs(left.take("outputs")),
        compute="local" if local else short(left.take("computeId"), where),
        identity=_identity(left.take("identity")),
        **_OF_TYPE.get(kind, _unknown)(left, where),
    )
    left.end()
    if kind == "Pipeline":
        shown = {name: value for name, value in shown.items() if value or name not in _EMPTY}
    return shown


def _unknown(left: Fields, where: Where) -> dict[str, Any]:
    raise Unshaped("a job of another type")


def _command(left: Fields, where: Where) -> dict[str, Any]:
    limits = left.take("limits") or {}
    return printed(
        command=left.take("command"),
        code=arm(left.take("codeId")),
        environment=short(left.take("environmentId"), where),
        environment_variables=left.take("environmentVariables", {}),
        resources=_resources(left.take("resources")),
        limits={"timeout": seconds(limits["timeout"])} if limits.get("timeout") else None,
        parameters=left.take("parameters", {}),
        distribution=_distribution(left.take("distribution")),
        queue_settings=_queue(left.take("queueSettings")),
    )


def _sweep(left: Fields, where: Where) -> dict[str, Any]:
    trial, limits = Fields(left.take("trial")), Fields(left.take("limits"))
    objective, algorithm = left.take("objective"), Fields(left.take("samplingAlgorithm"))
    left.drop("parameters")
    limits.drop("jobLimitsType")
    shown = printed(
        sampling_algorithm=printed(
            type=_ALGORITHMS.get(algorithm.take("samplingAlgorithmType")), **algorithm.snake("seed", "rule", "logbase")
        ),
        search_space={name: _range(one) for name, one in left.take("searchSpace").items()},
        objective=printed(goal=lowered(objective["goal"]), primary_metric=objective["primaryMetric"]),
        early_termination=_policy(left.take("earlyTermination")),
        limits=printed(
            **limits.snake("maxConcurrentTrials", "maxTotalTrials"),
            timeout=seconds(limits.take("timeout")),
            trial_timeout=seconds(limits.take("trialTimeout")),
        ),
        trial=printed(
            command=trial.take("command"),
            code=arm(trial.take("codeId")),
            environment=arm(trial.take("environmentId")),
            environment_variables=trial.take("environmentVariables", {}),
            resources=_resources(trial.take("resources")),
            distribution=_distribution(trial.take("distribution")),
        ),
        resources=_resources(left.take("resources")),
        queue_settings=_queue(left.take("queueSettings")),
    )
    for part in (trial, limits, algorithm):
        part.end()
    return shown


def _range(one: list[Any]) -> dict[str, Any]:
    kind, values = one
    if kind not in _RANGES or len(values) != len(_RANGES[kind]) or _conditional(values):
        raise Unshaped(f"a search space of {kind}")
    return {"type": kind, **dict(zip(_RANGES[kind], values, strict=True))}


def _conditional(values: list[Any]) -> bool:
    return any(isinstance(one, dict) for some in values if isinstance(some, list) for one in some)


def _policy(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    left = Fields(document)
    kind = _POLICIES.get(left.take("policyType", ""))
    if kind is None:
        raise Unshaped("a policy of another type")
    shown = {
        "type": kind,
        **left.snake("delayEvaluation", "evaluationInterval", "slackFactor", "slackAmount", "truncationPercentage"),
    }
    left.end()
    return shown


def _pipeline(left: Fields, where: Where) -> dict[str, Any]:
    settings = dict(left.take("settings") or {})
    settings.pop("_source", None)
    for name in ("default_compute", "default_datastore"):
        if name in settings:
            settings[name] = short(settings[name], where)
    left.drop("parameters")
    return printed(settings=settings, jobs=steps(left.take("jobs"), where))


def steps(documents: Mapping[str, Any] | None, where: Where) -> dict[str, Any]:
    """Of a pipeline, or of a component that is one."""
    return {name: _step(one, where) for name, one in (documents or {}).items()}


def _step(step: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """A component with its inputs, and what it has of its own. Other types than these two are left to the SDK."""
    left = Fields(step)
    kind, component, limits = left.take("type", "command"), left.take("componentId"), left.take("limits")
    if kind not in ("command", "pipeline") or component is None:
        raise Unshaped(f"a step of type {kind}")
    left.drop("name", "_source")
    given, promoted = left.take("inputs"), left.take("outputs")
    shown = printed(
        type=kind,
        component=short(component, where),
        compute=short(left.take("computeId"), where),
        limits={"timeout": seconds(limits["timeout"])} if limits and limits.get("timeout") else None,
        inputs={name: _bound(one, "job_input_type", _input) for name, one in given.items()} if given else None,
        outputs={name: _bound(one, "job_output_type", _output) for name, one in promoted.items()} if promoted else None,
        **left.snake("environment_variables", "resources", "display_name"),
    )
    left.end()
    return shown


def _bound(document: Mapping[str, Any], type_key: str, typed: Callable[[Mapping[str, Any]], Any]) -> Any:
    """An input or output of a step, whose documents spell their type as YAML would."""
    kind = document.get(type_key, document.get("type"))
    if kind == "literal":
        value = document["value"]
        is_input = type_key == "job_input_type"
        return {"path": value} if is_input and isinstance(value, str) and value.startswith("${{") else value
    name = "jobInputType" if type_key == "job_input_type" else "jobOutputType"
    return typed({**{key: value for key, value in document.items() if key != type_key}, name: kind})


_OF_TYPE: Mapping[str, Callable[[Fields, Where], dict[str, Any]]] = {
    "Command": _command,
    "Sweep": _sweep,
    "Pipeline": _pipeline,
}


def _service(document: Mapping[str, Any], where: Where, kind: str) -> dict[str, Any]:
    endpoint, of = document.get("endpoint"), document.get("jobServiceType")
    if of == "Studio" and endpoint and where.tenant:
        endpoint += f"&tid={where.tenant}"
    own = of not in ("Tracking", "Studio")
    shown = printed(endpoint=endpoint, status=document.get("status"), port=document.get("port"))
    if kind != "Sweep":
        shown["type"] = lowered(of) if own else of
    return shown


def inputs(documents: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: _input(one) for name, one in (documents or {}).items()}


def outputs(documents: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: _output(one) for name, one in (documents or {}).items()}


def _input(document: Mapping[str, Any]) -> Any:
    left = Fields(document)
    kind = left.take("jobInputType")
    if kind == "literal":
        return left.take("value")
    shown = printed(
        type=kind, path=left.take("uri"), mode=_mode(left.take("mode")), description=left.take("description")
    )
    left.end()
    return shown


def _output(document: Mapping[str, Any]) -> Any:
    left = Fields(document)
    kind = left.take("jobOutputType")
    shown = printed(
        type=kind,
        path=left.take("uri"),
        mode=_mode(left.take("mode")),
        description=left.take("description"),
        name=left.take("assetName"),
        version=left.take("assetVersion"),
    )
    left.end()
    return shown


def _mode(mode: str | None) -> str | None:
    if mode is not None and mode not in _MODES:
        raise Unshaped(f"the mode {mode}")
    return _MODES[mode] if mode else None


def _resources(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    left = Fields(document)
    own = {name: value for name, value in left.take("properties", {}).items() if name != _LOCAL}
    shown = {
        **left.snake("instanceCount", "instanceType", "shmSize", "dockerArgs", "locations", "maxInstanceCount"),
        "properties": own,
    }
    left.end()
    return shown


def _distribution(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    left = Fields(document)
    kind = _DISTRIBUTIONS.get(left.take("distributionType", ""))
    if kind is None:
        raise Unshaped("a distribution of another type")
    shown = {"type": kind, **{snake(name): left.take(name) for name in list(document) if name != "distributionType"}}
    return {name: value for name, value in shown.items() if value is not None}


def _queue(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    tier, priority = document.get("jobTier"), document.get("priority")
    names = {1: "low", 2: "medium", 3: "high"}
    return printed(job_tier=lowered(tier), priority=names.get(priority) if isinstance(priority, int) else None)


def _identity(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if document is None:
        return None
    left = Fields(document)
    kind = _IDENTITIES.get(left.take("identityType", ""))
    if kind is None:
        raise Unshaped("an identity of another type")
    shown = printed(type=kind, **left.snake("clientId", "objectId"), msi_resource_id=left.take("resourceId"))
    left.end()
    return shown
