"""What the server is told: the launch file that Smalt writes, and the variables that Azure's own server reads.

The variables' names and defaults are those of azureml-inference-server-http, so that a deployment's
`environment_variables` mean the same here. As there, a `config.json` in the app's folder (or `AZUREML_CONFIG_FILE`)
gives values to variables that are not set.
"""

from __future__ import annotations

import json
import logging.config
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Mapping

SERVER_VERSION = "smalt-inference/1"
DEFAULT_SCORING_TIMEOUT_MS = 3600 * 1000
QUEUE = 100  # requests that wait beyond those in progress, as the gateway counts them (gateway/clusters.py)


class ConfigError(Exception):
    """The launch file or a variable cannot be used; the message says which."""


@dataclass(frozen=True)
class ServeConfig:
    """The launch file.

    - `mode` is `script` (`entry_script` with init() and run()) or `mlflow` (`model_dir` holds an MLmodel).
    - `app_root` is the code folder; it becomes the working folder and goes on `sys.path`.
    - `max_concurrent` is the number of threads that call run(); `WORKER_COUNT`, where set, decides instead.
    - `request_timeout_s` is the time from a request's arrival to its 408; 0 means none.
    - `drain_s` bounds what SIGTERM waits for.
    - `collector` says what is collected and where to (`collecting.py`); empty: nothing.
    """

    mode: str = "script"
    entry_script: str = ""
    model_dir: str = ""
    app_root: str = ""
    deployment: str = ""
    max_concurrent: int = 1
    request_timeout_s: float = 0
    max_body_bytes: int = 100 * 1024 * 1024
    max_batch_rows: int = 256
    drain_s: float = 30
    access_log: bool = False
    collector: dict = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: str) -> ServeConfig:
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as ex:
            raise ConfigError(f"the launch file {path} cannot be read: {ex}") from None
        if not isinstance(raw, dict):
            raise ConfigError(f"the launch file {path} must hold a JSON object")
        known = {one.name for one in fields(cls)}
        config = cls(**{key: value for key, value in raw.items() if key in known})
        config.check()
        return config

    @property
    def most_at_once(self) -> int:
        """Twice as many as the gateway lets in for one instance: it may have those of one that ended, too."""
        return 2 * (max(self.max_concurrent, 1) + QUEUE)

    def check(self) -> None:
        if self.mode not in ("script", "mlflow"):
            raise ConfigError(f"mode must be 'script' or 'mlflow', not {self.mode!r}")
        if self.mode == "script" and not self.entry_script:
            raise ConfigError("mode 'script' needs entry_script, the path of the scoring script")
        if self.mode == "mlflow" and not self.model_dir:
            raise ConfigError("mode 'mlflow' needs model_dir, the folder that holds the MLmodel file")


@dataclass(frozen=True)
class AzureSettings:
    """The variables that a deployment may set, read once at start."""

    service_name: str = "ML service"
    service_version: str = "1.0"
    service_path_prefix: str = ""
    source_dir: str = ""
    scoring_timeout_ms: int = DEFAULT_SCORING_TIMEOUT_MS
    worker_count: int = 0
    cors_origins: tuple = field(default_factory=tuple)
    log_level: str = "INFO"
    server_version: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str], app_root: str, entry_script: str) -> AzureSettings:
        stored = _config_file_values(environ, app_root, entry_script)

        def value(name: str, default: str = "") -> str:
            found = environ.get(name)
            return str(stored.get(name, default)) if found is None else found

        version = environ.get("HTTP_X_MS_SERVER_VERSION", "")
        if environ.get("SERVER_VERSION_LOG_RESPONSE_ENABLED", "true").lower() == "true":
            version = version or SERVER_VERSION
        origins = environ.get("AML_CORS_ORIGINS", "")
        return cls(
            service_name=value("SERVICE_NAME", cls.service_name),
            service_version=value("SERVICE_VERSION", cls.service_version),
            service_path_prefix=value("SERVICE_PATH_PREFIX"),
            source_dir=value("AZUREML_SOURCE_DIRECTORY"),
            scoring_timeout_ms=_integer("SCORING_TIMEOUT_MS", value("SCORING_TIMEOUT_MS"), DEFAULT_SCORING_TIMEOUT_MS),
            worker_count=_integer("WORKER_COUNT", environ.get("WORKER_COUNT", ""), 0),
            cors_origins=tuple(one.strip() for one in origins.split(",") if one.strip()),
            log_level=value("AZUREML_LOG_LEVEL", "INFO").upper(),
            server_version=version,
        )


def load_user_logging(*folders: str) -> str:
    """Applies the first `logging.json` found in the folders, as Azure's server does; returns its path or ''."""
    for folder in folders:
        path = Path(folder, "logging.json")
        if not folder or not path.is_file():
            continue
        try:
            logging.config.dictConfig(json.loads(path.read_text(encoding="utf-8")))
        except Exception as ex:
            raise ConfigError(f"the logging configuration {path} cannot be used: {ex}") from ex
        return str(path)
    return ""


def _integer(name: str, text: str, default: int) -> int:
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"the variable {name} must be a whole number, not {text!r}") from None


def _config_file_values(environ: Mapping[str, str], app_root: str, entry_script: str) -> dict[str, Any]:
    named = environ.get("AZUREML_CONFIG_FILE", "")
    candidates = [Path(named)] if named else []
    candidates += [Path(app_root, "config.json")] if app_root else []
    candidates += [Path(entry_script).parent / "config.json"] if entry_script else []
    for path in candidates:
        if not path.is_file() or path.stat().st_size == 0:
            continue
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as ex:
            # A config.json of the user's own that is not meant for the server must not stop it; Azure's would exit.
            if path == Path(named):
                raise ConfigError(f"AZUREML_CONFIG_FILE {path} cannot be read: {ex}") from None
            continue
        return raw if isinstance(raw, dict) else {}
    return {}
