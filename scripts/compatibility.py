# /// script
# requires-python = ">=3.11"
# dependencies = ["azure-ai-ml", "azure-identity", "azureml-mlflow", "ipython", "matplotlib", "mldesigner", "mlflow<3",
#                 "numpy<2", "pandas<2", "pyyaml", "requests", "scikit-learn==1.5.*", "tensorflow-cpu==2.16.*", "xgboost"]
# ///
"""Run Azure's public examples through the official client against the platform that the environment points to.

    eval "$(smalt env)"; python scripts/compatibility.py --examples CHECKOUT --list known.csv [--only GLOB]

The interpreter is one that has the client, as a user's would (the packages above), not the platform's own.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
from compatibility.assets import create_and_read_back
from compatibility.batch import run_batch_deployment
from compatibility.beyond import attempt
from compatibility.examples import Example, fill_in_file, read_list, working_copy
from compatibility.fixtures import SET, before, set_up
from compatibility.notebooks import run_notebook
from compatibility.report import write_report
from compatibility.runs import run_deployment, run_job
from compatibility.standins import PREPARE, use_stand_ins
from compatibility.verdicts import Verdict, in_own_process, judge

_BEYOND_LIMIT_S = 60


def main() -> None:
    """Print a line for each row, write the table, end with 1 where a row fails."""
    asked = _arguments()
    listed = read_list(asked.list)
    rows = [one for one in listed if not asked.only or any(fnmatch(one.path, glob) for glob in asked.only)]
    logs = asked.logs or Path(tempfile.mkdtemp(prefix="compatibility-logs-"))
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compatibility-") as scratch:
        top = working_copy(asked.examples, Path(scratch))
        outcome, _ = in_own_process(lambda: set_up(_client(), top), logs / "set_up.log", asked.limit)
        if outcome.error is not None:
            raise SystemExit(f"The workspace could not be prepared: {outcome.error} (see {logs / 'set_up.log'})")
        verdicts = [_try(row, top, logs, asked.limit) for row in rows]
    print(f"the output of each row is in {logs}")
    if asked.write:
        write_report(asked.write, verdicts, [one.path for one in listed], f"azure-ai-ml {version('azure-ai-ml')}")
    raise SystemExit(any(one.result.startswith("fails") for one in verdicts))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--examples", type=Path, required=True, help="a checkout of Azure/azureml-examples")
    parser.add_argument("--list", type=Path, required=True, help="CSV: path, kind, runs, features, notes")
    parser.add_argument("--only", action="append", metavar="GLOB", help="rows whose path matches; may be repeated")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as markdown")
    parser.add_argument("--limit", type=float, default=240, metavar="SECONDS", help="for each row")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep each row's output here")
    return parser.parse_args()


def _try(row: Example, top: Path, logs: Path, limit_s: float) -> Verdict:
    log = logs / (row.path.replace("/", "_") + ".log")
    limit = min(limit_s, _BEYOND_LIMIT_S) if row.needs else limit_s
    outcome, seconds = in_own_process(lambda: _run(row, top), log, limit)
    verdict = judge(row.path, row.kind, row.needs, outcome, seconds)
    print(f"{verdict.seconds:6.1f} s  {row.kind:17} {row.path}  {verdict.result}", flush=True)
    return verdict


def _run(row: Example, top: Path) -> None:
    path = top / row.path
    endpoint = f"compat-{secrets.token_hex(4)}"
    client = _client()
    fill_in_file(path, endpoint)
    use_stand_ins(top, path)
    if row.path in PREPARE:
        PREPARE[row.path](top, path)
    before(client, top, row, endpoint)
    os.chdir(path.parent)  # where upstream's own script stands
    if row.kind == "notebook":
        run_notebook(client, path)
    elif row.needs:
        attempt(client, row.kind, path, SET.get(row.path, {}))
    elif row.kind == "batch-deployment":
        print(run_batch_deployment(client, path, endpoint))
    elif row.kind == "online-deployment":
        print(run_deployment(client, row.path, path, top, endpoint))
    elif row.runs == "executes":
        print(run_job(client, row.path, path))
    else:
        create_and_read_back(client, row.kind, path)


def _client() -> MLClient:
    return MLClient(
        DefaultAzureCredential(),
        os.environ["AZURE_SUBSCRIPTION_ID"],
        os.environ["AZUREML_ARM_RESOURCEGROUP"],
        os.environ["AZUREML_ARM_WORKSPACE_NAME"],
    )


if __name__ == "__main__":
    main()
