"""Two servers on one PostgreSQL and one store, each with a root, a gateway and an MLflow of its own: as two machines are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from live.platform import Platform, eventually
from smalt.config import LAYOUT

NODE_LOST_S = 30  # the shortest


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


class Pair:
    """`a` and `b`, both running. What one of them is told, the other knows."""

    def __init__(self, folder: Path, database: str) -> None:
        self.store = folder / "store"
        self.a, self.b = Platform(folder / "a"), Platform(folder / "b")
        for one in self.both:
            one.root.mkdir(parents=True)
            told = {
                "layout": LAYOUT,
                "database_url": database,
                "store_url": str(self.store),
                "node_lost_s": NODE_LOST_S,
            }
            (one.root / "config.json").write_text(json.dumps(told))

    @property
    def both(self) -> tuple[Platform, Platform]:
        return self.a, self.b

    @property
    def container(self) -> Path:
        """The folder of the default workspace's blobs."""
        account = self.a.get("")["properties"]["storageAccount"].rpartition("/")[2]
        name = self.a.get("datastores/workspaceblobstore")["properties"]["containerName"]
        return self.store / account / name

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

    def other(self, one: Platform) -> Platform:
        return self.b if one is self.a else self.a

    def warm(self) -> None:
        """The plain environment is built on both."""
        for number, one in enumerate(self.both):
            pid = self.other(one).pid("server")
            assert one.submit(f"warm-{number}", "true").status_code == 201
            one.wait_for(f"warm-{number}", "Completed", timeout_s=120)
            assert pid

    def wait_until_both_answer(self) -> None:
        for one in self.both:
            if not one.is_up():
                one.up()
            one.wait_until_it_answers()

    def runs_on(self, job: str) -> Platform | None:
        """On which of the two a job has a task now."""
        for one in self.both:
            for path in one.root.glob("tasks/job-*/task.json"):
                if path.exists() and json.loads(path.read_text())["owner"].endswith(f"/jobs/{job}".lower()):
                    return one
        return None

    def wait_until_it_runs(self, job: str) -> Platform:
        return eventually(lambda: self.runs_on(job), f"a task of {job}", 60)
