"""What the scripts share: a client from the environment, a stopwatch, waiting for a job, expecting an error."""

import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from azure.ai.ml import MLClient
from azure.ai.ml._vendor.azure_resources import ResourceManagementClient
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

TERMINAL = {"Completed", "Failed", "Canceled"}
PLAIN_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
CURATED = "AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest"
scratch = Path(tempfile.mkdtemp())
unique = f"{time.time_ns() // 1000 % 10**9}"


def connect(credential=None, workspace=None) -> MLClient:
    return MLClient(
        credential=credential or DefaultAzureCredential(),
        subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
        resource_group_name=os.environ["AZUREML_ARM_RESOURCEGROUP"],
        workspace_name=workspace or os.environ["AZUREML_ARM_WORKSPACE_NAME"],
    )


def resource_manager(ml_client) -> ResourceManagementClient:
    """The management client that azure-ai-ml itself uses, for resources of any provider."""
    here = os.environ["ARM_CLOUD_METADATA_URL"].partition("/metadata")[0]
    return ResourceManagementClient(
        ml_client._credential, ml_client.subscription_id, base_url=here, credential_scopes=[f"{here}/.default"]
    )


@contextmanager
def step(what: str):
    began = time.perf_counter()
    print(f"   {what}", flush=True)
    yield
    print(f"ok {time.perf_counter() - began:6.2f} s", flush=True)


def ended(ml_client, name: str, timeout_s: float = 240):
    """The job once it is over, however it ended."""
    return until(lambda: (job := ml_client.jobs.get(name)).status in TERMINAL and job, f"end of {name}", timeout_s)


def completed(ml_client, name: str, timeout_s: float = 240):
    job = ended(ml_client, name, timeout_s)
    if job.status != "Completed":
        ml_client.jobs.stream(name)
        sys.exit(f"{name}: {job.status}")
    return job


def until(check, what: str, timeout_s: float = 150, pause_s: float = 0.05):
    """One look begins after the time is over: a look that took long is not the last."""
    deadline = time.monotonic() + timeout_s
    while True:
        last = time.monotonic() >= deadline
        if value := check():
            return value
        assert not last, f"waited {timeout_s} s for {what}"
        time.sleep(pause_s)


@contextmanager
def refused(*words: str, status: int | None = None, kind: type[Exception] = Exception):
    """The block must raise; each of `words` stands in the message."""
    try:
        yield
    except kind as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in: {error}"
        if status is not None:
            assert isinstance(error, HttpResponseError) and error.status_code == status, repr(error)
    else:
        raise AssertionError(f"nothing was raised; expected {words or kind}")
