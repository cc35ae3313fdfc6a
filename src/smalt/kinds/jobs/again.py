"""A job once more: what to submit for it, and what of that from which it was made is another thing by now.

A PUT of the new job with `?again=JOB` takes what that one took: of a pipeline `latest` is what it was then, and the
sweeps in it draw the same values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Action, Document, Request
from smalt.arm.platform import Platform
from smalt.arm.runs import JOBS, is_run
from smalt.kinds.assets import references
from smalt.kinds.assets.environment import specification
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import provenance, same_work
from smalt.kinds.jobs.model import AGAIN
from smalt.kinds.jobs.pinned import CODE_HASH, PINNED
from smalt.kinds.jobs.pipelines.components import component
from smalt.kinds.jobs.pipelines.graph import GRAPH, Step, child_name
from smalt.kinds.jobs.pipelines.pipeline_step import PIPELINE
from smalt.kinds.jobs.status import JobStatus
from smalt.kinds.jobs.sweeps.plan import SEED
from smalt.kinds.jobs.sweeps.progress import BEST
from smalt.kinds.jobs.sweeps.trials import name_of
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

RERUN_OF = "smalt.rerun_of"  # a property of the new job
_ITS_OWN = ("isArchived", "services", "status")
_BECAME = (*BEST, same_work.IS_REUSED, same_work.REUSED_FROM)  # properties that tell what became of the first
_AT_ONCE = 500  # rows that one query reads


def earlier(request: Request, connection: Connection) -> Row | None:
    """The job that a new one is once more, as its PUT says. Raises ArmError(400)."""
    name = request.query.get("again")
    if not name:
        return None
    row = resources.get(connection, request.id.workspace.child("jobs", name).key)
    if row is None or row.deleting or is_run(row):
        raise invalid(f"again: there is no job '{name[:200]}' in workspace '{request.id.workspace.name}'.", "again")
    return row


def of_step(connection: Connection, pipeline: Row, step: Step, turn: int) -> Document:
    """What the own part of a step's spec has of the job that the step was in `pipeline`, which runs once more."""
    job = ResourceId.parse(pipeline.written).workspace.child("jobs", child_name(pipeline, step.name, turn))
    row = resources.get(connection, job.key)
    return {AGAIN: row.name, **_seed(connection, row)} if row is not None else {}


def _seed(connection: Connection, row: Row) -> Document:
    """From which a sweep's trials drew."""
    worker = _worker(connection, row) or row
    ours = part(worker.spec, OURS)
    return {SEED: ours[SEED]} if SEED in ours else {}


def _worker(connection: Connection, row: Row) -> Row | None:
    """The job that did the work of `row`; None: it was deleted."""
    name = same_work.origin(row)
    return row if name == row.name else resources.get(connection, _key(row, name))


def _key(row: Row, job: str) -> str:
    return ResourceId.parse(row.written).workspace.child("jobs", job).key


def _read(request: Request, row: Row | None) -> tuple[int, Any]:
    """`?changes=false`: what is to be submitted alone."""
    assert row is not None
    if is_run(row):
        message = f"'{row.name}' is a run that was made outside of a job: the platform cannot run it again."
        raise ArmError(409, "NotAJob", message, "name")
    look = _Look(request.platform, row, request.now)
    said: Document = {"job": row.name, "properties": look.asked()}
    if str(request.query.get("changes") or "").lower() != "false":
        said["changes"] = look.changes()
    return 200, said


@dataclass(frozen=True)
class _Ran:
    """A job that read something: `step`, the way to it in its pipeline; `worker`: who did its work, if it is there."""

    step: str
    row: Row
    worker: Row | None


