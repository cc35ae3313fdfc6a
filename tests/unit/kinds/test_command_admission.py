"""What of a command job is taken, refused and pinned when it is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.jobs import JOBS, cluster, status, submit
from fakes.platform import WORKSPACE, Harness


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"computeId": "cpu-clustr"}, ["properties.computeId", "cpu-clustr", "Did you mean 'cpu-cluster'"]),
        ({"environmentId": "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311@latest"}, ["environmentId", "Did you mean"]),
        ({"environmentId": "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:new"}, ["no version 'new'", "12"]),
        (
            {"inputs": {"d": {"jobInputType": "uri_file", "uri": "azureml:nothing:1"}}},
            ["properties.inputs.d.uri", "nothing"],
        ),
        (
            {"inputs": {"d": {"jobInputType": "uri_file", "uri": "azureml://datastores/nope/paths/x"}}},
            ["datastore 'nope'"],
        ),
        ({"identity": {"identityType": "Somebody"}}, ["properties.identity.identityType", "AMLToken, Managed"]),
        ({"inputs": {"m": {"jobInputType": "mlflow_model", "uri": "azureml:none:3"}}}, ["model 'none'"]),
        ({"inputs": {"d": {"jobInputType": "uri_fil", "uri": "x"}}}, ["jobInputType", "uri_file"]),
        ({"inputs": {"d": {"jobInputType": "uri_file"}}}, ["properties.inputs.d.uri is missing"]),
        ({"command": "python x.py ${{inputs.data}}"}, ["properties.command", "'data'"]),
        ({"command": "python x.py > ${{outputs.out}}"}, ["properties.command", "output 'out'"]),
        ({"resources": {"instanceCount": 1000}}, ["instanceCount"]),
        ({"resources": {"instanceCount": 0}}, ["instanceCount"]),
        ({"limits": {"timeout": "5 minutes"}}, ["properties.limits.timeout"]),
        ({"resources": {"shmSize": "2 gigs"}}, ["properties.resources.shmSize: '2 gigs' is no size such as 2g"]),
        ({"resources": {"shmSize": "0g"}}, ["properties.resources.shmSize"]),
        ({"command": ""}, ["properties.command"]),
        ({"codeId": "azureml:abc:1"}, ["properties.codeId"]),
        ({"computeId": "serverles"}, ["properties.computeId", "Did you mean 'serverless'"]),
        ({"jobType": "Comand"}, ["properties.jobType", "Command"]),
        ({"jobType": "Spark", "code": "x"}, ["Spark", "yet"]),
    ],
)
def test_wrong_jobs_are_refused_naming_the_field(harness: Harness, change: dict[str, Any], words: list[str]) -> None:
    cluster(harness, "cpu-cluster")
    answer = submit(harness, **change)
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"]
    for word in words:
        assert word in message
    assert harness.get(f"{JOBS}/train-1").status_code == 404


def test_all_errors_come_together(harness: Harness) -> None:
    answer = submit(harness, computeId="nope", command="x ${{inputs.a}}", environmentId="azureml:none:1")
    targets = {one["target"] for one in answer.json()["error"]["details"]}
    assert targets == {"properties.computeId", "properties.command", "properties.environmentId"}


def test_optional_inputs_may_be_missing(harness: Harness) -> None:
    assert submit(harness, command="python x.py $[[--rows ${{inputs.rows}}]]").status_code == 201


def test_another_workspaces_storage_cannot_be_read_by_url(harness: Harness) -> None:
    other = WORKSPACE.replace("/bank", "/other")
    harness.put(other, {"properties": {}})
    harness.settle()
    account = harness.row(other).status["account"]
    uri = f"{harness.settings.account_url(account)}/azureml/secret.csv"
    answer = submit(harness, inputs={"d": {"jobInputType": "uri_file", "uri": uri}})
    assert answer.status_code == 400 and "no datastore of this workspace" in answer.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:12",) * 2,
        *(
            (text, f"{WORKSPACE}/environments/{name}/versions/12")
            for text, name in (
                (
                    "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu@latest",
                    "AzureML-sklearn-1.5-ubuntu22.04-py311-cpu",
                ),
                ("azureml://registries/azureml/environments/sklearn-1.5/labels/latest", "sklearn-1.5"),
                ("AzureML-sklearn-1.5-ubuntu22.04-py311-cpu", "AzureML-sklearn-1.5-ubuntu22.04-py311-cpu"),
            )
        ),
    ],
)
def test_the_ways_to_write_a_curated_environment(harness: Harness, text: str, shown: str) -> None:
    assert submit(harness, environmentId=text).status_code == 201
    assert harness.get(f"{JOBS}/train-1").json()["properties"]["environmentId"] == shown
    assert submit(harness, environmentId=shown).status_code == 200


def test_a_curated_version_that_only_upstream_has_is_kept_as_asked(harness: Harness) -> None:
    text = "azureml://registries/azureml/environments/sklearn-1.5/versions/99"
    assert submit(harness, environmentId=text).status_code == 201
    shown = harness.get(f"{JOBS}/train-1").json()["properties"]["environmentId"]
    assert shown == f"{WORKSPACE}/environments/sklearn-1.5/versions/99"
    assert submit(harness, environmentId=shown).status_code == 200


def test_another_registry_is_refused(harness: Harness) -> None:
    answer = submit(harness, environmentId="azureml://registries/mine/environments/sklearn-1.5/labels/latest")
    assert answer.status_code == 400 and "registry 'mine'" in answer.text


def test_a_job_uses_what_was_latest_when_it_was_submitted(harness: Harness) -> None:
    """It waits for a node while a new version of its input is made, and lineage says which one it had."""

    def version(number: int) -> None:
        uri = f"azureml://datastores/workspaceblobstore/paths/churn/{number}/"
        body = {"properties": {"dataUri": uri, "dataType": "uri_folder"}}
        assert harness.put(f"{WORKSPACE}/data/churn/versions/{number}", body).status_code == 201

    version(1)
    compute = cluster(harness)
    submit(harness, "first", computeId=compute)
    harness.settle()
    inputs = {"data": {"jobInputType": "uri_folder", "uri": "azureml:churn@latest"}}
    assert submit(harness, "second", computeId=compute, inputs=inputs).status_code == 201
    harness.settle()
    assert status(harness, "second") == "Queued"
    version(2)
    (name,) = harness.engine.starts
    harness.engine.start(name)
    harness.engine.finish(name, 0)
    harness.settle()
    (task,) = [task for task in harness.engine.tasks.values() if task.owner.endswith("/second")]
    assert task.inputs[0].source.name == "churn/1/"
    shown = harness.get(f"{JOBS}/second").json()["properties"]["inputs"]["data"]["uri"]
    assert shown.endswith("/data/churn/versions/1")
