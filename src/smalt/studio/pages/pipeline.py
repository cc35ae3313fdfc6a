"""The steps of a pipeline: as a graph, where such as are pipelines can be opened, or as a table, what failed first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smalt.store.document import Document
from smalt.studio.layout import Box, arranged, edge
from smalt.studio.pages.jobs import standing
from smalt.studio.platform_api import Refused
from smalt.studio.visit import Visit

WIDTH, HEIGHT, EDGE, HEAD = 176.0, 46.0, 16.0, 30.0  # pixels: of a box; around and above what is in an opened one
TITLE_MOST = 24  # characters in a box
OPENED_MOST = 20
_FIRST = ("Failed", "Held", "CancelRequested", "Canceled", "Running", "Finalizing", "Starting", "Preparing",
          "Queued", "NotStarted", "Waiting", "Completed", "Skipped")  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A box of the graph, with absolute coordinates. `opened`: its own steps are drawn in it."""

    box: Box
    x: float
    y: float
    step: Document
    title: str
    id: str  # of the job, as the feed has it; '' for control flow
    opened: bool
    toggle: str  # the URL that opens or closes it; '': it is no pipeline


async def steps_of(visit: Visit, document: Document) -> Document:
    """What the tab's template takes. `open` of the URL names the pipelines among the steps that are opened."""
    opened = set() if visit.guest else set((visit.http.query_params.get("open") or "").split(",")[:OPENED_MOST]) - {""}
    as_table = visit.http.query_params.get("as") == "table"
    try:
        steps = await _steps(visit, document["name"])
    except Refused as error:
        if error.status != 409:
            raise
        return {"steps": [], "as_table": False, "drawn": [], "edges": [], "size": (0, 0), "counts": {}}
    found: Document = {"steps": sorted(steps, key=_rank), "as_table": as_table, "counts": _counts(steps)}
    if as_table:
        return {**found, "drawn": [], "edges": [], "size": (0, 0)}
    picture = _Picture(visit, opened)
    boxes = await picture.boxes(steps)
    size = arranged(boxes)
    picture.place(boxes, 0, 0)
    return {**found, "drawn": picture.drawn, "edges": picture.edges, "size": size}


class _Picture:
    """`drawn` has those around others before these."""

    def __init__(self, visit: Visit, opened: set[str]) -> None:
        self._visit, self._opened = visit, opened
        self._steps: dict[int, Document] = {}
        self.drawn: list[Drawn] = []
        self.edges: list[str] = []

    async def boxes(self, steps: Sequence[Document]) -> list[Box]:
        """With what is in those that are opened arranged already."""
        found: list[Box] = []
        for step in steps:
            after = [*step["after"], *([step["loop"]] if step["loop"] else [])]
            box = Box(step["name"], WIDTH, HEIGHT, after)
            if step["submitted"] and step["job"] in self._opened:
                box.inner = await self.boxes(await _steps(self._visit, step["job"]))
                width, height = arranged(box.inner)
                box.width, box.height = max(WIDTH, width + 2 * EDGE), height + HEAD + EDGE
            self._steps[id(box)] = step
            found.append(box)
        return found

    def place(self, boxes: Sequence[Box], x: float, y: float) -> None:
        for box in boxes:
            box.x, box.y = box.x + x, box.y + y
            self.drawn.append(self._shown(box))
        by_name = {box.name: box for box in boxes}
        for box in boxes:
            self.edges += [edge(by_name[one], box) for one in box.after if one in by_name]
            if box.inner:
                self.place(box.inner, box.x + EDGE, box.y + HEAD)

    def _shown(self, box: Box) -> Drawn:
        step = self._steps[id(box)]
        title = str(step["displayName"])
        short = title if len(title) <= TITLE_MOST else f"{title[: TITLE_MOST - 1]}…"
        id_ = self._visit.workspace.child("jobs", step["job"]).key if step["job"] else ""
        toggle = ""
        if step["type"] == "pipeline" and step["submitted"] and not self._visit.guest:
            others = self._opened ^ {step["job"]}
            toggle = self._visit.here(open=",".join(sorted(others)) or None)
        return Drawn(box, box.x, box.y, step, short, id_, bool(box.inner), toggle)


async def _steps(visit: Visit, job: str) -> list[Document]:
    found = (await visit.api.get(f"{visit.workspace}/jobs/{job}/steps"))["value"]
    return [{**one, "status": standing(one["status"], one["error"])} for one in found]


def _rank(step: Document) -> int:
    return _FIRST.index(step["status"]) if step["status"] in _FIRST else len(_FIRST)


def _counts(steps: Sequence[Document]) -> dict[str, int]:
    found: dict[str, Any] = {}
    for step in sorted(steps, key=_rank):
        found[step["status"]] = found.get(step["status"], 0) + 1
    return found
