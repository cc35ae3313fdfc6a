"""Environments between the machines of a cluster, over HTTP: built by one, fetched by the next, and by nobody else."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.dialled import COMPUTE
from fakes.refs import ref
from fakes.wheels import make_wheel
from live.files import files_below
from live.patience import PATIENCE_S
from smalt.agent.wire import Outcome, Phase, Ref, TaskSpec
from smalt.arm.outage import StoreAway
from smalt.arm.ports import EnvironmentSpec
from smalt.engines.remote.messages import PREFIX
from smalt.environments import UvEnvironments
from smalt.environments.uv.layout import Layout
from smalt.environments.uv.packs import platform_of
from smalt.kinds.assets.environment_pack import Pack
from smalt.settings import PLATFORM_ACCOUNT, Settings
from smalt.store import node_environments, nodes, resources

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORM = platform_of(str(Path(sys._base_executable).resolve()))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType]
KEY = "ab" * 20


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "alpha", "1.0")
    return folder


@pytest.fixture
def task(remote: Any, wheels: Path) -> Callable[..., TaskSpec]:
    """`task(name, machine)`: its environment has one package, of an index that is taken away with `wheels`."""
    text = f"--no-index\n--find-links {wheels}\nalpha"
    asked = EnvironmentSpec(pip_requirements=text)
    plan = UvEnvironments(Settings(remote.root / "planning")).plan(asked)
    definition = {**plan.definition, "seeds": []}  # conda's are in no index of ours

    def make(name: str, machine: str = "", **values: Any) -> TaskSpec:
        place = Ref(PLATFORM_ACCOUNT, "environments", f"versions/{name}.json")
        build = {"definition": definition, "log": ref(remote.root / "logs" / f"{name}.build"), "versions": place}
        values.setdefault("command", "python -c 'import alpha; print(alpha.__version__, alpha.__cached__)'")
        return remote.task(name, machine, environment=plan.key, build=build, **values)

    return make


def packed(remote: Any) -> list[Path]:
    """The packs in the platform's store."""
    return [path for path in files_below(remote.dialled.root / "blobs") if path.name.endswith(".tar.gz")]


def pack_of(task: TaskSpec, compute: str = COMPUTE) -> Pack:
    return Pack(compute, PLATFORM, task.environment)


def test_what_one_machine_has_built_the_next_fetches(remote: Any, task: Any, wheels: Path) -> None:
    first = task("one")
    remote.engine.ensure(first)
    assert remote.changes.ended("one", 60).exit_code == 0
    remote.dialled.until(lambda: remote.dialled.packs.open(pack_of(first)))
    for file in wheels.iterdir():
        file.unlink()
    remote.dialled.join("far-2", "127.0.0.1")
    second = task("two", "far-2")
    remote.engine.ensure(second)
    state = remote.changes.ended("two", 60)
    assert state.exit_code == 0, state.error
    version, cached = Path(second.log.name).read_text().split()
    assert version == "1.0" and Path(cached).exists() and "/far-2/" in cached
    assert "another machine has built" in (remote.root / "logs" / "two.build").read_text()
    remote.dialled.until(lambda: not list(remote.root.glob("*/envs/packs/*")))  # nothing is left of the way
    assert remote.dialled.own.open(Ref(PLATFORM_ACCOUNT, "environments", "versions/two.json")) is not None


def test_where_the_store_has_lost_it_the_next_builds(remote: Any, task: Any) -> None:
    first = task("one")
    remote.engine.ensure(first)
    assert remote.changes.ended("one", 60).exit_code == 0
    remote.dialled.until(lambda: remote.dialled.packs.open(pack_of(first)))
    (stored,) = packed(remote)
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    remote.dialled.join("far-2", "127.0.0.1")
    remote.engine.ensure(task("two", "far-2"))
    assert remote.changes.ended("two", 60).exit_code == 0
    remote.dialled.until(lambda: remote.dialled.packs.open(pack_of(first)))
    (again,) = packed(remote)
    assert again.read_bytes() != bytes(data), "what is torn is forgotten, and the next is stored"


class Torn:
    """A blob of 3 MiB, of which the store gives one."""

    size = 3 << 20

    def read(self, start: int, length: int) -> bytes:
        if start:
            raise OSError("the store has cut it off")
        return bytes(length)

    def close(self) -> None: ...


class Other(Torn):
    """What was stored, but no pack."""

    def read(self, start: int, length: int) -> bytes:
        return bytes(min(length, self.size - start))