@dataclass
class _Look:
    """One look at a job, all that ran below it, and what there is now."""

    platform: Platform
    row: Row
    now: float
    _held: dict[tuple[Any, ...], Document] = field(default_factory=dict[tuple[Any, ...], Document])
    _found: dict[str, Document | None] = field(default_factory=dict[str, "Document | None"])

    def asked(self) -> Document:
        """The properties to submit: versions as they were pinned, outputs at the places that were asked for."""
        kept = {key: one for key, one in self.row.properties.items() if one is not None and key not in _ITS_OWN}
        said = {key: one for key, one in part(kept, "properties").items() if key not in _BECAME}
        outputs = {name: _as_new(one) for name, one in part(kept, "outputs").items()}
        with self.platform.database.read() as connection:
            seed = _seed(connection, self.row)
        sampling = {"samplingAlgorithm": {**kept["samplingAlgorithm"], "seed": seed[SEED]}} if seed else {}
        return {**kept, **sampling, "outputs": outputs, "properties": {**said, RERUN_OF: self.row.name}}

    def changes(self) -> list[Document]:
        """Of each `step` (empty: of the job itself) what is another now, each once."""
        pipelines, jobs = list[tuple[str, Row]](), list[_Ran]()
        with self.platform.database.read() as connection:
            for one in self._below(connection, self.row, ""):
                if isinstance(one, _Ran):
                    jobs.append(one)
                else:
                    pipelines.append(one)
        made = {uri for row in (*(row for _, row in pipelines), *(one.row for one in jobs)) for uri in _outputs(row)}
        found = [change for step, row in pipelines for change in self._of_pipeline(step, row)]
        found += [change for one in jobs for change in self._of_job(one, made)]
        once = dict[str, Document]()
        for one in found:
            once.setdefault(json.dumps({**one, "job": ""}, sort_keys=True), one)
        return list(once.values())

    def _below(self, connection: Connection, row: Row, step: str) -> Iterator[_Ran | tuple[str, Row]]:
        """Pipelines with the ways to them, and jobs that ran; of a sweep its first trial: all read the same."""
        worker, type_ = _worker(connection, row), row.properties["jobType"]
        if type_ == "Pipeline":
            yield step, row
            keys = resources.children(connection, row.id, JOBS)
            for begin in range(0, len(keys), _AT_ONCE):
                for child in resources.get_many(connection, keys[begin : begin + _AT_ONCE]).values():
                    name = str(child.properties.get("displayName") or child.name)
                    yield from self._below(connection, child, f"{step}/{name}" if step else name)
        elif type_ == "Sweep":
            first = resources.get(connection, _key(row, name_of((worker or row).name, 0)))
            if first is not None:
                yield from self._below(connection, first, step)
        elif worker is None or JobStatus.read(worker.status).attempt:  # else nothing was read
            yield _Ran(step, row, worker)

    def _of_job(self, one: _Ran, made: set[str]) -> Iterator[Document]:
        row, where = one.row, {"step": one.step, "job": one.row.name}
        read = JobStatus.read(one.worker.status).content if one.worker is not None else {}
        others = made.difference(_outputs(row))
        for name, given in part(row.properties, "inputs").items():
            if name not in provenance.sources(row) or _is_below(str(given.get("uri") or ""), others):
                continue  # a value, or what another step makes anew
            change = provenance.changed(self.platform, row, name, part(read, name), self._holds)
            if change is not None:
                yield {**where, "input": name, **change}
        for what, change in (("environment", self._environment(row)), ("code", self._code(row))):
            if change is not None:
                yield {**where, what: row.properties[f"{what}Id"], **change}

    def _holds(self, platform: Platform, row: Row, name: str, place: Place) -> Document:
        """Looked at once, however many steps read it."""
        key = (*place.key, part(row.properties, "inputs")[name].get("jobInputType"))
        if key not in self._held:
            self._held[key] = provenance.held(platform, row, name, place)
        return self._held[key]

    def _environment(self, row: Row) -> Document | None:
        given, was = str(row.properties["environmentId"]), part(part(row.spec, OURS), "plan").get("key")
        if (known := f"{given} {was}") not in self._found:
            self._found[known] = self._other_environment(row, given, was)
        return self._found[known]

    def _other_environment(self, row: Row, given: str, was: Any) -> Document | None:
        workspace = ResourceId.parse(row.written).workspace
        try:
            with self.platform.database.read() as connection:
                found = references.asset(connection, workspace, given, "environments", "environmentId")
                plan = self.platform.environments.plan(specification(connection, found, workspace, self.now))
        except ArmError as error:
            return {"gone": error.message}
        return {"another": True} if plan.key != was else None

    def _code(self, row: Row) -> Document | None:
        given, was = row.properties.get("codeId"), part(part(row.spec, OURS), PINNED).get(CODE_HASH)
        if not given:
            return None
        with self.platform.database.read() as connection:
            found = resources.get(connection, ResourceId.parse(given).key)
        if found is None or found.deleting:
            return {"gone": f"the code {given} was deleted"}
        same = found.lookup == was if was else found.created_at <= row.created_at
        return None if same else {"another": True}

    def _of_pipeline(self, step: str, row: Row) -> Iterator[Document]:
        """Components that were made anew under their old versions."""
        known = part(part(part(row.spec, OURS), GRAPH), "components")
        whole = {str(row.properties["componentId"]): None} if row.properties.get("componentId") else {}
        for id_, spec in {**whole, **known}.items():
            if (change := self._component(row, id_, spec)) is not None:
                yield {"step": step, "job": row.name, "component": id_, **change}

    def _component(self, row: Row, id_: str, spec: Document | None) -> Document | None:
        """`spec`: what its steps were made of; of a pipeline its own steps are not in it."""
        try:
            with self.platform.database.read() as connection:
                found = component(connection, ResourceId.parse(row.written).workspace, id_, "componentId")
                kept = resources.get(connection, ResourceId.parse(found.id).key)
        except ArmError as error:
            return {"gone": error.message}
        if found.type == PIPELINE:
            return {"another": True} if kept is None or kept.created_at > row.created_at else None
        return {"another": True} if dict(found.spec) != spec else None


def _as_new(output: Any) -> Any:
    """It becomes a version of its own: the one that the first became is there."""
    return {key: one for key, one in output.items() if key != "assetVersion"}


def _outputs(row: Row) -> Iterator[str]:
    for one in part(row.status, "outputs").values():
        yield str(one.get("uri") or "").rstrip("/")


def _is_below(uri: str, places: set[str]) -> bool:
    """Whether it is one of these folders, or in one."""
    path = uri.rstrip("/")
    while path:
        if path in places:
            return True
        path = path.rpartition("/")[0]
    return False


READ = Action(_read, method="GET")
