"""Steps whose work was done before: the same component, inputs and parameters give the same outputs.

A step's key is kept in the `lookup` column of its job, so that an earlier one is found by an index. Where a job of the
same key, on the same compute, runs already the step waits for that (`kinds/jobs/same_work.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from sqlalchemy import Connection, select

from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Admitted, Document
from smalt.arm.platform import Platform
from smalt.arm.ports import Carried
from smalt.arm.runs import JOBS
from smalt.kinds.assets import references
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import identity, same_work
from smalt.kinds.jobs.model import MODES
from smalt.kinds.jobs.pinned import PINNED
from smalt.kinds.jobs.pipelines.graph import Step
from smalt.kinds.jobs.pipelines.settings import Settings
from smalt.kinds.jobs.pipelines.step_type import Component
from smalt.kinds.jobs.pipelines.step_types import type_of
from smalt.kinds.jobs.status import JobStatus
from smalt.store import resources
from smalt.store.document import part
from smalt.store.resources import Row
from smalt.store.tables import resource

Listed = Sequence[Carried] | None  # what lies at a place; None: that cannot be seen quickly
_CANDIDATES = 5
_LISTED_MOST = 1000  # blobs below an address that no asset names


def source(row: Row, output: str) -> tuple[str, str]:
    """The job that made an output first, and its name there."""
    nested = part(part(row.status, "decided"), "sources").get(output)
    if nested:
        return nested[0], nested[1]
    return same_work.origin(row), output


@dataclass(frozen=True)
class Seen:
    """What was seen before the step's job is written, and when: its work, what lies at its inputs, the job to reuse."""

    at: float
    key: str
    listed: Mapping[tuple[str, str], Listed]
    earlier: str = ""


