"""Sweep jobs: the same command again and again, with other values each time, to find those that are best.

A trial is a command job like any other, below the sweep (`children.py`). What is searched and how, and which trials are
ended early, is in `sweeps/`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any, cast

from pydantic import Field
from sqlalchemy import Connection

from smalt.arm.durations import seconds_of
from smalt.arm.errors import ArmError
from smalt.arm.kind import OURS, Admitted, Document, Request, Step
from smalt.arm.platform import Platform
from smalt.arm.validation import Properties, Texts
from smalt.kinds.jobs import accept, children, life, outputs
from smalt.kinds.jobs.admission import Checks
from smalt.kinds.jobs.command import JobResources, QueueSettings
from smalt.kinds.jobs.distribution import Distribution
from smalt.kinds.jobs.model import JobInput, JobOutput, JobProperties, JobType, WrittenText
from smalt.kinds.jobs.pinned import PINNED
from smalt.kinds.jobs.sweeps import controller, plan, trials
from smalt.kinds.jobs.sweeps.plan import SEED, TOTAL, TOTAL_MOST
from smalt.kinds.jobs.sweeps.progress import BEST
from smalt.kinds.jobs.sweeps.samplers import COUNTED_MOST
from smalt.kinds.jobs.sweeps.space import Group
from smalt.store.document import part
from smalt.store.resources import Row

_TRIALS_OWN = ("codeId", "command", "distribution", "environmentId", "environmentVariables", "resources")


class Objective(Properties):
    goal: str = Field(pattern="(?i)^(minimize|maximize)$")
    primary_metric: WrittenText = Field(min_length=1, max_length=250)


class Trial(Properties):
    command: WrittenText = Field(min_length=1)
    environment_id: str = Field(min_length=1)
    code_id: str | None = None
    environment_variables: Texts | None = None
    resources: JobResources | None = None
    distribution: Distribution | None = None


class SweepLimits(Properties):
    max_total_trials: int | None = Field(None, ge=1, le=TOTAL_MOST)
    max_concurrent_trials: int | None = Field(None, ge=1, le=TOTAL_MOST)
    timeout: str | None = None
    trial_timeout: str | None = None


class SamplingAlgorithm(Properties):
    sampling_algorithm_type: str
    rule: str | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)


class EarlyTermination(Properties):
    policy_type: str
    evaluation_interval: int | None = Field(None, ge=0)
    delay_evaluation: int | None = Field(None, ge=0)
    slack_factor: float | None = None
    slack_amount: float | None = None
    truncation_percentage: int | None = None
    exclude_finished_jobs: bool | None = None


class SweepProperties(JobProperties):
    trial: Trial
    search_space: dict[str, Any]
    sampling_algorithm: SamplingAlgorithm
    objective: Objective
    early_termination: EarlyTermination | None = None
    limits: SweepLimits | None = None
    inputs: dict[str, JobInput | None] | None = None
    outputs: dict[str, JobOutput | None] | None = None
    resources: JobResources | None = None
    queue_settings: QueueSettings | None = None


def _admit(request: Request, connection: Connection, properties: Document) -> Admitted:
    """The sweep's own fields are checked here, and the rest as the command job that its first trial will be."""
    checks = Checks()
    space = checks.run(lambda: plan.searched(properties))
    if space is not None:
        checks.run(lambda: plan.check_sampling(properties, space))
    checks.run(lambda: plan.termination(properties, maximize=True))
    for name in ("timeout", "trialTimeout"):
        given = part(properties, "limits").get(name)
        checks.run(lambda given=given, name=name: seconds_of(given, 0, f"properties.limits.{name}"))
    checks.errors += trials.check_names(properties, list(part(properties, "searchSpace")))
    first = _first(properties, space) if space is not None and not checks.errors else {}
    taken = checks.run(lambda: _rehearsed(request, connection, properties, first))
    checks.done(f"job '{request.id.name}'")
    assert space is not None and taken is not None
    _pin(properties, taken.spec["properties"])
    total = plan.trial_count(properties, space)
    given = {key: one for key, one in properties["properties"].items() if key not in BEST}  # an earlier sweep's
    properties["properties"] = {**given, **_told(properties, space)}
    ours: Document = {SEED: _seed(request, properties), TOTAL: total, **_alike(taken.spec[OURS])}
    return Admitted({**request.body, "properties": properties, OURS: ours}, state="NotStarted", due=True, status={})


