"""A job's place in lineage: what it reads, what it wrote, from what it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.arm.written import writer
from smalt.kinds.assets.origins import Origin, origins, place_key
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs.model import PARENT, ROOT
from smalt.kinds.jobs.pinned import CODE_HASH, PINNED
from smalt.kinds.jobs.pipelines import reuse
from smalt.kinds.jobs.sweeps.progress import BEST
from smalt.store import lineage, resources
from smalt.store.document import part
from smalt.store.lineage import Link
from smalt.store.resources import Row

GIT = ("azureml.git.", "mlflow.source.git.")  # what clients say of the folder that the code is from


def reads(platform: Platform, connection: Connection, job: ResourceId, uses: Document) -> list[Link]:
    """What comes of `uses`, a job's pinned part: an edge from each input that is not on the web."""
    links: list[Link] = []
    for name, one in part(uses, "inputs").items():
        found: Iterable[Origin] = ()
        place, asset = Place(**one["place"]), str(one["asset"])
        if not asset or "_output_data_" in asset:  # which may be a job's output, and no row
            found = origins(platform, connection, job.workspace, str(one["uri"]), place)
        if asset:
            keys = tuple(key for known, _ in found for key in known)
            found = [((ResourceId.parse(asset).key, *keys), "")]
        links += [Link(keys, job.key, lineage.INPUT, name) for keys, _ in found]
    return links


def note_reads(platform: Platform, connection: Connection, job: ResourceId, uses: Document, now: float) -> None:
    """In the transaction that writes the job."""
    lineage.link(connection, reads(platform, connection, job, uses), now)


def own_places(row: Row) -> Mapping[str, str]:
    """By output, where a job writes to that its name does not tell."""
    places = {name: Place(**one) for name, one in part(part(part(row.spec, OURS), PINNED), "outputs").items()}
    return {name: place_key(place) for name, place in places.items() if (writer(place.path) or ("", ""))[0] != row.name}


def made(connection: Connection, row: Row, output: str, version: ResourceId, now: float) -> None:
    """In the transaction that makes a version of what the job, or one below it, wrote to its output."""
    job, name = maker(connection, row, output)
    key = ResourceId.parse(row.written).workspace.child("jobs", job).key
    lineage.link(connection, [Link((key, row.id), version.key, lineage.OUTPUT, name)], now)


def maker(connection: Connection, row: Row, output: str) -> tuple[str, str]:
    """The job that wrote it, and its name there: a pipeline's step, a sweep's best trial, the one that is reused."""
    job, name = reuse.source(row, output)
    if job != row.name:
        found = resources.get(connection, ResourceId.parse(row.written).workspace.child("jobs", job).key)
        row = found or row
    best = part(row.properties, "properties").get(BEST[0]) if row.properties.get("jobType") == "Sweep" else None
    return (str(best), name) if best else (job, name)


def origin(connection: Connection, row: Row) -> Document:
    """From what a job was made, also one that is gone."""
    properties, ours = row.properties, part(row.spec, OURS)
    code = properties.get("codeId") or part(properties, "trial").get("codeId")
    said: Document = {
        "displayName": properties.get("displayName"),
        "experiment": properties.get("experimentName"),
        "jobType": properties.get("jobType"),
        "command": properties.get("command") or part(properties, "trial").get("command"),
        "code": {"id": code, "hash": code_hash(connection, row)} if code else None,
        "environment": {
            "id": properties.get("environmentId") or part(properties, "trial").get("environmentId"),
            "key": part(ours, "plan").get("key"),
            **({"machines": machines} if (machines := row.status.get("machines")) else {}),
        },
        "git": git(properties),
        "parameters": parameters(properties),
        "inputs": {name: one for name, one in contents(row).items() if one},
        "parent": ours.get(PARENT),
        "root": ours.get(ROOT),
    }
    return {name: one for name, one in said.items() if one not in (None, {})}


def git(properties: Document) -> Document:
    return {key: value for key, value in part(properties, "properties").items() if key.startswith(GIT)}


def parameters(properties: Document) -> Document:
    inputs = part(properties, "inputs").items()
    return {name: one.get("value") for name, one in inputs if one and one.get("jobInputType") == "literal"}


def contents(row: Row) -> dict[str, Document]:
    """What each input held: files, bytes, digest."""
    read = part(row.status, "content")
    return {name: {key: one[key] for key in ("files", "bytes", "digest") if key in one} for name, one in read.items()}


def code_hash(connection: Connection, row: Row) -> str | None:
    """Of the code that it ran, as the client reckoned it; of an older job, while that code is there."""
    if known := part(part(row.spec, OURS), PINNED).get(CODE_HASH):
        return str(known)
    code = row.properties.get("codeId")
    found = resources.get(connection, ResourceId.parse(str(code)).key) if code else None
    return found.lookup if found is not None else None
