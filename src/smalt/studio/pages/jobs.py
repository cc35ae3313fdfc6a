"""Jobs as lists show them, whichever page the list is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from smalt.arm.runs import HELD_WHY
from smalt.store.document import part
from smalt.studio.visit import Visit

PAGE = 50
VIEWS = {"": "ActiveOnly", "archived": "ArchivedOnly", "all": "All"}
STATUSES = ("NotStarted", "Preparing", "Queued", "Starting", "Running", "Finalizing", "CancelRequested", "Completed",
            "Failed", "Canceled")  # fmt: skip
TYPES = ("Command", "Pipeline", "Sweep")
HELD = "Held"  # a status that pages alone have


async def listed(visit: Visit, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
    """Jobs as a list shows them, and where the next page begins; a page may be short and have one behind it."""
    found = await visit.api.get(f"{visit.workspace}/jobs", query)
    return [shown(one) for one in found["value"]], following(found)


def following(answer: Mapping[str, Any]) -> str | None:
    """Where the page behind a page of the API begins; None: it was the last."""
    link = answer.get("nextLink")
    return parse_qs(urlsplit(str(link)).query)["$skipToken"][0] if link else None


def shown(job: Mapping[str, Any]) -> dict[str, Any]:
    properties, made = job["properties"], job["systemData"]
    return {
        "id": str(job["id"]).lower(),
        "name": job["name"],
        "title": properties.get("displayName") or job["name"],
        "status": standing(properties["status"], part(properties, "properties").get(HELD_WHY)),
        "type": properties["jobType"],
        "experiment": properties.get("experimentName") or "Default",
        "created": made["createdAt"],
        "by": made.get("createdBy") or "",
        "archived": bool(properties.get("isArchived")),
        "compute": str(properties.get("computeId") or "serverless").rpartition("/")[2],
        "description": properties.get("description") or "",
        "tags": {name: value or "" for name, value in part(properties, "tags").items()},
    }


def standing(status: str, why: str | None) -> str:
    """A status as people read it: of what runs for the API and has failed (`why`), it is that its node is held."""
    return HELD if status == "Running" and why else status
