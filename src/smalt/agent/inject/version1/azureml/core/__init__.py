"""`azureml.core` for jobs whose environment has no azureml-core: `Run.get_context()`, over MLflow's protocol.

What scripts use of it besides is told in one line what to write instead. What is installed goes first: this is the last
place where Python looks. There is no `azureml.core.run`: libraries that look for that log to it by themselves.

As with azureml-core, a row or table is a metric for each column, `NAME/COLUMN`, and text is no metric.
"""

from __future__ import annotations

import json
import math
import os
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterable, Mapping
from urllib.parse import urlencode

__all__ = ["Run"]
_HINT = (
    "azureml.core is the SDK of version 1, which this environment does not have: of it a job has Run.get_context(),"
    " with log, log_list, log_row, log_table, log_image, tag, get_metrics, upload_file, upload_folder, register_model."
    " Write MLflow's calls in place of the others, or add azureml-core to the environment"
)
_TIMEOUT_S = 120.0
_AT_ONCE = 1000  # metrics in a request, as MLflow has it
_AGAIN = (408, 429, 500, 502, 503, 504)  # as MLflow's own client asks again
_PAUSES_S = tuple(0.25 * 2**number for number in range(9))  # two minutes: a restart of the platform ends no job


class Run:
    """The run of this job."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._logged: Counter[str] = Counter()

    @classmethod
    def get_context(cls, allow_offline: bool = True) -> Run:
        global _context
        if _context is None:
            run_id = os.environ.get("MLFLOW_RUN_ID", "")
            if not run_id:
                raise RuntimeError(f"Run.get_context(): this is no job. {_HINT}.")
            _context = cls(run_id)
        return _context

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        self._log([(name, value)], step)

    def log_list(self, name: str, value: Iterable[Any], description: str = "") -> None:
        self._log([(name, one) for one in value])

    def log_row(self, name: str, description: str | None = None, **columns: Any) -> None:
        self._log([(f"{name}/{column}", value) for column, value in columns.items()])

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        columns = {key: one if isinstance(one, (list, tuple)) else [one] for key, one in value.items()}
        self._log([(f"{name}/{column}", one) for column, values in columns.items() for one in values])

    def log_image(self, name: str, path: str | None = None, plot: Any = None, description: str = "") -> None:
        if plot is None:
            assert path is not None, "log_image has either a path or a plot"
            self.upload_file(f"{name}{Path(path).suffix}", path)
            return
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "picture.png")
            plot.savefig(picture)
            self.upload_file(f"{name}.png", str(picture))

    def tag(self, key: str, value: Any = None) -> None:
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        written = [{"key": str(key), "value": "" if value is None else str(value)} for key, value in tags.items()]
        _ask("runs/log-batch", {"run_id": self.id, "tags": written})

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """The last value of each."""
        data = _ask(f"runs/get?{urlencode({'run_id': self.id})}")["run"].get("data", {})
        found = {one["key"]: float(one["value"]) for one in data.get("metrics", [])}
        return found if name is None else {key: value for key, value in found.items() if key == name}

    def upload_file(self, name: str, path_or_stream: Any, datastore_name: str | None = None) -> None:
        """`name` is the artifact's, with its folders."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, Path(name).name)
            is_stream = hasattr(path_or_stream, "read")
            copy.write_bytes(path_or_stream.read() if is_stream else Path(path_or_stream).read_bytes())
            above = str(Path(name).parent)
            _mlflow().MlflowClient().log_artifact(self.id, str(copy), None if above == "." else above)

    def upload_folder(self, name: str, path: str, datastore_name: str | None = None) -> None:
        _mlflow().MlflowClient().log_artifacts(self.id, path, name)

    def register_model(self, model_name: str, model_path: str | None = None, tags: Any = None, **more: Any) -> Any:
        where = f"runs:/{self.id}/{model_path or model_name}"
        return _mlflow().register_model(where, model_name, tags=tags and {k: str(v) for k, v in tags.items()})

    def flush(self, timeout_seconds: float = 300) -> None:
        """Whatever was logged is kept already."""

    def complete(self, **_: Any) -> None:
        """The job's end is the run's."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Run.{name}: {_HINT}.")

    def _log(self, values: list[tuple[str, Any]], step: int | None = None) -> None:
        """A value without a step has the next one of its name."""
        now, written = int(time.time() * 1000), []
        for name, value in values:
            at = self._logged[name] if step is None else int(step)
            written.append({"key": name, "value": _number(name, value), "timestamp": now, "step": at})
            self._logged[name] += 1
        for first in range(0, len(written), _AT_ONCE):
            _ask("runs/log-batch", {"run_id": self.id, "metrics": written[first : first + _AT_ONCE]})


_context: Run | None = None


def _number(name: str, value: Any) -> Any:
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"'{name}' cannot be logged: {str(value)[:80]!r} is no number. Write run.tag('{name}', …) for a text."
        ) from None
    if math.isfinite(found):
        return found
    return "NaN" if math.isnan(found) else "Infinity" if found > 0 else "-Infinity"  # as JSON of protocol buffers


def _ask(call: str, body: Mapping[str, Any] | None = None) -> Any:
    """MLflow's REST, also where it is not there for a while: what is asked twice is done once. Raises RuntimeError."""
    request = urllib.request.Request(
        f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{call}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}", "Content-Type": "application/json"},
    )
    for pause_s in (*_PAUSES_S, None):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=_trust()) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            said = f" ({error.code}): {error.read(4096).decode(errors='replace')}"
            again = error.code in _AGAIN
        except OSError as error:
            said = f": {error}"
            again = not isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)
        if pause_s is None or not again:
            raise RuntimeError(f"The run could not be written or read{said}")
        time.sleep(pause_s)
    raise AssertionError("unreachable")


@lru_cache(maxsize=None)
def _trust() -> ssl.SSLContext:
    """Read once: a file of certificates takes longer than to log a number."""
    return ssl.create_default_context()


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError:
        raise ImportError(f"mlflow is not installed in this environment, and uploads need it. {_HINT}.") from None
    return mlflow


def __getattr__(name: str) -> Any:
    """`import` alone is told so by an ImportError: who looks through all modules, as `pickle` does, expects another."""
    if name.startswith("__"):
        raise AttributeError(name)
    imports = sys._getframe(1).f_code.co_name == "_handle_fromlist"
    raise (ImportError if imports else AttributeError)(f"azureml.core.{name}: {_HINT}.")
