"""What MLflow's clients do to runs, taken over into ARM's jobs before they have their answer.

The two are one (`arm/runs.py`). Calls that only log what a run measures are not looked at. What cannot be taken
over now stays noted in MLflow's tables, and is taken over later (`kinds/jobs/job_runs.py`): the client's call has
been done, and is answered so.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from smalt.arm.ports import NotReady
from smalt.arm.runs import JobRuns

_CALL = re.compile(r"/(?:ajax-)?api/\d\.0/(?:preview/)?mlflow/(runs|experiments)/([a-z-]+)")
_ONE = frozenset({"create", "update", "delete", "restore", "set-tag", "delete-tag", "log-batch", "log-batch-async"})
_MANY = frozenset({"update", "delete", "restore"})  # of an experiment: with all its runs

_log = logging.getLogger(__name__)


class RunEdge:
    def __init__(self, jobs: JobRuns) -> None:
        self._jobs = jobs

    def after(self, rest: str, body: bytes, answer: bytes, by: str) -> None:
        """After a call that MLflow did; `rest` is its path below the workspace, `by` who asked."""
        found = _CALL.fullmatch(rest)
        if found is None or found[2] not in (_ONE if found[1] == "runs" else _MANY):
            return
        if found[2].startswith("log-batch") and b'"tags"' not in body and body.startswith(b"{"):
            return
        try:
            run_id = _run_id(body, answer) if found[1] == "runs" else ""
            if run_id:
                self._jobs.take_over([run_id], by)
                return
            while self._jobs.take_over_all():
                pass
        except (NotReady, SQLAlchemyError) as error:
            _log.warning("A run was changed, and its job hears of it later: %s", error)


def _run_id(body: bytes, answer: bytes) -> str:
    """The run that a call is about; '' where neither question nor answer says it in plain JSON."""
    for text in (answer, body):
        try:
            said: Any = json.loads(text)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        info = (said.get("run") or {}).get("info") or said
        if run_id := info.get("run_id") or info.get("run_uuid"):
            return str(run_id)
    return ""
