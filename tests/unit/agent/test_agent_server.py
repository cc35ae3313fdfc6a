"""What an inference server finds in its task's folder, on real files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fakes.refs import FINDER, ref
from smalt.agent.failures import SetupError
from smalt.agent.journal import Journal
from smalt.agent.mounts import Namespace
from smalt.agent.server import prepare_server
from smalt.agent.wire import Address, ServerSpec, TaskSpec

SOCKET = Address("unix:/run/t.sock")


class Refused(Namespace):
    """A machine that allows no mounts."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = "this machine allows no mount namespaces"


def prepare(own: Path, server: ServerSpec, address: Address = SOCKET) -> tuple[list[str], dict[str, str]]:
    own.mkdir()
    places = FINDER.places(TaskSpec("t", "/o", server=server), address)
    return prepare_server(server, places, own, Refused(), Journal(own / "system.log"), {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "model-1"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "weights").write_text("w")
    return folder


def test_a_model_is_laid_out_without_a_link_that_leads_out(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "t"
    argv, variables = prepare(home, ServerSpec(ref(model), "score.py", "blue", 3, 1.5))
    place = Path(variables["AZUREML_MODEL_DIR"])
    assert (place / "model-1" / "data" / "weights").resolve().is_relative_to(place)
    assert (place / "model-1" / "data" / "weights").samefile(model / "data" / "weights")
    assert "not write-protected" in (home / "system.log").read_text()
    assert json.loads((home / "server.json").read_text()) == {
        "mode": "script",
        "entry_script": str(home / "work" / "score.py"),
        "app_root": str(home / "work"),
        "model_dir": str(place),
        "deployment": "blue",
        "max_concurrent": 3,
        "request_timeout_s": 1.5,
    }
    assert variables["AML_APP_ROOT"] == str(home / "work") and variables["AZUREML_ENTRY_SCRIPT"] == "score.py"
    assert argv[0] == "python" and Path(argv[1]).is_file()
    assert argv[2:] == ["--socket", "/run/t.sock", "--config", str(home / "server.json")]


def test_without_a_script_mlflow_loads_the_model_itself(tmp_path: Path, model: Path) -> None:
    _, variables = prepare(tmp_path / "t", ServerSpec(ref(model)))
    config = json.loads((tmp_path / "t" / "server.json").read_text())
    assert (config["mode"], config["model_dir"]) == ("mlflow", str(tmp_path / "t" / "model" / "model-1"))
    assert set(variables) == {"AZUREML_MODEL_DIR"}


def test_a_model_may_be_a_file_or_none(tmp_path: Path, model: Path) -> None:
    prepare(tmp_path / "t", ServerSpec(ref(model / "data" / "weights"), "score.py"))
    assert (tmp_path / "t" / "model" / "weights").read_text() == "w"
    argv, _ = prepare(tmp_path / "u", ServerSpec(script="score.py"), Address("127.0.0.1:8080"))
    assert list((tmp_path / "u" / "model").iterdir()) == [] and argv[2:4] == ["--port", "8080"]


def test_a_model_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="model of this deployment is gone"):
        prepare(tmp_path / "t", ServerSpec(ref(tmp_path / "none"), "score.py"))


def test_a_model_that_changed_since_it_was_registered_is_not_loaded(tmp_path: Path, model: Path) -> None:
    files = {"data/weights": hashlib.sha256(b"w").hexdigest()}
    prepare(tmp_path / "same", ServerSpec(ref(model), "score.py", files=files))
    (model / "later.txt").write_text("let be")
    prepare(tmp_path / "more", ServerSpec(ref(model), "score.py", files=files))
    with pytest.raises(SetupError, match=r"'later.txt' came after it was registered"):
        prepare(tmp_path / "sealed", ServerSpec(ref(model), "score.py", files=files, sealed=True))
    prepare(
        tmp_path / "file", ServerSpec(ref(model / "data" / "weights"), "score.py", files={"": files["data/weights"]})
    )
    (model / "data" / "weights").write_text("x")
    with pytest.raises(SetupError, match=r"'data/weights' is another than when it was registered.*Register what is"):
        prepare(tmp_path / "other", ServerSpec(ref(model), "score.py", files=files))
    (model / "data" / "weights").unlink()
    with pytest.raises(SetupError, match="'data/weights' is gone"):
        prepare(tmp_path / "gone", ServerSpec(ref(model), "score.py", files=files))
