"""How MLflow's process is started: `python -m smalt.tracking.process.mlflow_server --root DIR`.

Light on purpose: the supervisor imports it for `command`. Started, it sets what MLflow reads from the environment while
it is imported and becomes `smalt.mlflow_main` (the same pid).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from smalt.config import read_settings
from smalt.settings import Settings, SettingsError

NAME = "mlflow"  # as the supervisor knows it, which starts it when somebody needs it
_CLIENT_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_WORKSPACE",
    "MLFLOW_WORKSPACE_STORE_URI",
)


def command(settings: Settings) -> list[str]:
    """The process to start; nothing secret in it. SIGTERM ends it; it may be killed and started again at any time."""
    return [sys.executable, "-m", "smalt.tracking.process.mlflow_server", *_arguments(settings)]


def environment(settings: Settings) -> dict[str, str]:
    """MLflow's own settings, but for its database. What runs code or calls out on behalf of a user is off."""
    return {
        "_MLFLOW_SERVER_ARTIFACT_ROOT": f"{settings.url}/mlflow/no-workspace",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "smalt-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",  # the edge checks hosts, origins and tokens
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_ASSISTANT": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def settings_of(arguments: Sequence[str]) -> Settings:
    parser = argparse.ArgumentParser(
        prog="smalt.tracking.process.mlflow_server", description="MLflow on a unix socket."
    )
    parser.add_argument("--root", type=Path, required=True)
    try:
        return read_settings(parser.parse_args(arguments).root.absolute())
    except SettingsError as error:
        sys.exit(f"smalt: {error}")


def main(arguments: Sequence[str]) -> None:
    settings = settings_of(arguments)
    variables = {name: value for name, value in os.environ.items() if name not in _CLIENT_VARIABLES}
    started = [sys.executable, "-m", "smalt.mlflow_main", *_arguments(settings)]
    os.execve(sys.executable, started, variables | environment(settings))


def _arguments(settings: Settings) -> list[str]:
    return ["--root", str(settings.root)]


if __name__ == "__main__":
    main(sys.argv[1:])
