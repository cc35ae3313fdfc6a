"""An inference server as a task's process: where it finds its model, and what is started.

The model lies under its own name in the task's `model/`: mounted behind walls, else by hard links, for MLflow refuses
to load one whose path leads out of its folder, as a symlink's does. The code is in the working directory, as a
command's is.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from smalt.agent.barrier import Barrier
from smalt.agent.failures import SetupError
from smalt.agent.landlock import Fence
from smalt.agent.walls import Walls
from smalt.agent.wire import Places, ServerSpec

_SERVE = Path(__file__).parent / "inject" / "serve.py"
_CONFIG = "server.json"


def prepare_server(server: ServerSpec, places: Places, home: Path, mounts: Barrier) -> tuple[list[str], dict[str, str]]:
    """What to run, and the variables that say to the user's code where things are. Raises SetupError.

    `home` is what the process sees of the task's folder; the code is below it, in `work`.
    """
    models, code = home / "model", home / "work"
    models.mkdir()
    model = _lay_out(places.path(server.model), models, places.store, mounts) if server.model else models
    config = {name: value for name, value in asdict(server).items() if name not in ("model", "script")}
    config["model_dir"] = str(models if server.script else model)
    variables = {"AZUREML_MODEL_DIR": str(models)}
    if server.script:
        config |= {"mode": "script", "entry_script": str(code / server.script), "app_root": str(code)}
        variables |= {"AML_APP_ROOT": str(code), "AZUREML_ENTRY_SCRIPT": server.script}
    else:
        config["mode"] = "mlflow"
    (home / _CONFIG).write_text(json.dumps(config))
    listen = ["--socket", places.address.path] if places.address.path else ["--port", str(places.address.port)]
    return ["python", str(_SERVE), *listen, "--config", str(home / _CONFIG)], variables


def _lay_out(model: Path, folder: Path, base: str, mounts: Barrier) -> Path:
    place, bring = folder / model.name, shutil.copy2 if isinstance(mounts, Fence) else _link
    try:
        if isinstance(mounts, Walls):  # a hard link would let the process write into the store
            place.mkdir() if model.is_dir() else place.touch()
            mounts.bind_read_only(model, place, base)
        elif model.is_dir():
            shutil.copytree(model, place, symlinks=True, copy_function=bring)
        else:
            bring(str(model), str(place))
    except FileNotFoundError:
        raise SetupError(f"The model of this deployment is gone: nothing is at {model}. Register it again.") from None
    return place


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
