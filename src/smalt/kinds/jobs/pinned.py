"""What a job uses, as it was when the job was taken: its tasks are made from that, whatever is latest by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import Connection

from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Document
from smalt.arm.platform import Platform
from smalt.kinds.assets.references import Place
from smalt.kinds.jobs import admission
from smalt.kinds.jobs.admission import Source
from smalt.store.resources import Row

PINNED = "pinned"  # in a spec's own part
CODE_HASH = "code_hash"  # there: of what the code holds, as the client reckoned it


def document(
    inputs: Mapping[str, Source], outputs: Mapping[str, Place], code: Place | None, code_hash: str | None = None
) -> Document:
    hashed: Document = {CODE_HASH: code_hash} if code_hash else {}
    return hashed | {
        "inputs": {name: asdict(source) for name, source in inputs.items()},
        "outputs": {name: asdict(place) for name, place in outputs.items()},
        "code": asdict(code) if code else None,
    }


def of(platform: Platform, connection: Connection, row: Row) -> Document:
    """Raises ArmError(400) where a job that an older version took uses what is not there any more."""
    return row.spec[OURS].get(PINNED) or _found(platform, connection, row)


def _found(platform: Platform, connection: Connection, row: Row) -> Document:
    """For a job that an older version took: what it uses is looked up now."""
    workspace, checks, properties = ResourceId.parse(row.written).workspace, admission.Checks(), dict(row.properties)
    uses = document(
        admission.inputs(platform, connection, workspace, properties, checks),
        admission.outputs(platform, connection, workspace, row.name, properties, checks),
        admission.code(platform, connection, workspace, properties, checks),
    )
    checks.done(f"job '{row.name}'")
    return uses
