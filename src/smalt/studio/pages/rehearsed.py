"""What somebody types: what is wrong with it, as is known here, and as the platform says before it is sent."""

from __future__ import annotations

from collections.abc import Sequence

from smalt.store.document import Document
from smalt.studio.documents.written import Fault, Faulty, target_path
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit


def as_refused(error: Faulty, code: str = "InvalidForm") -> Refused:
    """What is wrong with a form or its text, by its fields."""
    return Refused(400, code, str(error), [(".".join(one.path), one.message) for one in error.faults])


async def rehearse(visit: Visit, named: Sequence[tuple[str, Document]]) -> None:
    """Whether the platform would take these now, one by one: a place, such as `jobs/NAME`, and what is put there.

    Nothing is kept. Raises Faulty.
    """
    here = visit.workspace.name
    kind = "Microsoft.MachineLearningServices/workspaces"
    resources = [_resource(kind, here, place, body) for place, body in named]
    template = {"mode": "Incremental", "template": {"resources": resources}}
    group = str(visit.workspace.parent)
    try:
        await visit.api.post(
            f"{group}/providers/Microsoft.Resources/deployments/studio/validate", {"properties": template}
        )
    except Refused as error:
        raise Faulty(
            [Fault(target_path(target), said.partition("': ")[2] or said) for target, said in error.details]
        ) from None


def _resource(kind: str, workspace: str, place: str, body: Document) -> Document:
    """`place`: `environments/NAME/versions/1`."""
    parts = place.split("/")
    return {
        "type": "/".join((kind, *parts[::2])),
        "name": "/".join((workspace, *parts[1::2])),
        "apiVersion": "2024-04-01",
        **body,
    }


def segment(field: str, name: str) -> str:
    """A name as it stands in a path of the API. Raises Refused: `/` would make another path of it."""
    if "/" in name or name in (".", ".."):
        raise Refused.at(field, "InvalidName", f"{field}: '{name[:80]}' is no name: letters, digits, '-', '_' and '.'.")
    return name