@pytest.mark.parametrize("found", [Torn(), Other(), StoreAway("it answers 503")], ids=["torn", "no pack", "503"])
def test_what_cannot_be_fetched_is_built(remote: Any, task: Any, monkeypatch: Any, found: Any) -> None:
    def opened(pack: Pack) -> Any:
        if isinstance(found, Exception):
            raise found
        return found, hashlib.sha256(bytes(Other.size)).hexdigest()

    monkeypatch.setattr(remote.dialled.packs, "open", opened)
    remote.engine.ensure(task("one"))
    state = remote.changes.ended("one", 60)
    assert state.exit_code == 0, state.error
    said = (remote.root / "logs" / "one.build").read_text()
    assert "Built in" in said and ("It cannot be used: it is torn" in said) == isinstance(found, Other)


def test_what_was_compiled_while_no_service_was_there_is_packed_by_the_next(remote: Any, task: Any) -> None:
    builds, one = remote.dialled.service._builds, task("one")
    is_over = builds._is_over
    builds._is_over = lambda name: not name.startswith("compile-") and is_over(name)
    remote.engine.ensure(one)
    assert remote.changes.ended("one", 60).exit_code == 0
    name = builds._compiling(one.environment).name
    remote.dialled.until(lambda: (state := builds._engine.observe(name)) and state.phase is Phase.EXITED, 60)
    remote.dialled.stop_node()
    assert not packed(remote)
    remote.dialled.start_node()
    remote.dialled.until(lambda: remote.dialled.packs.open(pack_of(one)), 60)


def test_what_a_service_before_has_packed_is_stored_by_the_next(remote: Any, line: Any) -> None:
    remote.dialled.stop_node()
    layout = Layout(remote.dialled.settings("s").envs)
    for path, text in (
        (layout.marker(KEY), json.dumps({"interpreter": sys.executable})),
        (layout.packed(KEY), "packed"),
        (layout.fetched("cd" * 20).with_suffix(".part"), "half"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    remote.dialled.start_node()
    remote.dialled.until(lambda: line("GET", platform=platform_of(sys.executable)).text == "packed")
    remote.dialled.until(lambda: not list(layout.packed(KEY).parent.iterdir()))


def test_a_task_has_not_ended_before_the_platform_knows_its_versions(remote: Any, task: Any, monkeypatch: Any) -> None:
    away, told = [True], []
    write = remote.dialled.own.store

    def store(path: Path, place: Ref) -> None:
        if place.name.startswith("versions/"):
            told.append(place)
            if away[0]:
                raise OSError("the store is away")
        write(path, place)

    monkeypatch.setattr(remote.dialled.own, "store", store)
    remote.engine.ensure(task("one", command="true"))
    remote.changes.until("one", lambda state: state.phase == "finalizing")
    assert remote.engine.observe("one").outcome is None
    away[0] = False
    assert remote.changes.ended("one", 60).outcome is Outcome.EXITED and len(told) > 1


def ask(
    remote: Any, method: str, key: str = KEY, platform: str = PLATFORM, token: str = "", data: bytes | None = None
) -> httpx.Response:
    return httpx.request(
        method,
        f"http://127.0.0.1:{remote.dialled.port}{PREFIX}/environment",
        params={"key": key, "platform": platform},
        headers={"Authorization": f"Bearer {token or remote.dialled.token}"},
        content=data,
    )


@pytest.fixture
def line(remote: Any) -> Callable[..., httpx.Response]:
    """`ask` by the remote engine's machine, which has been told to have KEY."""
    given(remote, remote.dialled.node)

    return partial(ask, remote)


def given(remote: Any, node: str) -> None:
    with remote.dialled.database.write() as connection:
        node_environments.give(connection, node, KEY)


def test_a_server_that_starts_again_knows_what_a_machine_was_told_to_have(remote: Any, task: Any) -> None:
    one = task("one")
    remote.engine.ensure(one)
    assert remote.changes.ended("one", 60).exit_code == 0
    remote.engine.remove("one")
    remote.dialled.until(lambda: remote.dialled.packs.open(pack_of(one)), 60)
    remote.dialled.stop_server()
    remote.dialled.start_server()
    asked = partial(ask, remote, key=one.environment)
    assert asked("GET").status_code == 200
    with remote.dialled.database.write() as connection:
        nodes.remove(connection, remote.dialled.node)
        _, token = nodes.add(connection, remote.dialled.node, COMPUTE, {}, time.time())
    assert asked("GET", token=token).status_code == 410, "another machine of that name"


def test_the_first_is_kept_and_given_with_its_hash(remote: Any, line: Any) -> None:
    assert line("HEAD").status_code == line("GET").status_code == 404
    data = bytes(range(256)) * (12 << 10)
    assert line("PUT", data=data).json() == {"sha256": hashlib.sha256(data).hexdigest()}
    found = line("GET")
    assert found.content == data and found.headers["x-smalt-sha256"] == hashlib.sha256(data).hexdigest()
    assert line("HEAD").status_code == 200
    again = line("PUT", data=b"another")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "EnvironmentPacked")
    assert line("GET").content == data
    assert line("GET", platform="Linux-riscv64").status_code == 404


def test_only_machines_of_the_same_cluster_that_need_it_have_it(remote: Any, line: Any) -> None:
    assert line("PUT", data=b"data").status_code == 200
    for method in ("GET", "HEAD", "PUT"):
        assert line(method, key="cd" * 20, data=b"x" if method == "PUT" else None).status_code == 410
        assert line(method, token="wrong").status_code == 401
    with remote.dialled.database.write() as connection:
        _, token = nodes.add(connection, "other", "/computes/another", {}, time.time())
    assert line("GET", token=token).status_code == 410
    given(remote, "other")
    assert line("GET", token=token).status_code == 404, "what one cluster's machines make is not another's"


def test_what_jobs_could_have_changed_is_not_taken(remote: Any, line: Any) -> None:
    for level in ("off", "none", "files", ""):
        with remote.dialled.database.write() as connection:
            nodes.note(connection, remote.dialled.node, isolation=level)
        refused = line("PUT", data=b"data")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "NodeWithoutWalls")
        assert line("HEAD").status_code == 403
    assert line("GET").status_code == 404


