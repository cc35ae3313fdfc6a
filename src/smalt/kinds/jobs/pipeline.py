"""Pipeline jobs: a graph of steps, each of which is a job below this one. The parts are in `pipelines/`.

When one is taken, its document becomes a graph, and each step is rehearsed: admitted as the job that it will be, with
stand-ins for what other steps make. So what can be known to be wrong is refused before anything runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document, Request
from smalt.arm.validation import nearest
from smalt.kinds.assets import references
from smalt.kinds.jobs import accept, admission, again, children, identity, outputs
from smalt.kinds.jobs.fields import moved
from smalt.kinds.jobs.model import AGAIN, LATEST, JobInput, JobOutput, JobProperties, JobType
from smalt.kinds.jobs.pipelines import children as steps
from smalt.kinds.jobs.pipelines import control, first_and_last
from smalt.kinds.jobs.pipelines.compiler import Compiler
from smalt.kinds.jobs.pipelines.components import check_literal, component, jobs_of
from smalt.kinds.jobs.pipelines.graph import GRAPH, PARALLEL_FOR, REHEARSED, Graph, Step
from smalt.kinds.jobs.pipelines.pipeline_step import PIPELINE
from smalt.kinds.jobs.pipelines.progress import SETTINGS, decide, give_up, last
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.kinds.jobs.pipelines.step_types import type_of
from smalt.kinds.jobs.status import JobStatus
from smalt.store import resources
from smalt.store.document import part

_DEPTH_MOST = 20
_STEPS_MOST = 1000  # of a pipeline, with those of the pipelines in it: a PUT looks at all of them
_JOBS = "properties.jobs"
_WHOLE = "properties.componentId"


@dataclass
class _Rehearsal:
    """One PUT's look at a pipeline and all below it. `above`: the components of those that are looked at now."""

    above: tuple[str, ...] = ()
    steps: int = 0

    def count(self, steps: int) -> None:
        """Raises ArmError(400)."""
        self.steps += steps
        if self.full:
            raise invalid(
                f"{_JOBS}: this is more than {_STEPS_MOST} steps, with those of the pipelines that are steps;"
                " make it several pipeline jobs.",
                _JOBS,
            )

    @property
    def full(self) -> bool:
        return self.steps > _STEPS_MOST


_REHEARSAL: ContextVar[_Rehearsal | None] = ContextVar("what is rehearsed", default=None)


class PipelineProperties(JobProperties):
    jobs: dict[str, dict[str, Any] | None] | None = None
    inputs: dict[str, JobInput | None] | None = None
    outputs: dict[str, JobOutput | None] | None = None
    settings: dict[str, Any] | None = None
    component_id: str | None = None


def _admit(request: Request, connection: Connection, properties: Document) -> Admitted:
    before = None
    if _REHEARSAL.get() is None:  # a client's document has no such mark
        inputs: Mapping[str, Document] = properties["inputs"]
        properties["inputs"] = {
            name: {key: value for key, value in one.items() if key != REHEARSED} for name, one in inputs.items()
        }
        before = again.earlier(request, connection)
    known: Document | None = part(before.spec[OURS], LATEST) if before is not None else None
    with rehearsal() as rehearsed, references.latest(known) as latest:
        ours = {**_compiled(request, connection, properties, rehearsed), LATEST: dict(latest)}
    if before is not None:
        ours[AGAIN] = before.name
    spec = {**request.body, "properties": properties, OURS: ours}
    return Admitted(spec, state="NotStarted", due=True, status=JobStatus().document())


