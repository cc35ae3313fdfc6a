"""A job once more: what was asked for, under another name."""

from __future__ import annotations

from typing import Any

from smalt.store.document import Document, part
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit

RERUN_OF = "smalt.rerun_of"  # a property of the new job; `smalt rerun` writes it, too
_ASKED = (
    "jobType", "command", "codeId", "environmentId", "inputs", "outputs", "computeId", "resources", "limits",
    "environmentVariables", "distribution", "parallel", "queueSettings", "identity", "experimentName", "displayName",
    "description", "tags", "componentId", "jobs", "settings", "searchSpace", "samplingAlgorithm", "objective",
    "earlyTermination", "trial",
)  # fmt: skip


async def job_at(visit: Visit, name: str) -> Document:
    """Raises Refused."""
    document = await visit.api.get(f"{visit.workspace}/jobs/{name}")
    if "properties" not in document:  # the name is one that means something else to the API
        raise Refused(404, "NotFound", f"There is no job {name[:100]!r}.")
    return document


async def submit(visit: Visit, name: str, new: str) -> None:
    """Raises Refused, also for what was no job of the platform's: a run that somebody's own program made."""
    document = await job_at(visit, name)
    properties = document["properties"]
    asked = asked_of(document)
    runs = (
        properties.get("command") or properties.get("jobs") or properties.get("trial") or properties.get("componentId")
    )
    if not runs:
        raise Refused(409, "NotAJob", f"{name} was not run by the platform: it has no command to run again.")
    asked["properties"] = {**part(properties, "properties"), RERUN_OF: name}
    await visit.api.put(f"{visit.workspace}/jobs/{new}", {"properties": asked})


def asked_of(document: Document) -> dict[str, Any]:
    """What a job's document says of what was asked for, without what became of it: its outputs go to new places."""
    properties, name = document["properties"], document["name"]
    asked = {key: properties[key] for key in _ASKED if properties.get(key) is not None}
    if "outputs" in asked:
        asked["outputs"] = {port: _elsewhere(one, name) for port, one in part(properties, "outputs").items()}
    return asked


def _elsewhere(output: Any, job: str) -> Any:
    """An output without the place or version that is this job's own."""
    if not isinstance(output, dict):
        return output
    own = f"/{job}/" in str(output.get("uri") or "") or f"dcid.{job}/" in str(output.get("uri") or "")  # pyright: ignore
    gone = {"assetVersion", *(("uri",) if own else ())}
    return {key: value for key, value in output.items() if key not in gone}  # pyright: ignore
