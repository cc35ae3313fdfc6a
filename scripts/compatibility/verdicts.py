"""A row's verdict: what happened in its process, held against the clock, in one line."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from azure.core.exceptions import HttpResponseError

_LINE = 300
RESULTS = ("works", "fails", "not confirmed", "not yet", "upstream")  # the third is said by hand alone

# Rows that end with this error whatever the service is, and why.
_UPSTREAM = {
    **{
        f"cli/endpoints/batch/deploy-pipelines/{path}/pipeline-job.yml": (
            "MlException",
            "its input has no path; the script beside it gives one on the command line",
        )
        for path in ("batch-scoring-with-preprocessing", "training-with-components/deployment-ordinal")
    },
    "cli/jobs/parallel/1a_oj_sales_prediction/pipeline.yml": (
        "JobException",
        "its MLflow, of no version, refuses to save what its scikit-learn 1.2 trains (types that skops does not trust)",
    ),
    "sdk/python/resources/registry/registry-create.ipynb": (
        "NameError: name 'sys'",
        "it uses sys without importing it",
    ),
    "sdk/python/using-mlflow/train-and-log/keras_mnist_with_mlflow.ipynb": (
        "KeyError: 'keras'",
        "it opens with mlflow.keras what mlflow.tensorflow wrote, two flavors to the MLflow of today",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """`error` is None where all went well; `http` is the status of the answer that ended it."""

    error: str | None
    http: int | None


@dataclass(frozen=True)
class Verdict:
    """`result` is "works", or another of `RESULTS`, a colon and the reason."""

    path: str
    kind: str
    result: str
    seconds: float


def judge(path: str, kind: str, needs: str | None, outcome: Outcome, seconds: float) -> Verdict:
    """A row that needs a missing feature is in order if it was refused with a 4xx, and at fault if it was not."""
    if outcome.error is None:
        return Verdict(path, kind, "works", seconds)
    refused = outcome.http is not None and 400 <= outcome.http < 500
    if needs is not None and refused:
        return Verdict(path, kind, f"not yet: needs {needs}", seconds)
    expected, reason = _UPSTREAM.get(path, ("", ""))
    if expected and outcome.error.startswith(expected):
        return Verdict(path, kind, f"upstream: {reason}", seconds)
    return Verdict(path, kind, f"fails: {outcome.error}", seconds)


def in_own_process(work: Callable[[], None], log: Path, limit_s: float) -> tuple[Outcome, float]:
    """Run `work` in a fork with its output in `log`; at the limit the fork and all that it started are killed."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    began = time.monotonic()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(work, log, sender))
    child.start()
    sender.close()
    outcome = Outcome(f"no end within {limit_s:.0f} s", None)
    if receiver.poll(limit_s):
        with contextlib.suppress(EOFError):
            outcome = receiver.recv()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid or 0, signal.SIGKILL)
    child.join()
    return outcome, time.monotonic() - began


def _child(work: Callable[[], None], log: Path, sender: Connection) -> None:
    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            work()
            sender.send(Outcome(None, None))
        except BaseException as error:
            traceback.print_exc()
            sender.send(_outcome(error))


def _outcome(error: BaseException) -> Outcome:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = " ".join(text.split()).replace("|", "\\|")
    note = "".join(f" ({one})" for one in getattr(error, "__notes__", []))
    status = _status(error)
    shown = f"{type(error).__name__}: {text[:_LINE]}{note}"
    return Outcome(shown, status)


def _status(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, HttpResponseError) and error.status_code:
            return error.status_code
        error = error.__cause__ or error.__context__
    return None