def _compiled(request: Request, connection: Connection, properties: Document, rehearsal: _Rehearsal) -> Document:
    """The graph and the settings, as the spec's own part has them. Raises ArmError(400)."""
    workspace, checks = request.id.workspace, admission.Checks()
    whole = _whole(connection, workspace, properties, checks)
    jobs, defaults = _jobs(connection, workspace, properties, whole, checks)
    rehearsal.count(len(jobs))
    settings = checks.run(lambda: _settings(request, connection, properties)) or Settings()
    if whole is not None and not whole.deterministic:
        settings = replace(settings, force=True)
    admission.inputs(request.platform, connection, workspace, properties, checks)
    admission.outputs(request.platform, connection, workspace, request.id.name, properties, checks)
    own = {name: _placed(request.id.name, name, one, settings) for name, one in properties["outputs"].items()}
    graph = None
    if not checks.errors:
        inputs = {**defaults, **properties["inputs"]}
        graph = Compiler(connection, workspace, inputs, own, jobs, checks, _JOBS).graph()
    if graph is not None and whole is not None and not part(properties, "jobs"):
        checks.run(lambda made=graph: identity.check_steps(made.steps, settings.identity, _JOBS))
    if graph is not None:
        graph = checks.run(lambda made=graph: first_and_last.arranged(made, settings))
    if graph is not None:
        _rehearse(request, connection, graph, settings, checks, rehearsal)
    checks.done(f"job '{request.id.name}'")
    assert graph is not None
    properties["properties"] = {**properties["properties"], **settings.told(properties["inputs"])}
    return {GRAPH: graph.document(), SETTINGS: settings.document()}


def _whole(
    connection: Connection, workspace: ResourceId, properties: Document, checks: admission.Checks
) -> Component | None:
    """The pipeline component that the pipeline is; None: it names none, or one that is none."""
    reference = properties.get("componentId")
    if not reference:
        return None
    found = checks.run(lambda: component(connection, workspace, reference, _WHOLE))
    if found is not None and found.type != PIPELINE:
        checks.errors.append(invalid(f"{_WHOLE}: {reference} is a {found.type}, and no pipeline.", _WHOLE))
        return None
    return found


def _jobs(
    connection: Connection,
    workspace: ResourceId,
    properties: Document,
    found: Component | None,
    checks: admission.Checks,
) -> tuple[Document, Document]:
    """The steps: the document's, or those of the pipeline component that it names. Either way with that one's ports:
    clients send the steps, and what is bound to outputs that they do not send. Then the defaults of inputs are aside.
    """
    jobs = part(properties, "jobs")
    if found is None:
        return (jobs if not properties.get("componentId") else {}), {}
    properties["componentId"] = found.id
    inputs = dict(properties["inputs"])
    for name, port in found.inputs.items():
        checks.run(lambda name=name, port=port: _complete(inputs, name, port or {}))
    for name in found.outputs:
        given = part(properties["outputs"], name)
        properties["outputs"][name] = {
            **given,
            "jobOutputType": given.get("jobOutputType") or part(found.outputs, name).get("type") or "uri_folder",
        }
    for name in properties["outputs"]:
        if name not in found.outputs:
            field = f"properties.outputs.{name}"
            hint = nearest(name, list(found.outputs))
            checks.errors.append(invalid(f"{field}: the component has no such output.{hint}", field))
    if jobs:
        return jobs, inputs
    properties["inputs"] = inputs
    return jobs_of(connection, workspace, found.id, _WHOLE), {}


def _complete(inputs: Document, name: str, port: Mapping[str, Any]) -> None:
    """An input that a pipeline component declares: its value, or its default. Raises ArmError(400)."""
    given, field = inputs.get(name), f"properties.inputs.{name}"
    if given is None and port.get("default") is not None:
        inputs[name] = steps.literal(str(port["default"]))
    elif given is None and not port.get("optional"):
        kind = f" ({port['type']})" if port.get("type") else ""
        raise invalid(f"{field} is missing: the component requires it{kind}.", field)
    elif given is not None and given.get("jobInputType") == "literal" and not given.get(REHEARSED):
        check_literal(str(given.get("value")), port, field)


def _settings(request: Request, connection: Connection, properties: Document) -> Settings:
    """Raises ArmError(400), also for a compute or a datastore that is not there."""
    settings, workspace = Settings.of(properties), request.id.workspace
    if resources.get(connection, workspace.child("datastores", settings.datastore).key) is None:
        known = [key.rsplit("/", 1)[-1] for key in references.datastores(connection, workspace)]
        field = "properties.settings.default_datastore"
        hint = nearest(settings.datastore, known)
        raise invalid(f"{field}: there is no datastore '{settings.datastore}'.{hint}", field)
    if settings.compute:
        field = "computeId" if properties.get("computeId") else "settings.default_compute"
        try:
            admission.compute(request.platform, connection, workspace, {"computeId": settings.compute}, 1)
        except ArmError as error:
            raise moved(error, "properties.computeId", f"properties.{field}") from None
    return settings


