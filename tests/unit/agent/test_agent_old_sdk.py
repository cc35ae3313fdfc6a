"""A script for Azure's SDK of version 1: what its job's log and error say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smalt.agent import old_sdk
from smalt.agent.bounds import Ending
from smalt.agent.limits import Cgroups
from smalt.agent.log_bound import BoundedLog, open_pipe
from smalt.agent.log_end import LogEnd
from smalt.agent.verdict import judge
from smalt.agent.wire import Outcome, TaskSpec

BARE = """Traceback (most recent call last):
  File "train.py", line 1, in <module>
    from azureml.core import Run
ModuleNotFoundError: No module named 'azureml'"""
BESIDE_OTHERS = BARE.replace("'azureml'", "'azureml.core'")


@pytest.mark.parametrize("last", [BARE, BESIDE_OTHERS, BARE.replace("azureml.core", "azureml.train.hyperdrive")])
def test_who_needs_the_old_sdk_is_told_what_to_write(last: str) -> None:
    task = TaskSpec("t", "/o", command="python train.py")
    outcome, error = judge(task, Ending(Outcome.EXITED), 1, last, Cgroups([]))
    assert outcome is Outcome.EXITED and "mlflow.log_metric(name, value)" in error and error.endswith(last)
    assert len(list(old_sdk.hints(last))) == 1


def test_what_it_cannot_upload_is_kept_without_a_call() -> None:
    last = (
        '  File "/e/azureml/_file_utils/upload.py", line 24, in get_block_blob_service_credentials\n'
        "    account_name, _, endpoint_suffix = parsed_url.netloc.split('.', 2)\nValueError: not enough values to unpack"
    )
    assert list(old_sdk.hints(last)) == [old_sdk.UPLOAD_HINT]


def test_its_registry_is_another_one() -> None:
    last = "azureml._restclient.models.model_error_response.ModelErrorResponseException: Operation returned an invalid status code 'Not Implemented'"
    assert list(old_sdk.hints(last)) == [old_sdk.REGISTER_HINT]


@pytest.mark.parametrize(
    "last",
    [
        "",
        BARE.replace("azureml.core import Run", "azureml.fsspec import AzureMachineLearningFileSystem"),
        BARE.replace("'azureml'", "'numpy'"),
        BESIDE_OTHERS.replace("azureml.core", "azureml.mlflow"),
    ],
)
def test_nobody_else_is(last: str) -> None:
    assert not list(old_sdk.hints(last))


def test_it_is_the_last_line_of_the_log(tmp_path: Path) -> None:
    reading, writing = open_pipe()
    file = tmp_path / "log"
    log = BoundedLog(reading, lambda: os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), 1 << 20, LogEnd())
    log.open()
    os.write(writing, BARE.encode())
    os.close(writing)
    assert log.finish(old_sdk.hints) == BARE
    assert file.read_text() == f"{BARE}\n[smalt] {old_sdk.HINT}\n"
    os.close(reading)