@pytest.mark.parametrize(
    ("key", "platform"), [("", PLATFORM), ("../" + KEY, PLATFORM), (KEY, ""), (KEY, "a/b"), (KEY, "x" * 201)]
)
def test_names_that_make_no_sense_are_refused(line: Any, key: str, platform: str) -> None:
    assert line("GET", key=key, platform=platform).status_code == 400


def test_what_could_not_be_stored_may_be_tried_again(remote: Any, line: Any, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote.dialled.own, "store", full)
    refused = line("PUT", data=b"data")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "InsufficientStorage")
    monkeypatch.undo()
    assert line("HEAD").status_code == 404 and line("PUT", data=b"data").status_code == 200
    with remote.dialled.database.read() as connection:
        assert len(resources.keys_of_kind(connection, "environmentpacks")) == 1


def test_a_blob_that_is_gone_is_none(remote: Any, line: Any) -> None:
    assert line("PUT", data=b"data").status_code == 200
    (stored,) = packed(remote)
    stored.unlink()
    assert line("GET").status_code == 404 and line("PUT", data=b"data").status_code == 200


def test_what_a_full_platform_does_not_take_is_not_sent_again(remote: Any, line: Any, monkeypatch: Any) -> None:
    sent: list[object] = []

    def full(*given: Any) -> None:
        sent.append(given)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote.dialled.own, "store", full)
    remote.dialled.stop_node()
    layout = Layout(remote.dialled.settings("s").envs)
    for path, text in (
        (layout.marker(KEY), json.dumps({"interpreter": sys.executable})),
        (layout.packed(KEY), "packed"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    remote.dialled.start_node()
    remote.dialled.until(lambda: not layout.packed(KEY).exists())
    assert len(sent) == 1 and line("HEAD").status_code == 404


def test_what_is_fetched_for_nobody_does_not_stay(remote: Any, task: Any, monkeypatch: Any) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def opened(pack: Pack) -> Any:
        asked.set()
        assert go_on.wait(PATIENCE_S)
        return Other(), hashlib.sha256(bytes(Other.size)).hexdigest()

    monkeypatch.setattr(remote.dialled.packs, "open", opened)
    remote.engine.ensure(task("one"))
    assert asked.wait(PATIENCE_S)
    remote.engine.stop("one", 0)
    assert remote.changes.ended("one", 60).outcome is Outcome.STOPPED
    go_on.set()
    builds = remote.dialled.service._builds
    remote.dialled.until(lambda: not builds._fetching and not list(remote.root.glob("*/envs/packs/*")))
