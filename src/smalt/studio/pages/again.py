"""A job once more, under another name: what `smalt rerun` submits, whatever its inputs hold by now."""

from __future__ import annotations

from smalt.store.document import Document
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit


async def job_at(visit: Visit, name: str) -> Document:
    """Raises Refused."""
    document = await visit.api.get(f"{visit.workspace}/jobs/{name}")
    if "properties" not in document:  # the name is one that means something else to the API
        raise Refused(404, "NotFound", f"There is no job {name[:100]!r}.")
    return document


async def submit(visit: Visit, name: str, new: str) -> None:
    """Raises Refused, also for what was no job of the platform's: a run that somebody's own program made."""
    jobs = f"{visit.workspace}/jobs"
    found = await visit.api.get(f"{jobs}/{name}/again", {"changes": "false"})
    await visit.api.put(f"{jobs}/{new}", {"properties": found["properties"]}, query={"again": name})
