"""Which jobs a list is of, as its URL says: the API's filters, or a filter and order of what runs have logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smalt.store.document import Document
from smalt.studio.pages.jobs import VIEWS, following
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit

FILTERS = ("status", "jobType", "experimentName", "search")
LOOKED_MOST = 2000  # runs that one page looks at, as the API does with jobs
_CHUNK = 200
_OFFSET_DIGITS = 15  # what a database takes as a number
_ARCHIVED = {"": False, "archived": True, "all": None}


@dataclass(frozen=True)
class Asked:
    """`like` is a filter of runs as MLflow writes it, `order` '', `created` (the oldest first), or of runs, too."""

    chosen: Mapping[str, str]
    view: str
    like: str
    order: str
    after: str

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Asked:
        chosen = {name: given.get(name, "") for name in FILTERS}
        view = given.get("view", "")
        return cls(
            chosen,
            view if view in VIEWS else "",
            given.get("filter", ""),
            given.get("order", ""),
            given.get("after", ""),
        )

    @property
    def any(self) -> bool:
        """Whether it is of some jobs alone."""
        return bool(self.like.strip() or self.view or self.after or any(self.chosen.values()))

    @property
    def by_runs(self) -> bool:
        return bool(self.like.strip()) or self.order not in ("", "created")


async def jobs_of(visit: Visit, asked: Asked, most: int) -> tuple[list[Document], str | None]:
    """Documents of a page of jobs, and where the next begins; it may be short and have one behind it.

    Raises Refused, also for a filter that cannot be read.
    """
    query = {name: value for name, value in asked.chosen.items() if value}
    query["listViewType"] = VIEWS[asked.view]
    if asked.by_runs:
        return await _by_runs(visit, asked, query, most)
    if asked.order:
        query["$orderBy"] = "createdtime asc"
    if asked.after:
        query["$skipToken"] = asked.after
    found = await visit.api.get(f"{visit.workspace}/jobs", {**query, "count": str(most)})
    return found["value"], following(found)


async def named(visit: Visit, names: Sequence[str], query: Mapping[str, str] | None = None) -> dict[str, Document]:
    """Documents of those of the jobs that there are, that the session may read, and that are like `query`, by name."""
    found: dict[str, Document] = {}
    asked = {"listViewType": "All", **(query or {}), "names": ",".join(names), "count": str(max(1, len(names)))}
    while names:
        page = await visit.api.get(f"{visit.workspace}/jobs", asked)
        found |= {one["name"]: one for one in page["value"]}
        skip = following(page)
        if skip is None:
            break
        asked["$skipToken"] = skip
    return found


async def _by_runs(
    visit: Visit, asked: Asked, query: Mapping[str, str], most: int
) -> tuple[list[Document], str | None]:
    if asked.after and not (asked.after.isdecimal() and len(asked.after) <= _OFFSET_DIGITS):
        raise Refused(400, "InvalidQueryParameter", f"{asked.after[:60]!r} is not a page of this list.")
    jobs: list[Document] = []
    first = offset = int(asked.after or 0)
    experiment, archived = asked.chosen["experimentName"], _ARCHIVED[asked.view]
    order = "" if asked.order == "created" else asked.order
    if asked.order == "created":
        order = "attributes.start_time ASC"
    size = most
    while True:
        names = await visit.logged.found(visit.workspace.key, asked.like, order, archived, experiment, size, offset)
        documents = await named(visit, names, query)
        for at, name in enumerate(names, 1):
            if name in documents:
                jobs.append(documents[name])
            if len(jobs) == most:
                return jobs, str(offset + at) if at < len(names) or len(names) == size else None
        offset += len(names)
        if len(names) < size:
            return jobs, None
        if offset - first >= LOOKED_MOST:
            return jobs, str(offset)
        size = _CHUNK