@dataclass(frozen=True)
class Reuse:
    """What becomes of a step's job: with an earlier job's outputs it has completed.

    `made_by`: of each input that another step made, the job that did and its output. `before`: only jobs that were
    there by then are reused: those of other runs.
    """

    platform: Platform
    workspace: ResourceId
    component: Component
    step: Step
    made_by: Mapping[str, tuple[str, str]]
    settings: Settings
    before: float

    def look(self, connection: Connection, child: Callable[[], Admitted]) -> Seen | None:
        """Outside of the transaction that writes the job: files are looked at. `child`: how it would be taken now."""
        if self._work is None or not self.component.deterministic:
            return None
        if any(output.get("uri") for output in self.step.outputs.values()):
            return None  # it is to be in that place, whoever writes there meanwhile
        at, listed = self.platform.clock(), dict[tuple[str, str], Listed]()

        def there(place: Place) -> Listed:
            listed[place.key] = self._listed(place)
            return listed[place.key]

        key = self._key(connection, child(), there)
        if key is None:
            return None
        earlier = None if self.settings.force else self._earlier(connection, key)
        return Seen(at, key, listed, earlier.id if earlier is not None else "")

    def adapt(self, seen: Seen, job: str, ours: Document, connection: Connection, admitted: Admitted) -> Admitted:
        """In that transaction: where it does what was seen, and the earlier job is there as it was.

        Else it does the work, or waits for the job that does. `job`: its id; `ours`: its spec's own part.
        """
        key = self._key(connection, admitted, lambda place: seen.listed.get(place.key))
        if key is None:
            return admitted
        admitted = replace(admitted, lookup=key)
        earlier = resources.get(connection, seen.earlier) if seen.earlier and key == seen.key else None
        if earlier is None or earlier.deleting or earlier.state != "Completed" or earlier.lookup != key:
            return self._shared(admitted, job, ours, seen.at)
        return self._completed(admitted, earlier)

    def _shared(self, admitted: Admitted, job: str, ours: Document, since: float) -> Admitted:
        """It is asked who does the work once all rows are there that this transaction makes."""

        def writes(connection: Connection) -> None:
            if admitted.writes is not None:
                admitted.writes(connection)
            properties = part(dict(admitted.spec), "properties")
            holder = same_work.claim(connection, str(admitted.lookup), job, properties, ours, since)
            if holder is not None and not self.settings.force:
                status = replace(JobStatus.read(admitted.status or {}), same_as=holder.id)
                resources.merge_status(connection, job, status.document())

        return replace(admitted, writes=writes)

    @property
    def _work(self) -> Callable[[Document, Document], Document] | None:
        return type_of(self.step).work

    def _key(self, connection: Connection, admitted: Admitted, listed: Callable[[Place], Listed]) -> str | None:
        """None: what an input is cannot be seen quickly. `listed`: what lies at a place."""
        assert self._work is not None
        properties, ours = part(dict(admitted.spec), "properties"), part(dict(admitted.spec), OURS)
        inputs = {
            name: self._input(connection, name, one, ours[PINNED], listed) for name, one in properties["inputs"].items()
        }
        if None in inputs.values():
            return None
        said: Document = {
            "workspace": self.workspace.key,
            "type": self.step.type,
            "work": self._work(properties, ours),
            "code": self._code(connection, (properties.get("trial") or properties).get("codeId")),
            "datastore": self.settings.datastore,
            "inputs": inputs,
            "outputs": {name: one.get("jobOutputType") for name, one in properties["outputs"].items()},
        }
        if identity.type_of(properties) == identity.USER:  # who may read what is another matter then
            said["identity"] = identity.USER
        return "step:" + hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()

    def _code(self, connection: Connection, reference: str | None) -> str:
        """By its content, where the client said that."""
        if not reference:
            return ""
        row = references.asset(connection, self.workspace, reference, "codes", "properties.codeId")
        return row.lookup or f"{row.id} {row.created_at!r}"

    def _input(
        self,
        connection: Connection,
        name: str,
        given: Document,
        uses: Document,
        listed: Callable[[Place], Listed],
    ) -> list[object] | None:
        if name in self.made_by:
            return ["made", *self.made_by[name], given.get("jobInputType"), _mode(given), given.get("value")]
        if given.get("jobInputType") == "literal":
            return ["value", given.get("value")]
        if "${{" in str(given.get("uri")):  # another place in each trial
            return None
        found = uses["inputs"][name]
        how = [given["jobInputType"], _mode(given)]
        if found["asset"]:
            row = resources.get(connection, ResourceId.parse(found["asset"]).key)
            return ["asset", found["asset"].lower(), row.created_at, *how] if row is not None else None
        place = Place(**found["place"])
        there = listed(place)
        return None if there is None else ["place", *place.key, *how, list(there)]

    def _listed(self, place: Place) -> Listed:
        """None where that is more than a quick look sees, or is not in a store of ours."""
        if not place.account:
            return None
        blobs = self.platform.blobs.list(place.account, place.container, place.path)
        listed = list(islice(blobs, _LISTED_MOST + 1))
        return listed if len(listed) <= _LISTED_MOST else None

    def _earlier(self, connection: Connection, key: str) -> Row | None:
        """The newest job of an earlier run that did the same and whose outputs are all there."""
        query = select(resource).where(
            resource.c.kind == JOBS,
            resource.c.lookup == key,
            resource.c.state == "Completed",
            resource.c.deleting.is_(False),
            resource.c.created_at < self.before,
        )
        newest = query.order_by(resource.c.created_at.desc()).limit(_CANDIDATES)
        rows = [resources.read(found) for found in connection.execute(newest)]
        return next((row for row in rows if self._is_there(connection, row)), None)

    def _is_there(self, connection: Connection, row: Row) -> bool:
        for output in part(row.status, "outputs").values():
            try:
                place = references.locate(self.platform, connection, self.workspace, str(output["uri"]), "outputs")
            except ArmError:  # its datastore is gone
                return False
            if not self.platform.blobs.exists(place.account, place.container, place.path.rstrip("/")):
                return False
        return True

    def _completed(self, admitted: Admitted, earlier: Row) -> Admitted:
        status = same_work.completed(JobStatus(), earlier, self.platform.clock())
        spec = same_work.reused(dict(admitted.spec), earlier)
        return replace(admitted, spec=spec, status=status.document(), state=same_work.COMPLETED)


def _mode(given: Document) -> str | None:
    """The one that is there without being said is what clients send back of a job that they have read."""
    said = MODES.get(str(given.get("mode") or "").lower())
    return None if said == MODES["readonlymount"] else given.get("mode")
