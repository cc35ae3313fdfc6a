"""How a page that is empty is filled: a file, and the command of `az ml` that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Example(NamedTuple):
    """`command`: what stands between `az ml` and `create -f`, such as `job`."""

    command: str
    file: str


_SCHEMA = "$schema: https://azuremlschemas.azureedge.net/latest/"
_ENVIRONMENT = "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest"
EXAMPLES: Mapping[str, Example] = {
    "jobs": Example(
        "job", f"{_SCHEMA}commandJob.schema.json\ncommand: python train.py\ncode: ./src\nenvironment: {_ENVIRONMENT}\n"
    ),
    "schedules": Example(
        "schedule",
        f"{_SCHEMA}schedule.schema.json\nname: nightly\ntrigger:\n  type: cron\n  expression: '0 3 * * *'\n"
        "create_job: ./job.yml\n",
    ),
    "data": Example(
        "data", f"{_SCHEMA}data.schema.json\nname: customers\ntype: uri_file\npath: ./customers.csv\n"
    ),
    "models": Example("model", f"{_SCHEMA}model.schema.json\nname: churn\ntype: mlflow_model\npath: ./model\n"),
    "environments": Example(
        "environment",
        f"{_SCHEMA}environment.schema.json\nname: mine\nimage: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04\n"
        "conda_file: ./conda.yml\n",
    ),
    "components": Example(
        "component",
        f"{_SCHEMA}commandComponent.schema.json\nname: prepare\ntype: command\ninputs:\n  raw: {{type: uri_folder}}\n"
        f"command: python prepare.py ${{{{inputs.raw}}}}\ncode: ./src\nenvironment: {_ENVIRONMENT}\n",
    ),
    "endpoints": Example(
        "online-endpoint", f"{_SCHEMA}managedOnlineEndpoint.schema.json\nname: churn\nauth_mode: key\n"
    ),
    "batch-endpoints": Example("batch-endpoint", f"{_SCHEMA}batchEndpoint.schema.json\nname: nightly-scores\n"),
    "computes": Example(
        "compute",
        f"{_SCHEMA}amlCompute.schema.json\nname: cluster\ntype: amlcompute\nsize: Standard_DS3_v2\nmin_instances: 0\n"
        "max_instances: 2\n",
    ),
}  # fmt: skip
