"""A run is made once, also where MLflow or this server is killed before the client has its answer.

MLflow chooses a run's id, so a creation that is sent twice makes two runs; and MLflow's client sends it again by
itself, after a 503 or a broken connection. So each creation carries a mark that MLflow writes in the transaction that
makes the run (a tag that a trigger turns into a row of `smalt_creations`). The mark tells, without MLflow, whether a
creation that was cut short made a run; one that did not is given up, and then cannot make one any more. The row goes
when the client has its answer. A request that finds a row of one alike that nobody is working on is that client's
second try, and gets the run of the first.

Two clients that ask for the same at the same time have a mark each.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
from sqlalchemy import delete, or_, select

from smalt.arm.ids import ResourceId
from smalt.arm.threads import Threads
from smalt.tracking.address import mlflow_name
from smalt.tracking.database import schema
from smalt.tracking.database.tracking_database import TrackingDatabase
from smalt.tracking.database.upsert import insert_into
from smalt.tracking.process.upstream import Outgoing, Unavailable, Upstream

AGAIN_S = 300.0  # MLflow's client tries again for about two minutes
_CREATE = re.compile(r"/(?:ajax-)?api/2\.0/(?:preview/)?mlflow/runs/create")
_GET = "/api/2.0/mlflow/runs/get?run_id="


def is_run_creation(method: str, rest: str) -> bool:
    return method == "POST" and _CREATE.fullmatch(rest) is not None


def without_attempt(content: bytes) -> bytes:
    """MLflow's answer without the mark, which is no tag of the run."""
    if schema.ATTEMPT.encode() not in content:
        return content
    answer = json.loads(content)
    data = answer["run"]["data"]
    data["tags"] = [tag for tag in data["tags"] if tag["key"] != schema.ATTEMPT]
    return json.dumps(answer).encode()


class RunCreations:
    """One server's: whose marks are being worked on is known here alone."""

    def __init__(
        self,
        upstream: Upstream,
        database: TrackingDatabase,
        patience_s: float,
        clock: Callable[[], float] = time.time,
        threads: Threads | None = None,
    ) -> None:
        self.threads = threads or Threads(8)
        self.upstream = upstream
        self.patience_s = patience_s
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._open: set[str] = set()

    async def begin(self, outgoing: Outgoing, workspace: ResourceId, by: str) -> Creation:
        try:
            content = json.loads(outgoing.body)
        except ValueError:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("tags") or [], list):
            content = None  # MLflow will refuse it
        said = b"\0".join((mlflow_name(workspace).encode(), by.encode(), outgoing.body))
        request = hashlib.sha256(said).hexdigest()
        attempt, made = await self.threads.run(self._left, request)
        return Creation(self, outgoing, content, request, attempt, made)

    def _left(self, request: str) -> tuple[str, str]:
        """(attempt, run id) of a creation alike that was cut short after it made its run; ('', '') for none."""
        table = schema.creations
        query = select(table.c.attempt, table.c.run_uuid).where(
            table.c.request == request, table.c.run_uuid != "", table.c.at > self._clock() - AGAIN_S
        )
        with self._lock, self._database.read() as connection:
            for row in connection.execute(query.order_by(table.c.at)):
                if row.attempt not in self._open:
                    self._open.add(row.attempt)
                    return row.attempt, row.run_uuid
        return "", ""

    def new(self, request: str) -> str:
        attempt = f"{request}/{uuid.uuid4().hex}"
        with self._lock:
            self._open.add(attempt)
        return attempt

    def give_up(self, request: str, attempt: str) -> str:
        """The run that the attempt made; '' where it made none, and now never will."""
        table = schema.creations
        values = {"attempt": attempt, "request": request, "run_uuid": "", "at": self._clock()}
        with self._database.write() as connection:
            connection.execute(insert_into(connection, table).values(values).on_conflict_do_nothing())
            return connection.scalar(select(table.c.run_uuid).where(table.c.attempt == attempt)) or ""

    def close(self, attempt: str, answered: bool) -> None:
        table = schema.creations
        try:
            if answered:
                with self._database.write() as connection:
                    old = table.c.at < self._clock() - 12 * AGAIN_S
                    connection.execute(delete(table).where(or_(table.c.attempt == attempt, old)))
        finally:
            with self._lock:
                self._open.discard(attempt)


@dataclass
class Creation:
    """One client's request. `made` is the run of an earlier try."""

    creations: RunCreations
    outgoing: Outgoing
    content: dict[str, Any] | None
    request: str
    attempt: str
    made: str

    async def send(self) -> httpx.Response:
        """MLflow's answer. Raises Unavailable where no run was made, or it cannot be read yet."""
        if self.content is None:
            return await self.creations.upstream.send(self.outgoing)
        deadline = asyncio.get_running_loop().time() + self.creations.patience_s
        while not self.made:
            self.attempt = self.creations.new(self.request)
            tags = [*(self.content.get("tags") or []), {"key": schema.ATTEMPT, "value": self.attempt}]
            body = json.dumps({**self.content, "tags": tags}).encode()
            try:
                return await self.creations.upstream.send(replace(self.outgoing, body=body))
            except Unavailable:
                self.made = await self.creations.threads.run(self.creations.give_up, self.request, self.attempt)
                if not self.made and asyncio.get_running_loop().time() >= deadline:
                    raise
                if not self.made:
                    await self.close(answered=False)
        headers = [(key, value) for key, value in self.outgoing.headers if not key.lower().startswith("content-")]
        read = Outgoing("GET", _GET + self.made, headers, b"", repeatable=True)
        return await self.creations.upstream.send(read)

    async def close(self, answered: bool) -> None:
        """After the client has its answer, or where it has none. Then its next try finds the run that this one made."""
        await self.creations.threads.run(self.creations.close, self.attempt, answered)