def _alike(ours: Document) -> Document:
    """What all trials have, of how the first would be taken."""
    return {"plan": ours["plan"], PINNED: ours[PINNED]}


def _first(properties: Document, space: Group) -> Document:
    """Values that a trial may have, for a look at the job that they make."""
    return dict(space.at([0.0] * space.dimensions))


def _rehearsed(request: Request, connection: Connection, properties: Document, values: Document) -> Admitted:
    """How a trial would be taken now. Raises ArmError, with the fields' names in the sweep."""
    job = {**trials.command_job(properties, values), "outputs": properties["outputs"]}
    trial = request.id.workspace.child("jobs", trials.name_of(request.id.name, 0))
    try:
        return accept.new(replace(request, id=trial, body={"properties": job}), connection)
    except ArmError as error:
        raise _of_the_sweep(error, trial.name, request.id.name) from None


def _of_the_sweep(error: ArmError, trial: str, sweep: str) -> ArmError:
    def named(text: str | None) -> str | None:
        for name in _TRIALS_OWN:
            text = text and text.replace(f"properties.{name}", f"properties.trial.{name}")
        return text and text.replace("properties.limits.timeout", "properties.limits.trialTimeout")

    message = cast("str", named(error.message)).replace(f"'{trial}'", f"'{sweep}'")
    details = [_of_the_sweep(one, trial, sweep) for one in error.details]
    return ArmError(error.status, error.code, message, named(error.target), details, error.headers)


def _pin(properties: Document, taken: Document) -> None:
    """What all trials use is what it is now: `@latest` means what is latest when the sweep is taken."""
    names = [
        name
        for name in ("environmentId", "codeId")
        if taken.get(name) and "${{" not in properties["trial"].get(name, "")
    ]
    properties["trial"] = {**properties["trial"], **{name: taken[name] for name in names}}
    if taken.get("computeId"):
        properties["computeId"] = taken["computeId"]
    properties["inputs"] = {
        name: one if "${{" in str(one.get("uri") or "") else {**one, **_uri(taken["inputs"][name])}
        for name, one in properties["inputs"].items()
    }


def _uri(taken: Document) -> Document:
    return {"uri": taken["uri"]} if taken.get("uri") else {}


def _told(properties: Document, space: Group) -> dict[str, str]:
    """What Azure's clients and its Studio read of a sweep."""
    objective = properties["objective"]
    config = {"name": objective["primaryMetric"], "goal": objective["goal"].lower()}
    told = {
        "primary_metric_config": json.dumps(config),
        "resume_from": "null",
        "runTemplate": "HyperDrive",
        "azureml.runsource": "hyperdrive",
        "platform": "AML",
    }
    is_counted = space.size is not None and space.size <= COUNTED_MOST
    return {**told, "space_size": str(space.size)} if is_counted else told


def _seed(request: Request, properties: Document) -> int:
    given = part(properties, "samplingAlgorithm").get("seed")
    if given is not None:
        return given
    return int(hashlib.sha256(f"{request.id.key}|{request.now!r}".encode()).hexdigest()[:7], 16)


def _step(platform: Platform, row: Row) -> Step:
    step = children.step(controller.decide, platform, row, outputs.register)
    if step.final:
        controller.say_end(platform, row, step.state)
    return step


TYPE = JobType(
    name="Sweep",
    properties=SweepProperties,
    admit=_admit,
    step=_step,
    fail=life.give_up,
    fixed=(
        "jobType",
        "trial",
        "searchSpace",
        "samplingAlgorithm",
        "objective",
        "earlyTermination",
        "limits",
        "inputs",
        "computeId",
        "queueSettings",
    ),
    run_type="hyperdrive",
)
