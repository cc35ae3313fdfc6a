"""Inference servers as tasks: real ones, asked where the engine says that they listen."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.carriers import BOTH
from fakes.refs import FINDER, ref
from live.patience import ANSWER_S
from live.platform import eventually
from smalt.agent.wire import Address, Outcome, Probe, ServerSpec
from smalt.engines.local import LocalEngine

pytestmark = BOTH

SCORE = """
import os, pathlib
def init():
    global model
    pathlib.Path("written").write_text("x")
    weights = pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "m", "weights")
    model = weights.read_text()
    try:
        weights.write_text("changed")
    except OSError:
        pass
def run(data):
    return [model, data, os.getcwd()]
"""


class Line(http.client.HTTPConnection):
    def __init__(self, address: Address) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._address.path)


def score(address: Address) -> bytes:
    line = Line(address)
    line.request("POST", "/score", "[1]", {"Content-Type": "application/json"})
    try:
        return line.getresponse().read()
    finally:
        line.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store" / "m").mkdir(parents=True)
    (tmp_path / "store" / "m" / "weights").write_text("w")
    (tmp_path / "store" / "code").mkdir()
    (tmp_path / "store" / "code" / "score.py").write_text(SCORE)
    return tmp_path / "store"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> str:
    prefix = tmp_path_factory.mktemp("env") / "env"
    subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", prefix], check=True)  # type: ignore[attr-defined]
    return str(prefix)


def serve(local: Any, store: Path, name: str = "t", **values: Any) -> Any:
    """In the open; `workspace` puts walls around it, where the machine can."""
    server = ServerSpec(ref(store / "m"), "score.py", "blue")
    task = local.task(name, server=server, code=ref(store / "code"), ready=Probe("/ready"), command="", **values)
    local.engine.ensure(task)
    return local.changes.until(name, lambda state: state.ready)


@pytest.mark.parametrize("workspace", ["", "/subscriptions/s/workspaces/w"])
def test_it_serves_the_model_where_its_state_says(local: Any, store: Path, environment: str, workspace: str) -> None:
    local.settings.tls.mkdir()
    (local.settings.tls / "bundle.pem").touch()
    state = serve(local, store, workspace=workspace, environment=environment)
    work = local.folder("t") / "user" / "work"
    assert score(state.address) == f'["w", "[1]", "{work}"]'.encode()
    assert sorted(one.name for one in (store / "code").iterdir()) == ["score.py"], "what it writes is its own"
    assert (store / "m" / "weights").read_text() == "w"
    local.engine.stop("t", 5)
    assert local.changes.ended("t").outcome is Outcome.STOPPED


def test_its_socket_goes_with_it(local: Any, store: Path) -> None:
    path = Path(serve(local, store).address.path)
    assert path.is_socket()
    local.engine.remove("t")
    assert not path.parent.exists() and (store / "m" / "weights").read_text() == "w"


def test_two_with_long_names_listen_at_different_places(local: Any, store: Path) -> None:
    first, second = (serve(local, store, "x" * 100 + end).address for end in "ab")
    assert first != second and len(first.path) < 100


def test_one_of_an_older_version_is_found_where_it_listens(local: Any, store: Path) -> None:
    """Its agent did not say: the socket was always called as the task is."""
    address = serve(local, store).address
    state = local.folder("t") / "state.json"
    state.write_text(state.read_text().replace(f'"address": "{address}", ', ""))
    assert "address" not in state.read_text()
    assert local.engine.observe("t").address == f"unix:{local.settings.run}/t.sock"


def test_tasks_of_a_workspace_trust_the_platforms_certificates(local: Any) -> None:
    local.engine.close()
    local.engine = LocalEngine(local.settings, replace(FINDER, ca_bundle="/tls/bundle.pem"))
    local.changes = type(local.changes)(local.engine)
    command = "echo $REQUESTS_CA_BUNDLE $SSL_CERT_FILE"
    local.settings.tls.mkdir()
    (local.settings.tls / "bundle.pem").touch()
    _, log = local.run(command=command, workspace="/w", variables={"SSL_CERT_FILE": "own"})
    assert log == "/tls/bundle.pem own\n"
    assert local.run("platform", command=command)[1] == "\n"


def test_what_does_not_listen_has_no_address(local: Any) -> None:
    state, log = local.run(command="echo ${SMALT_LISTEN:-nowhere}")
    assert (state.address, log) == ("", "nowhere\n")


def test_what_an_older_version_kept_of_replicas_goes_once_they_are_gone(local: Any) -> None:
    local.engine.ensure(local.task("srv-1-lives", command="sleep 60"))
    older = local.settings.root / "serving" / "1"
    for name in ("srv-1-lives", "srv-1-gone"):
        (older / name / "model").mkdir(parents=True)
        (older / name / "model" / "weights").touch()
    local.engine.close()
    local.engine = LocalEngine(local.settings, FINDER)
    eventually(lambda: not (older / "srv-1-gone").exists(), "it goes, behind the start")
    assert [one.name for one in older.iterdir()] == ["srv-1-lives"]