def _placed(job: str, name: str, output: Document, settings: Settings) -> Document:
    """An output of the pipeline, with its own names in the place that is given for it."""
    if not output.get("uri"):
        return output
    own = {"name": job, "output_name": name}
    uri = re.sub(r"\$\{\{\s*(name|output_name)\s*\}\}", lambda found: own[found[1]], str(output["uri"]))
    return {**output, "uri": steps.filled(uri, settings)}


def _rehearse(
    request: Request,
    connection: Connection,
    graph: Graph,
    settings: Settings,
    checks: admission.Checks,
    rehearsal: _Rehearsal,
) -> None:
    """Each step is taken once, as it would be now. What is wrong goes into `checks`."""
    seen: set[str] = set()
    for step in graph.steps:
        if rehearsal.full:  # the step before this one said so
            break
        if step.is_job:
            job = checks.run(lambda step=step: _made(graph, step, settings))
            if job is None:
                continue
            same = json.dumps({key: value for key, value in job.items() if key != "displayName"}, sort_keys=True)
            if same not in seen:
                seen.add(same)
                checks.run(lambda step=step, job=job: _rehearsed(request, connection, step, job, rehearsal))


def _made(graph: Graph, step: Step, settings: Settings) -> Document:
    """The step's job as it would be now. Raises ArmError(400) where step and component make none."""
    with _named(step):
        return steps.properties(graph, step, _stand_ins(graph, step, settings), settings)


def _rehearsed(request: Request, connection: Connection, step: Step, job: Document, rehearsal: _Rehearsal) -> None:
    """Raises ArmError where the step's job would be refused."""
    above = step.component if step.type == PIPELINE else ""
    with _inside(rehearsal, above, f"{_JOBS}.{step.name}"), _named(step):
        accept.new(replace(request, body={"properties": job}), connection)


@contextmanager
def _named(step: Step) -> Generator[None]:
    """What is wrong with a step's job has the field that the step calls it by."""
    try:
        yield
    except ArmError as error:
        for old, new in type_of(step).spelled.items() if error.target else ():
            error = moved(error, f"properties.{old}", f"properties.{new}")
        raise moved(error, "properties", f"{_JOBS}.{step.name}") from None


@contextmanager
def rehearsal() -> Generator[_Rehearsal]:
    """The PUT's, which goes on below. Inside, inputs may be marked `REHEARSED`: their values are not known yet."""
    known = _REHEARSAL.get()
    if known is not None:
        yield known
        return
    token = _REHEARSAL.set(made := _Rehearsal())
    try:
        yield made
    finally:
        _REHEARSAL.reset(token)


@contextmanager
def _inside(rehearsal: _Rehearsal, pipeline: str, field: str) -> Generator[None]:
    """Raises ArmError(400) for a pipeline that is a step of itself, however deep."""
    above = rehearsal.above
    if pipeline and (pipeline in above or len(above) >= _DEPTH_MOST):
        raise invalid(
            f"{field}.componentId: pipelines are nested without end here, or more than {_DEPTH_MOST} deep.", field
        )
    rehearsal.above = (*above, pipeline) if pipeline else above
    try:
        yield
    finally:
        rehearsal.above = above


def _stand_ins(graph: Graph, step: Step, settings: Settings) -> Document:
    """The inputs of a step before anything has run."""
    given = dict(step.inputs)
    for loop in graph.steps:
        if loop.type == PARALLEL_FOR and loop.control["body"] == step.name:
            given |= control.first_round(loop)
            if "items" not in loop.control:
                unknown: Document = {"literal": ""}
                given |= {name: unknown for name in graph.component(step).inputs if name not in given}
    found: Document = {}
    for name, one in given.items():
        if "literal" in one:
            found[name] = {**steps.literal("0"), REHEARSED: True}
        elif "step" in one:
            uri = f"azureml://datastores/{settings.datastore}/paths/azureml/{one['step']}/{one['output']}"
            found[name] = steps.files(uri, one["type"] or "uri_folder", one.get("mode"))
        else:
            found[name] = steps.known(one)
    return found


TYPE = JobType(
    name="Pipeline",
    properties=PipelineProperties,
    admit=_admit,
    step=partial(children.step, decide, completed=outputs.register, last=last),
    fail=give_up,
    fixed=("jobType", "jobs", "inputs", "settings", "componentId", "computeId"),
    run_type="azureml.PipelineRun",
)
