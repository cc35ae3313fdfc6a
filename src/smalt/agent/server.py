"""An inference server as a task's process: where it finds its model, and what is started.

The model is below the task's `model/` under its own name, mounted read-only; by hard links where the machine allows no
mounts. Never by a symbolic link: MLflow refuses to load a model whose path leads out of its folder. The code is in the
working directory, as a command's is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smalt.agent.barrier import Barrier
from smalt.agent.beneath import held
from smalt.agent.failures import SetupError
from smalt.agent.journal import Journal
from smalt.agent.landlock import Fence
from smalt.agent.wire import CollectorSpec, Places, ServerSpec

_SERVE = Path(__file__).parent / "inject" / "serve.py"
_CONFIG = "server.json"
_AGAIN = "Register what is there now as a new version, and deploy that."


def prepare_server(
    server: ServerSpec,
    places: Places,
    own: Path,
    mounts: Barrier,
    journal: Journal,
    outputs: Mapping[str, str],
) -> tuple[list[str], dict[str, str]]:
    """What to run, and the variables that say to the user's code where things are. Raises SetupError.

    `own` is what the process sees of the task's folder; the code is below it, in `work`. `outputs`: by name.
    """
    models, code = own / "model", own / "work"
    models.mkdir()
    model = models
    if server.model:
        check(places.path(server.model), server, places.store)
        model = _lay_out(places.path(server.model), models, mounts, journal, places.store)
    ours = ("model", "files", "sealed", "script", "collector")
    config = {name: value for name, value in asdict(server).items() if name not in ours}
    config["model_dir"] = str(models if server.script else model)
    if server.collector:
        config["collector"] = _collector(server.collector, outputs)
    variables = {"AZUREML_MODEL_DIR": str(models)}
    if server.script:
        config |= {"mode": "script", "entry_script": str(code / server.script), "app_root": str(code)}
        variables |= {"AML_APP_ROOT": str(code), "AZUREML_ENTRY_SCRIPT": server.script}
    else:
        config["mode"] = "mlflow"
    (own / _CONFIG).write_text(json.dumps(config))
    listen = ["--socket", places.address.path] if places.address.path else ["--port", str(places.address.port)]
    return ["python", str(_SERVE), *listen, "--config", str(own / _CONFIG)], variables


def check(model: Path, server: ServerSpec, base: str) -> None:
    """Raises SetupError where a file of the model is not what it was when the model was registered.

    Files that came later are let be, unless `sealed`: whoever loads the model asks for those it names.
    """
    if server.sealed and (more := sorted(_names(model, base) - server.files.keys())):
        raise SetupError(f"The model's file '{more[0]}' came after it was registered, and is not loaded. {_AGAIN}")
    for name, wanted in server.files.items():
        path = model / name if name else model
        try:
            found = _sha256(path, base)
        except OSError:
            raise SetupError(
                f"The model's file '{name or model.name}' is gone since it was registered. {_AGAIN}"
            ) from None
        if found != wanted:
            said = f"The model's file '{name or model.name}' is another than when it was registered"
            raise SetupError(f"{said} (SHA-256 {found[:12]}…, then {wanted[:12]}…), and is not loaded. {_AGAIN}")


def _names(model: Path, base: str) -> set[str]:
    """Of its files, below it; '' where it is one itself."""
    if not model.is_dir():
        return {""}
    with held(model, base) as opened:
        return {os.path.relpath(Path(at, name), opened) for at, _, names in os.walk(opened) for name in names}


def _sha256(path: Path, base: str) -> str:
    with held(path, base) as opened, os.fdopen(os.open(opened, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _collector(spec: CollectorSpec, outputs: Mapping[str, str]) -> dict[str, Any]:
    collections = [asdict(one) | {"folder": outputs[one.output]} for one in spec.collections]
    return {**asdict(spec), "collections": {one.pop("name"): one for one in collections}}


def _lay_out(model: Path, folder: Path, mounts: Barrier, journal: Journal, base: str) -> Path:
    place = folder / model.name
    if model.is_dir():
        place.mkdir()
    elif model.is_file():
        place.touch()
    else:
        raise SetupError(f"The model of this deployment is gone: nothing is at {model}. Register it again.")
    if mounts.bind_read_only(model, place, base):
        return place
    journal.say(f"the model is not write-protected: {mounts.refused}")
    bring = shutil.copy2 if isinstance(mounts, Fence) else _link  # through a link it could write into the store
    with held(model, base) as opened:
        if model.is_dir():
            shutil.copytree(opened, place, symlinks=True, copy_function=bring, dirs_exist_ok=True)
        else:
            place.unlink()
            bring(str(opened), str(place))
    return place


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
