"""What the steps of a pipeline have made: files as an input of the next, and values to be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

from sqlalchemy import Connection

from smalt.arm.errors import ArmError, invalid
from smalt.arm.ids import ResourceId
from smalt.arm.kind import Document
from smalt.arm.platform import Platform
from smalt.kinds.assets import references
from smalt.kinds.jobs.pipelines import children, reuse
from smalt.kinds.jobs.pipelines.bindings import document
from smalt.kinds.jobs.pipelines.components import check_literal
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row

VALUE_MOST = 64 << 10  # bytes of a value
_SAID = ("azureml.pipeline.control", "azureml.pipelines.control")  # properties or tags with values as a JSON object


class Made:
    """Reads each step's job once."""

    def __init__(self, platform: Platform, connection: Connection, workspace: ResourceId) -> None:
        self._platform, self._connection, self._workspace = platform, connection, workspace
        self._rows: dict[str, Row] = {}

    def row(self, job: str) -> Row:
        """Raises ArmError(400) where somebody deleted it."""
        if job not in self._rows:
            row = resources.get(self._connection, self._workspace.child("jobs", job).key)
            if row is None:
                raise invalid(f"Job '{job}', whose output is needed, was deleted.", "jobs")
            self._rows[job] = row
        return self._rows[job]

    def input(self, given: Document, job: str) -> tuple[Document, tuple[str, str]]:
        """The input that takes the output of `job`; and who made that first: a job and its output."""
        row, output = self.row(job), str(given["output"])
        if "literal" in given:
            value = self.value(job, output, str(given["step"]))
            check_literal(value, {"type": given["literal"]}, f"The output '{output}' of step '{given['step']}'")
            return children.literal(value), reuse.source(row, output)
        place = part(row.status, "outputs").get(output)
        if place is None:
            raise invalid(f"Step '{given['step']}' (job {job}) completed without its output '{output}'.", "jobs")
        type_ = given["type"] or place["jobOutputType"]
        return children.files(str(place["uri"]), type_, given.get("mode")), reuse.source(row, output)

    def table(self, name: str, output: str, jobs: Sequence[str]) -> Document:
        """The place of an MLTable of what these jobs wrote to `output`. It may be written twice."""
        places = [document(part(self.row(job).status, "outputs").get(output)) for job in jobs]
        paths = [
            {"file" if one["jobOutputType"] == "uri_file" else "folder": self._long(one["uri"])}
            for one in places
            if one
        ]
        uri = f"azureml://datastores/workspaceblobstore/paths/azureml/{name}/{output}/"
        found = references.locate(self._platform, self._connection, self._workspace, uri, "jobs")
        text = "".join(f"- {kind}: {json.dumps(uri)}\n" for path in paths for kind, uri in path.items())
        self._platform.blobs.write(found.ref(folder=True).below("MLTable"), f"type: mltable\npaths:\n{text}".encode())
        return {"uri": uri, "jobOutputType": "mltable"}

    def _long(self, uri: str) -> str:
        """As clients of tables need an address: with its workspace."""
        where = self._workspace
        base = f"azureml://subscriptions/{where.subscription}/resourcegroups/{where.group}/workspaces/{where.name}/"
        return base + uri.removeprefix("azureml://") if uri.startswith("azureml://datastores/") else uri

    def value(self, job: str, output: str, step: str) -> str:
        """What a job wrote to an output that is no files: its file's text, or what it said in a tag.

        Raises ArmError(400).
        """
        row = self.row(job)
        for said, key in product(("properties", "tags"), _SAID):
            if output in (known := _values(part(row.properties, said).get(key))):
                return str(known[output])
        place = part(row.status, "outputs").get(output)
        if place is not None:
            found = references.locate(self._platform, self._connection, self._workspace, str(place["uri"]), "jobs")
            text = self._platform.blobs.read(found.account, found.container, found.path, VALUE_MOST)
            if text is not None:
                return text.decode(errors="replace").strip()
        raise ArmError(400, "UserError", f"Step '{step}' (job {job}) wrote no value to its output '{output}'.", "jobs")


def _values(text: Any) -> Document:
    try:
        return document(json.loads(text)) if isinstance(text, str) else {}
    except json.JSONDecodeError:
        return {}
