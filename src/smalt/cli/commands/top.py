"""`smalt top`: who has which nodes, and who waits for them; live, as things change."""

from __future__ import annotations

import json
import queue
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from smalt.cli.api import Api, Document, opened
from smalt.cli.root import CliError

_AT_LEAST_S = 0.25  # between two looks
_AT_MOST_S = 5.0  # times go on also where nothing happens
_ROWS = 30  # of those who wait, on a screen


def run(root: Path | None, workspace: str, once: bool, as_json: bool) -> int:
    with opened(root, workspace) as api:
        found = api.get("queues")["value"]
        if as_json:
            print(json.dumps([one["properties"] | {"compute": one["name"]} for one in found]))
        elif once or not sys.stdout.isatty():
            Console(highlight=False).print(shown(found))
        else:
            _live(api, found)
    return 0


def _live(api: Api, found: list[Document]) -> None:
    """Until Ctrl-C."""
    news: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for _ in api.changes("", kind="workspaces/jobs,workspaces/computes"):
                news.put(None)
        except CliError as error:
            news.put(error)

    threading.Thread(target=listen, name="changes", daemon=True).start()
    pause = threading.Event()  # never set: what comes close together is shown together
    with Live(shown(found), screen=True, auto_refresh=False) as live:
        while True:
            try:
                said = news.get(timeout=_AT_MOST_S)
                pause.wait(_AT_LEAST_S)
                while not news.empty():
                    said = news.get() or said
                if said is not None:
                    raise said
            except queue.Empty:
                pass
            live.update(shown(api.get("queues")["value"]), refresh=True)


def shown(queues: list[Document], now: float | None = None) -> RenderableType:
    now = datetime.now(UTC).timestamp() if now is None else now
    if not any(one["properties"]["nodes"] or one["properties"]["jobs"] for one in queues):
        return "No job runs or waits, and no node is held."
    parts: list[RenderableType] = []
    for one in queues:
        nodes = one["properties"]["nodes"]
        busy = sum(1 for node in nodes if node["job"])
        waiting = one["properties"]["waiting"]
        most = one["properties"]["maxNodeCount"]
        parts.append(f"[bold]{one['name']}[/]  {busy} of {most} nodes busy, {waiting} waiting")
        if nodes:
            parts.append(_nodes(nodes, now))
        if waiting:
            parts.append(_waiting(one["properties"], now))
    return Group(*parts)


def _nodes(nodes: list[Document], now: float) -> Table:
    table = _table("node", "job", "name", "status", "for", "gpus")
    for node in nodes:
        gpus = " ".join(map(str, node["gpus"]))
        name = node["machine"] or str(node["node"])
        job, called = node["job"] or "", _called(node)
        unused = "idle" if node.get("connected", True) else "not connected"
        _add(table, name, job, called, node["status"] or unused, _ago(node["since"], now), gpus)
    return table


def _waiting(of: Document, now: float) -> Table:
    table = _table("place", "job", "name", "nodes", "priority", "waits", "starts in")
    for job in of["jobs"][:_ROWS]:
        tier = f"{job['priority']}{', spot' if job['spot'] else ''}"
        begins = max(_seconds(job["expectedStart"]) - now, 0.0) if job["expectedStart"] else None
        wants = f"{job['nodes']}{', GPUs' if job['lacksGpus'] else ''}"
        start = "?" if begins is None else f"~{_duration(begins)}"
        called, waits = _called(job), _ago(job["since"], now)
        _add(table, str(job["position"]), job["job"], called, wants, tier, waits, start)
    if (more := of["waiting"] - min(len(of["jobs"]), _ROWS)) > 0:
        _add(table, "", f"and {more} more")
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for one in headings:
        table.add_column(one)
    return table


def _add(table: Table, *cells: str) -> None:
    """What users named is neither markup nor anything that a terminal would follow."""
    table.add_row(
        *(Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in cell)) for cell in cells)
    )


def _called(one: Document) -> str:
    """Its display name, where that says something."""
    return "" if one["displayName"] in (None, one["job"]) else str(one["displayName"])


def _ago(at: Any, now: float) -> str:
    return _duration(max(now - _seconds(at), 0.0))


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
