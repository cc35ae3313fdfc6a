"""Servers on one database and one store, each with a root, a gateway and an MLflow of its own: one, or two as on two machines."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from live.platform import Platform, eventually
from smalt.config import LAYOUT


class Tally:
    """What a job did, told by a file in the store that it appends to: wherever it runs, it sees the same folder."""

    def __init__(self, pair: Pair, name: str) -> None:
        self._pair, self.name, self._path = pair, name, f"tally/{name}"

    @property
    def output(self) -> dict[str, Any]:
        uri = f"azureml://datastores/workspaceblobstore/paths/{self._path}"
        return {"tally": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": uri}}

    def command(self, between: str = "true") -> str:
        """It appends a line, does what is between, and appends another."""
        return f"echo began >> $AZURE_ML_OUTPUT_tally/ran && {between} && echo ended >> $AZURE_ML_OUTPUT_tally/ran"

    @property
    def held(self) -> str:
        """For `between`: until `release`."""
        return "while [ ! -e $AZURE_ML_OUTPUT_tally/go ]; do sleep 0.02; done"

    def release(self) -> None:
        self.folder.joinpath("go").touch()

    @property
    def folder(self) -> Path:
        return self._pair.container / self._path

    @property
    def lines(self) -> list[str]:
        ran = self.folder / "ran"
        return ran.read_text().split() if ran.exists() else []


class Servers:
    """All of them on one database (a SQLAlchemy URL) and one store, a folder. What one of them is told, the others know."""

    def __init__(self, all_: tuple[Platform, ...], database: str, store: Path) -> None:
        self.all, self.store = all_, store
        self._container: Path | None = None
        self._engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))

    @classmethod
    def alone(cls, platform: Platform) -> Servers:
        """One that was started already, with its store in its root."""
        told = json.loads((platform.root / "config.json").read_text())
        own = f"sqlite:///file:{platform.root}/smalt.db?mode=ro&uri=true"
        return cls((platform,), told.get("database_url") or own, platform.root / "blobs")

    @property
    def container(self) -> Path:
        """The folder of the default workspace's blobs."""
        if self._container is None:
            account = self.all[0].get("")["properties"]["storageAccount"].rpartition("/")[2]
            store = self.all[0].get("datastores/workspaceblobstore")["properties"]
            self._container = self.store / account / store["containerName"]
        return self._container

    def wait_until_all_answer(self) -> None:
        for one in self.all:
            if not one.is_up():
                one.up()
            one.wait_until_it_answers()

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Straight from the database."""
        with self._engine.connect() as connection:
            return list(connection.execute(text(query), values).all())

    def write(self, statement: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement), values)

    def close(self) -> None:
        self._engine.dispose()


class Pair(Servers):
    """`a` and `b`, both running, on one PostgreSQL."""

    def __init__(self, folder: Path, database: str) -> None:
        self.a, self.b = Platform(folder / "a"), Platform(folder / "b")
        super().__init__((self.a, self.b), database, folder / "store")
        for one in self.both:
            one.root.mkdir(parents=True)
            told = {
                "layout": LAYOUT,
                "database_url": database,
                "store_url": str(self.store),
            }
            (one.root / "config.json").write_text(json.dumps(told))

    @property
    def both(self) -> tuple[Platform, Platform]:
        return self.a, self.b

    @contextmanager
    def started(self) -> Iterator[Pair]:
        try:
            self.a.up()
            for part in ("secrets", "tls"):
                shutil.copytree(self.a.root / part, self.b.root / part, dirs_exist_ok=True)
            self.b.up()
            yield self
        finally:
            for one in self.both:
                one.end()
            self.close()

    def other(self, one: Platform) -> Platform:
        return self.b if one is self.a else self.a

    def warm(self) -> None:
        """The plain environment is built on both: each runs a job while the other does not."""
        for number, one in enumerate(self.both):
            with self.stopped(self.other(one)):
                assert one.submit(f"warm-{number}", "true").status_code == 201
                one.wait_for(f"warm-{number}", "Completed", timeout_s=240)

    @contextmanager
    def stopped(self, one: Platform) -> Iterator[None]:
        """Its server does nothing meanwhile (SIGSTOP), and its supervisor does not mind."""
        pids = [one.pid("supervisor"), one.pid("server")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def take_for_lost(self, one: Platform) -> None:
        """As if the server, which is stopped, had not been heard of for an hour."""
        id_ = (one.root / "server").read_text()
        self.write("UPDATE server SET seen_at = seen_at - 3600 WHERE id = :id", id=id_)

    def runs_on(self, job: str) -> Platform | None:
        """On which of the two a job has a task now."""
        for one in self.both:
            for path in one.root.glob("tasks/job-*/task.json"):
                with suppress(FileNotFoundError):  # it is being removed
                    if json.loads(path.read_text())["owner"].endswith(f"/jobs/{job}".lower()):
                        return one
        return None

    def wait_until_it_runs(self, job: str) -> Platform:
        return eventually(lambda: self.runs_on(job), f"a task of {job}")
