"""A platform with MLflow's tables in place of the fake, and what MLflow's clients write there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import delete, insert, select, update

from fakes import mlflow_tables
from fakes.examples import CURATED
from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.arm.ids import ResourceId
from smalt.arm.runs import JobRuns
from smalt.settings import Settings
from smalt.tracking.address import mlflow_name
from smalt.tracking.database import schema
from smalt.tracking.dataplane.history import HistoryApp
from smalt.tracking.runs.runs import MlflowTracking

HOME = ResourceId.parse(WORKSPACE)
JOBS = f"{WORKSPACE}/jobs"


class Site:
    """`mlflow_…` writes what MLflow's own server would; `heard` is what the edge does after it."""

    def __init__(self, root: Path, database_url: str = "") -> None:
        settings = Settings(root, database_url=database_url)
        mlflow_tables.make(settings)
        self.tracking = MlflowTracking(settings, lambda workspace: "acct", lambda: self.harness.clock())
        self.harness = Harness(root, self.tracking, database_url=database_url)
        self.history = HistoryApp(self.harness.platform, lambda scope: OWNER, lambda *_: None)
        self.runs = JobRuns(self.harness.database, self.tracking, self.harness.clock)
        self.tracking.ensure_workspace(HOME.key)

    def close(self) -> None:
        self.tracking.database.close()
        self.harness.close()

    def submit(self, name: str, **more: Any) -> None:
        job = {"jobType": "Command", "command": "python t.py", "environmentId": CURATED, **more}
        assert self.harness.put(f"{JOBS}/{name}", {"properties": job}).status_code == 201
        self.harness.settle()

    def end(self, name: str, code: int = 0) -> None:
        for task in self.harness.row(f"{JOBS}/{name}").status["tasks"]:
            self.harness.engine.finish(task, code)
        self.harness.settle()

    def job(self, name: str) -> dict[str, Any]:
        return self.harness.get(f"{JOBS}/{name}").json()["properties"]

    def listed(self, query: str = "") -> list[str]:
        return [one["name"] for one in self.harness.get(f"{JOBS}{query}").json()["value"]]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.history)
            async with httpx.AsyncClient(transport=transport, base_url=self.harness.settings.url) as client:
                return await client.request(method, path, json=body, headers=headers)

        answer = asyncio.run(call())
        assert answer.status_code == 200, answer.text
        return answer.json()

    def patch(self, name: str, **changes: Any) -> Any:
        return self.ask("PATCH", f"/history/v1.0{WORKSPACE}/experiments/e/runs/{name}", changes)

    def run(self, name: str) -> Any:
        found = self.tracking.run(HOME.key, name)
        assert found is not None
        return found

    def mlflow_creates(self, run_id: str, parent: str = "", heard: bool = True, **columns: Any) -> None:
        with self.tracking.database.write() as connection:
            experiment = connection.scalar(
                select(schema.experiments.c.experiment_id).where(schema.experiments.c.workspace == mlflow_name(HOME))
            )
            values = {
                "run_uuid": run_id,
                "name": f"name of {run_id}",
                "source_type": "UNKNOWN",
                "status": "RUNNING",
                "user_id": "ada",
                "start_time": 1_800_000_000_000,
                "lifecycle_stage": "active",
                "artifact_uri": "x",
                "experiment_id": experiment,
            }
            connection.execute(insert(schema.runs).values(values | columns))
        if parent:
            self.mlflow_tags(run_id, heard=False, **{"mlflow.parentRunId": parent})
        if heard:
            self.heard(run_id)

    def mlflow_updates(self, run_id: str, heard: bool = True, **columns: Any) -> None:
        with self.tracking.database.write() as connection:
            connection.execute(update(schema.runs).where(schema.runs.c.run_uuid == run_id).values(**columns))
        if heard:
            self.heard(run_id)

    def mlflow_tags(self, run_id: str, heard: bool = True, **tags: str | None) -> None:
        table = schema.tags
        with self.tracking.database.write() as connection:
            for key, value in tags.items():
                connection.execute(delete(table).where(table.c.run_uuid == run_id, table.c.key == key))
                if value is not None:
                    connection.execute(insert(table).values(run_uuid=run_id, key=key, value=value))
        if heard:
            self.heard(run_id)

    def heard(self, *run_ids: str) -> None:
        self.runs.take_over(run_ids, "ada")
