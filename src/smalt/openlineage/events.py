"""What the feed tells of jobs, as OpenLineage's events.

A run is one job here: it is START when it runs first, and COMPLETE, FAIL or ABORT when it has ended. What ends without
having run is START just before. A version that is made of a job's files after its end is told as OTHER. The run's id
follows from the job's, so an event that is told twice is the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from smalt.arm.envelope import timestamp
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS
from smalt.arm.platform import Platform
from smalt.arm.runs import JOBS
from smalt.kinds.jobs import lineage as of_jobs
from smalt.kinds.jobs import provenance
from smalt.kinds.jobs.model import PARENT, ROOT, TERMINAL
from smalt.openlineage import datasets
from smalt.openlineage.facets import PRODUCER, SPEC, engine, facets, source_location
from smalt.store import changes, lineage
from smalt.store.changes import What
from smalt.store.document import Document, part
from smalt.store.feed import Change
from smalt.store.lineage import End
from smalt.store.resources import Row

KINDS = (JOBS, "workspaces/data/versions", "workspaces/models/versions")
_RUNNING = "Running"
_ENDS = {"Completed": "COMPLETE", "Failed": "FAIL", "Canceled": "ABORT"}
_RUNS = uuid.UUID("5b0b6c1e-6f0b-5f0c-9b60-5d1e3f3f9a11")  # what ids of runs are made in


def run_id(row: Row) -> str:
    """Another one for a job that was made again under an old name."""
    return str(uuid.uuid5(_RUNS, f"{row.id}|{row.created_at!r}"))


@dataclass(frozen=True)
class Events:
    """`of`: the events that follow from one change, in order."""

    platform: Platform

    def of(self, connection: Connection, change: Change) -> list[Document]:
        if change.kind != JOBS:
            return self._of_version(connection, change) if change.what == What.CREATED else []
        begins, end = change.after == _RUNNING and change.before != _RUNNING, self._end(change)
        if not begins and not end:
            return []
        known = lineage.traced_at(connection, change.resource_id, change.at)
        if known is None:
            return []  # it was deleted so long ago that nobody knows it
        row = known.row
        began = changes.was(connection, row.id, _RUNNING, row.created_at, change.cursor.sequence)
        start = change.at if begins else min(float(row.status.get("started_at") or change.at), change.at)
        times = ([] if began else [("START", start)]) + ([(end, change.at)] if end else [])
        return [self._event(connection, row, kind, at) for kind, at in times]

    def _end(self, change: Change) -> str:
        if change.what == What.DELETING:
            return "ABORT" if change.before not in TERMINAL else ""
        return _ENDS.get(change.after or "", "") if change.before != change.after else ""

    def _of_version(self, connection: Connection, change: Change) -> list[Document]:
        known = lineage.traced_at(connection, change.resource_id, change.at)
        if known is None:
            return []
        version = known.row
        made = lineage.edges(connection, [End(version.id, version.created_at)], upstream=True, most=20)
        jobs = lineage.traced(connection, [one.source for one in made if one.what == lineage.OUTPUT])
        found: list[Document] = []
        for one in jobs.values():
            ended = one.row.ended_at if one.row.state in TERMINAL else None
            if ended is not None and ended < version.created_at:  # else its end tells of it
                outputs = [datasets.of_version(self.platform, connection, version)]
                found.append({**self._event(connection, one.row, "OTHER", change.at), "outputs": outputs})
        return found

    def _event(self, connection: Connection, row: Row, kind: str, at: float) -> Document:
        origin, above = of_jobs.origin(connection, row), self._above(connection, row)
        ended = kind in _ENDS.values()
        event: Document = {
            "eventType": kind,
            "eventTime": timestamp(at),
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}#/$defs/RunEvent",
            "run": {"runId": run_id(row), "facets": self._of_run(row, origin, above, kind)},
            "job": {**self._job(row, above), "facets": self._of_job(row, origin)},
        }
        if kind != "OTHER":
            event["inputs"] = datasets.read(self.platform, connection, row)
            event["outputs"] = datasets.written(self.platform, connection, row, made=ended)
        return event

    def _of_run(self, row: Row, origin: Document, above: Sequence[Row], kind: str) -> Document:
        environment, error = part(origin, "environment"), part(row.status, "error")
        key, given = str(environment.get("key") or ""), part(origin, "parameters")
        lock = provenance.versions(self.platform, row, key) if key else None
        parent = {"run": {"runId": run_id(above[0])}, "job": self._job(above[0], above[1:])} if above else None
        if parent and above[0] is not above[-1]:
            root = above[-1]
            parent["root"] = {"run": {"runId": run_id(root)}, "job": self._job(root, ())}
        failed = kind == "FAIL" and error.get("message")
        return facets(
            {
                "processing_engine": engine(),
                "parent": parent,
                "executionParameters": {
                    "parameters": [{"key": name, "value": str(value)} for name, value in given.items()]
                }
                if given
                else None,
                "errorMessage": {"message": str(error["message"]), "programmingLanguage": "unknown"}
                if failed
                else None,
                "smalt_environment": {"id": environment.get("id"), "key": key, "packages": dict(lock or {})}
                if key
                else None,
            }
        )

    def _of_job(self, row: Row, origin: Document) -> Document:
        code, described = origin.get("code"), row.properties.get("description")
        return facets(
            {
                "jobType": {
                    "processingType": "BATCH",
                    "integration": "SMALT",
                    "jobType": str(row.properties.get("jobType") or "COMMAND").upper(),
                },
                "sourceCodeLocation": source_location(part(origin, "git")),
                "ownership": {"owners": [{"name": row.created_by}]} if row.created_by else None,
                "documentation": {"description": described} if described else None,
                "smalt_code": code,
            }
        )

    def _job(self, row: Row, above: Sequence[Row]) -> Document:
        """A job of OpenLineage is what runs again and again: its experiment, with the names that somebody gave."""
        names = [str(row.properties.get("experimentName") or "Default")]
        for one in reversed([row, *above]):
            display = str(one.properties.get("displayName") or "")
            if display and display != one.name:
                names.append(display)
            elif one is row and above:
                names.append("trial" if above[0].properties.get("jobType") == "Sweep" else "step")
        return {"namespace": datasets.namespace(self.platform, row), "name": ".".join(names)}

    def _above(self, connection: Connection, row: Row) -> list[Row]:
        """The job that submitted it, and the one above all."""
        ours, jobs = part(row.spec, OURS), ResourceId.parse(row.written).workspace
        found: list[Row] = []
        for name in dict.fromkeys(filter(None, (ours.get(PARENT), ours.get(ROOT)))):
            known = lineage.traced_at(connection, jobs.child("jobs", str(name)).key, row.created_at)
            found += [known.row] if known is not None else []
        return found
