"""A run is made once: a peer that makes runs as MLflow does, in the tables with our triggers, and dies before or after."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from smalt.arm.ids import workspace_id
from smalt.settings import Settings
from smalt.tracking.database import schema
from smalt.tracking.database.tracking_database import TrackingDatabase
from smalt.tracking.process.upstream import Outgoing, Unavailable, Upstream
from smalt.tracking.runs.run_creation import RunCreations, without_attempt

ALPHA = workspace_id("s", "g", "alpha")
BODY = json.dumps({"experiment_id": "1", "start_time": 5, "tags": [{"key": "a", "value": "b"}]}).encode()
ASK = Outgoing("POST", "/api/2.0/mlflow/runs/create", [("content-type", "application/json")], BODY, repeatable=False)


class Mlflow:
    """Does `plan`, one word for each creation: `answers`, `dies` (having made the run) or `fails` (having made none)."""

    def __init__(self, settings: Settings, *plan: str) -> None:
        self.settings = settings
        self.plan = list(plan)
        self.database = self.tracking = TrackingDatabase(settings)
        self.made = 0
        self.lock = threading.Lock()
        self.all_there: asyncio.Barrier | None = None

    def make(self, tags: list[dict[str, str]]) -> str:
        with self.lock, self.database.write() as connection:
            self.made += 1
            run = f"run-{self.made}"
            connection.execute(insert(schema.runs).values(run_uuid=run, lifecycle_stage="active", status="RUNNING"))
            for tag in tags:
                connection.execute(insert(schema.tags).values(run_uuid=run, **tag))
        return run

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = head.lower().split(b"content-length: ")
                body = await reader.readexactly(int(lengths[1].split(b"\r\n")[0])) if len(lengths) > 1 else b""
                line = head.split(b"\r\n")[0].decode()
                answer = self.answer(line, body)
                if self.all_there is not None:
                    await self.all_there.wait()
                if answer is None:
                    break
                text = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    def answer(self, line: str, body: bytes) -> Any:
        if line.startswith("GET"):
            return self.shown(line.split("run_id=")[1].split(" ")[0], [])
        what = self.plan.pop(0) if self.plan else "answers"
        tags = json.loads(body)["tags"]
        if what == "fails":
            return None
        run = self.make(tags)
        return self.shown(run, tags) if what == "answers" else None

    def shown(self, run: str, tags: list[dict[str, str]]) -> Any:
        return {"run": {"info": {"run_id": run}, "data": {"tags": tags}}}

    def count(self, table: Any = schema.runs) -> int:
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0


def play(mlflow: Mlflow, do: Callable[[RunCreations], Any], patience_s: float = 5) -> Any:
    async def main() -> Any:
        server = await asyncio.start_unix_server(mlflow.serve, str(mlflow.settings.mlflow_socket))
        upstream = Upstream(mlflow.settings.mlflow_socket, patience_s)
        try:
            return await do(RunCreations(upstream, mlflow.tracking, patience_s))
        finally:
            await upstream.close()
            server.close()

    mlflow.settings.mlflow_socket.parent.mkdir(parents=True, exist_ok=True)
    return asyncio.run(main())


async def create(creations: RunCreations, ask: Outgoing = ASK, by: str = "ada", answered: bool = True) -> str:
    creation = await creations.begin(ask, ALPHA, by)
    try:
        answer = json.loads(without_attempt((await creation.send()).content))
    except Unavailable:
        await creation.close(answered=False)
        raise
    assert all(tag["key"] != schema.ATTEMPT for tag in answer["run"]["data"]["tags"])
    await creation.close(answered)
    return answer["run"]["info"]["run_id"]


def test_one_answer_one_run_and_nothing_is_left(settings: Settings) -> None:
    mlflow = Mlflow(settings)
    assert play(mlflow, create) == "run-1"
    assert (mlflow.count(), mlflow.count(schema.creations)) == (1, 0)
    with mlflow.database.read() as connection:
        assert [row.key for row in connection.execute(select(schema.tags))] == ["a"]


@pytest.mark.parametrize("plan", [("dies",), ("fails",), ("fails", "dies"), ("fails", "fails", "answers")])
def test_mlflow_dies_before_it_answers_and_comes_back(settings: Settings, plan: tuple[str, ...]) -> None:
    mlflow = Mlflow(settings, *plan)
    assert play(mlflow, create) == "run-1"
    assert mlflow.count() == 1


def test_the_client_sends_it_again_after_a_503(settings: Settings) -> None:
    mlflow = Mlflow(settings, *["fails"] * 1000)

    async def twice(creations: RunCreations) -> str:
        with pytest.raises(Unavailable):
            await create(creations)
        mlflow.plan.clear()
        return await create(creations)

    assert play(mlflow, twice, patience_s=0.05) == "run-1"
    assert mlflow.count() == 1


def test_this_server_dies_before_it_answers(settings: Settings) -> None:
    mlflow = Mlflow(settings)

    async def killed(creations: RunCreations) -> str:
        creation = await creations.begin(ASK, ALPHA, "ada")
        return json.loads((await creation.send()).content)["run"]["info"]["run_id"]

    first = play(mlflow, killed)
    assert play(mlflow, create) == first  # a new server: the client's second try
    assert mlflow.count() == 1
    assert play(mlflow, create) == "run-2"  # that was answered; this is another


def test_a_second_try_of_somebody_else_is_none(settings: Settings) -> None:
    mlflow = Mlflow(settings)

    async def others(creations: RunCreations) -> list[str]:
        first = await create(creations, answered=False)
        other = Outgoing(ASK.method, ASK.target, ASK.headers, BODY.replace(b"5", b"6"), repeatable=False)
        return [first, await create(creations, by="bob"), await create(creations, other), await create(creations)]

    assert play(mlflow, others) == ["run-1", "run-2", "run-3", "run-1"]


def test_two_that_ask_for_the_same_at_the_same_time_get_a_run_each(settings: Settings) -> None:
    mlflow = Mlflow(settings)

    async def both(creations: RunCreations) -> list[str]:
        mlflow.all_there = asyncio.Barrier(2)
        return await asyncio.gather(create(creations), create(creations))

    assert sorted(play(mlflow, both)) == ["run-1", "run-2"]


def test_what_was_given_up_makes_no_run_any_more(settings: Settings) -> None:
    mlflow = Mlflow(settings)
    creations = RunCreations(Upstream(mlflow.settings.mlflow_socket), mlflow.tracking, 1)
    attempt = creations.new("r" * 64)
    assert creations.give_up("r" * 64, attempt) == ""
    with pytest.raises(IntegrityError):
        mlflow.make([{"key": schema.ATTEMPT, "value": attempt}])
    assert mlflow.count() == 0
