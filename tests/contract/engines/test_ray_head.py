"""The Ray head that the platform keeps, with a stand-in for Ray: adopted, started again, and ended with its jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live.patience import PATIENCE_S
from live.platform import eventually
from live.processes import alive
from smalt.cli import ray_head
from smalt.cli.commands import down
from smalt.cli.root import holder, prepare, remember
from smalt.cli.tasks import observe_tasks
from smalt.engines.local.survey import running_tasks
from smalt.settings import Settings

# As Ray's agents do, its child outlives a head that is killed.
HEAD = """
import json, os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
told = {"child": child.pid, "arguments": sys.argv[1:], "environment": dict(os.environ)}
with open(os.environ["TOLD"] + ".new", "w") as file:
    json.dump(told, file)
os.rename(os.environ["TOLD"] + ".new", os.environ["TOLD"])
time.sleep(600)
"""


class Kept:
    """A platform's root, and the program that its supervisor would run."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder / "p", ray="local")
        prepare(self.settings)
        remember(self.settings)
        scripts = folder / "packages" / "ray" / "scripts"
        scripts.mkdir(parents=True)
        for name in ("__init__.py", "scripts/__init__.py"):
            (scripts.parent / name).touch()
        (scripts / "scripts.py").write_text(HEAD)
        self._told = folder / "told.json"
        own = {"PYTHONPATH": str(folder / "packages"), "TOLD": str(self._told)}
        self._variables = ray_head.environment(
            {**os.environ, **own, "PGPASSWORD": "s3cret", "RAY_ADDRESS": "elsewhere"}
        )
        self.keeper: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = ray_head.command(self.settings)
        self.keeper = subprocess.Popen(
            command, env=self._variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def said(self) -> str:
        assert self.keeper is not None and self.keeper.stdout is not None
        return self.keeper.stdout.readline().strip()

    def told(self) -> dict[str, Any]:
        """What the head that lives now was told."""
        return eventually(lambda: json.loads(self._told.read_text()) if self._told.exists() else None, "a head")

    def forget(self) -> None:
        self._told.unlink()

    def end(self) -> None:
        if self.keeper is not None:
            self.keeper.kill()
            self.keeper.wait()
        ray_head.end(self.settings)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept(tmp_path)
    yield one
    one.end()


@pytest.fixture
def node(local: Any, kept: Kept) -> Iterator[Any]:
    """A node of that head, which has begun, with an engine of its own."""
    kept.start()
    kept.told()
    one = type(local)(kept.settings.ray_nodes / "0a1b")
    yield one
    one.close()


def running(node: Any, name: str) -> None:
    node.engine.ensure(node.task(name, command="sleep 600"))
    node.changes.running(name)


def gone(pid: int) -> bool:
    return not alive(pid)


def test_it_has_a_token_and_a_loopback_address_and_this_python(kept: Kept) -> None:
    kept.start()
    told = kept.told()
    arguments, variables = told["arguments"], told["environment"]
    assert arguments[:3] == ["start", "--head", "--block"]
    hosts = [arguments[arguments.index(one) + 1] for one in ("--node-ip-address", "--dashboard-host")]
    assert hosts == ["127.0.0.2", "127.0.0.1"]
    head = json.loads(kept.settings.ray_head_file.read_text())
    assert head["url"] == f"http://127.0.0.1:{arguments[arguments.index('--dashboard-port') + 1]}"
    token = Path(variables["RAY_AUTH_TOKEN_PATH"])
    assert (variables["RAY_AUTH_MODE"], token.read_text(), len(head["token"])) == ("token", head["token"], 64)
    assert not any(head["token"] in one for one in [*arguments, *variables.values()])
    assert [one.stat().st_mode & 0o777 for one in (token, kept.settings.ray_head_file)] == [0o600, 0o600]
    assert variables["PATH"].startswith(str(Path(sys.executable).parent))
    assert not {"PGPASSWORD", "RAY_ADDRESS"} & set(variables)


def test_a_head_outlives_who_keeps_it_and_is_adopted(kept: Kept) -> None:
    kept.start()
    head = kept.said()
    kept.told()
    kept.forget()
    assert kept.keeper is not None
    kept.keeper.kill()
    kept.keeper.wait()
    kept.start()
    assert kept.said() == f"{head}, adopted"
    assert kept.keeper is not None and kept.keeper.poll() is None


def test_after_a_kill_all_that_it_left_is_ended_and_another_starts(kept: Kept, node: Any) -> None:
    first, pid = kept.told(), holder(kept.settings.ray_head)
    assert pid
    running(node, "t")
    kept.forget()
    os.kill(pid, signal.SIGKILL)
    assert kept.keeper is not None and kept.keeper.wait(PATIENCE_S) == 1
    assert not gone(first["child"]) and running_tasks(node.settings)
    kept.start()
    second = kept.told()
    assert gone(first["child"]) and second["child"] != first["child"]
    assert running_tasks(node.settings) == [] and not kept.settings.ray_nodes.exists()


@pytest.mark.parametrize("end", [lambda one: down.run(one.root), down.leave])
def test_down_ends_it_unless_jobs_run_on_its_nodes(
    kept: Kept, node: Any, end: Callable[[Settings], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    child = kept.told()["child"]
    running(node, "t")
    end(kept.settings)
    said = capsys.readouterr().out
    assert "  Ray's head, as jobs run on its nodes" in said and "next up adopts it" in said
    assert ray_head.runs(kept.settings) and len(observe_tasks(kept.settings)) == 1
    node.engine.stop("t", 0)
    node.changes.ended("t")
    eventually(lambda: not running_tasks(node.settings), "its processes gone")
    end(kept.settings)
    assert not ray_head.runs(kept.settings) and gone(child)
    assert "Ray" not in capsys.readouterr().out


def test_down_with_all_ends_it_with_its_jobs(kept: Kept, node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    child = kept.told()["child"]
    running(node, "t")
    (task,) = running_tasks(node.settings)
    assert down.run(kept.settings.root, everything=True) == 0
    assert "Ended, as if the machine had gone down" in capsys.readouterr().out
    assert all(gone(one) for one in (child, *task.pids)) and not ray_head.runs(kept.settings)
    assert down.run(kept.settings.root, everything=True) == 0, "once more"
