"""The calls of MLflow's tracking store that are answered here, each made together with those that wait beside it.

What is not answered here (None, False) is MLflow's: also whatever it refuses, and all while the database is away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from smalt.arm.ports import NotReady
from smalt.arm.threads import Threads
from smalt.store.database import Collision
from smalt.tracking.database.tracking_database import TrackingDatabase
from smalt.tracking.store import logged, run_documents, searches
from smalt.tracking.store.plain import LogBatch
from smalt.tracking.store.together import Together

_ROWS_MOST = 5_000  # written in one transaction
_RUNS_MOST = 50  # read at once
_SEARCHES_MOST = 2  # at once: Python under one interpreter lock, on which the other calls wait


class TrackingStore:
    """One transaction writes at a time, and one reads single runs; searches have threads of their own."""

    def __init__(self, database: TrackingDatabase) -> None:
        self._database = database
        self._log = Together(self._write, Threads(1), _ROWS_MOST, lambda one: one.size)
        self._get = Together(self._read, Threads(1), _RUNS_MOST)
        self._searching = Threads(_SEARCHES_MOST)

    async def log(self, batch: LogBatch) -> bool:
        """Whether it is logged now: committed."""
        try:
            return await self._log(batch)
        except (NotReady, Collision):
            return False

    async def get_run(self, workspace: str, run_id: str) -> bytes | None:
        """MLflow's answer. `workspace` is MLflow's name."""
        try:
            return await self._get((workspace, run_id))
        except NotReady:
            return None

    async def search_runs(self, asked: searches.Search) -> bytes | None:
        """MLflow's answer."""
        try:
            return await self._searching.run(self._search, asked)
        except NotReady:
            return None

    def _search(self, asked: searches.Search) -> bytes | None:
        with self._database.read() as connection:
            found = searches.search(connection, asked) if logged.knows_schema(connection) else None
        return None if found is None else json.dumps(found).encode()

    def _write(self, batches: Sequence[LogBatch]) -> list[bool]:
        with self._database.write() as connection:
            return logged.log(connection, batches)

    def _read(self, asked: Sequence[tuple[str, str]]) -> list[bytes | None]:
        with self._database.read() as connection:
            if not logged.knows_schema(connection):
                return [None] * len(asked)
            rows = run_documents.runs(connection, list({run for _, run in asked}))
            own = [rows[run] for workspace, run in set(asked) if run in rows and rows[run][-1] == workspace]
            found = zip(own, run_documents.documents(connection, own), strict=True) if own else ()
            answers = {row[0]: json.dumps({"run": run}).encode() for row, run in found if run is not None}
        return [answers.get(run) if run in rows and rows[run][-1] == workspace else None for workspace, run in asked]
