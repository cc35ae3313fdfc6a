"""Documents that can never work are refused when they are written: 400, naming the field, and nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import EXAMPLES, prepare
from fakes.jobs import JOBS, submit
from fakes.platform import WORKSPACE, Harness
from smalt.agent.wire import Ref

OTHER_WORKSPACE = WORKSPACE.replace("/bank", "/other")
STORE = "azureml://datastores/workspaceblobstore/paths"
ADDRESSES = [
    "file:///etc/passwd",
    "/etc/passwd",
    "./data/churn.csv",
    "s3://bucket/key",
    "adl://lake.azuredatalakestore.net/p",
    "hdfs://node/p",
    "https://",
    "https://[x/",
    "https://[::1/x",
    "https://host:port/x",
    "https://localhost:7443/acc.blob.core.smalt",
    "https://localhost:7443/acc.blob.core.smalt/",
    "https://acc.blob.core.smalt",
    "https://acc.blob.core.smalt/Not_A_Container/x",
    "wasbs://@acc.blob.core.smalt/x",
    "wasbs://acc.blob.core.smalt",
    "wasbs://acc.blob.core.windows.net/",
    "abfss://container/x",
    "abfss://fs@localhost:7443/x",
    "abfss://fs@host/x",
    "abfss:///fs/x",
    "azureml://",
    "azureml://datastores/",
    "azureml://datastores/nope/paths/x",
    f"{STORE}/../secrets",
    f"{STORE}/a/../../secrets",
    f"{STORE}/a/./b",
    f"{STORE}/a\0b",
    f"{STORE}/{'a' * 1100}",
    f"azureml:/{OTHER_WORKSPACE}/datastores/workspaceblobstore/paths/x",
    f"azureml:/{OTHER_WORKSPACE}/jobs/train-1/outputs/artifacts",
    "azureml://jobs/nobody/outputs/artifacts/paths/x",
    "azureml://jobs/nobody",
    "runs:/nobody/x",
    "runs:/",
    "azureml://registries/other/data/d/versions/1",
    "azureml:nothing:1",
    "/subscriptions/x",
    "azureml:/subscriptions/x",
    "/subscriptions",
    "/subscriptions/x/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces",
    f"{WORKSPACE}",
    f"{WORKSPACE}/jobs/train-1",
    f"{OTHER_WORKSPACE}/data/d/versions/1",
]


def refused(answer: Any, field: str) -> str:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["target"] == field, error
    assert field in error["message"]
    return error["message"]


@pytest.mark.parametrize("uri", ADDRESSES)
def test_addresses(harness: Harness, uri: str) -> None:
    for kind, field in (("data", "dataUri"), ("models", "modelUri"), ("codes", "codeUri")):
        url = f"{WORKSPACE}/{kind}/a/versions/1"
        refused(harness.put(url, {"properties": {field: uri}}), f"properties.{field}")
        assert harness.get(url).status_code == 404
    wrong_input = {"d": {"jobInputType": "uri_folder", "uri": uri}}
    refused(submit(harness, inputs=wrong_input), "properties.inputs.d.uri")
    refused(submit(harness, outputs={"o": {"uri": uri}}), "properties.outputs.o.uri")
    for field in ("environmentId", "codeId"):
        refused(submit(harness, **{field: uri}), f"properties.{field}")
    if "subscriptions" in uri:
        refused(submit(harness, computeId=uri), "properties.computeId")
    assert harness.get(f"{JOBS}/train-1").status_code == 404


@pytest.mark.parametrize("type_", ["uri_folder", "mltable"])
@pytest.mark.parametrize("uri", ["abfss://fs@acc.dfs.core.windows.net/p/", "wasbs://c@acc.blob.core.windows.net/p/"])
def test_folders_of_foreign_accounts_cannot_be_listed(harness: Harness, uri: str, type_: str) -> None:
    body = {"dataUri": uri, "dataType": type_}
    message = refused(harness.put(f"{WORKSPACE}/data/a/versions/1", {"properties": body}), "properties.dataUri")
    assert "datastore" in message
    refused(submit(harness, inputs={"d": {"jobInputType": type_, "uri": uri}}), "properties.inputs.d.uri")


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("abfss://fs@acc.dfs.core.windows.net/p/x.csv", "https://acc.blob.core.windows.net/fs/p/x.csv"),
        ("wasbs://c@acc.blob.core.windows.net/x.csv", "https://acc.blob.core.windows.net/c/x.csv"),
        ("wasbs://acc.blob.core.windows.net/c/p/x.csv", "https://acc.blob.core.windows.net/c/p/x.csv"),
        ("abfss://acc.dfs.core.windows.net/fs/x.csv", "https://acc.blob.core.windows.net/fs/x.csv"),
        ("https://example.com/x.csv?sig=1", "https://example.com/x.csv?sig=1"),
    ],
)
def test_files_elsewhere_are_fetched(harness: Harness, uri: str, url: str) -> None:
    body = {"dataUri": uri, "dataType": "uri_file"}
    assert harness.put(f"{WORKSPACE}/data/a/versions/1", {"properties": body}).status_code == 201
    assert submit(harness, inputs={"d": {"jobInputType": "uri_file", "uri": "azureml:a:1"}}).status_code == 201
    harness.settle()
    (task,) = harness.engine.tasks.values()
    assert task.inputs[0].url == url
    refused(submit(harness, "to", outputs={"o": {"uri": uri}}), "properties.outputs.o.uri")
    message = refused(
        harness.put(f"{WORKSPACE}/codes/a/versions/1", {"properties": {"codeUri": uri}}), "properties.codeUri"
    )
    assert "upload it" in message


@pytest.mark.parametrize("type_", ["uri_folder", "mltable", "mlflow_model"])
def test_folders_of_the_web_cannot_be_listed(harness: Harness, type_: str) -> None:
    given = {"jobInputType": type_, "uri": "https://example.com/d/"}
    for mode in (None, "ReadOnlyMount", "Download", "EvalMount"):
        message = refused(submit(harness, inputs={"d": {**given, "mode": mode}}), "properties.inputs.d.uri")
        assert "uri_file" in message
    assert submit(harness, inputs={"d": {**given, "mode": "Direct"}}).status_code == 201


@pytest.mark.parametrize("type_", ["uri_file", "uri_folder"])
def test_nothing_is_written_to_the_web(harness: Harness, type_: str) -> None:
    given = {"jobInputType": type_, "uri": "https://example.com/d/x.csv?sig=s3", "mode": "ReadWriteMount"}
    assert "s3" not in refused(submit(harness, inputs={"d": given}), "properties.inputs.d.mode")


@pytest.mark.parametrize("scheme", ["wasbs", "wasb", "abfss", "abfs", "https", "https-path", "wasbs-path", "wasbs-url"])
def test_own_accounts_are_read_and_written(harness: Harness, scheme: str) -> None:
    store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
    account, container = store["accountName"], store["containerName"]
    uri = {
        "https": f"https://{account}.blob.core.smalt/{container}/a%20b/x",
        "https-path": f"{harness.settings.account_url(account)}/{container}/a%20b/x",
        "wasbs-path": f"wasbs://{container}@localhost:7443/{account}.blob.core.smalt/a b/x",
        "wasbs-url": f"wasbs://{account}.blob.core.smalt/{container}/a b/x",
    }.get(scheme, f"{scheme}://{container}@{account}.{'dfs' if scheme.startswith('abfs') else 'blob'}.core.smalt/a b/x")
    inputs = {"d": {"jobInputType": "uri_folder", "uri": uri}}
    outputs = {"o": {"jobOutputType": "uri_folder", "uri": uri}}
    answer = submit(harness, inputs=inputs, outputs=outputs)
    assert answer.status_code == 201, answer.text
    harness.settle()
    (task,) = harness.engine.tasks.values()
    place = Ref(account, container, "a b/x/")
    assert (task.inputs[0].source, task.outputs[0].target) == (place, place)


def test_an_account_of_another_workspace_is_refused_in_every_spelling(harness: Harness) -> None:
    harness.put(OTHER_WORKSPACE, {"properties": {}})
    harness.settle()
    account = harness.row(OTHER_WORKSPACE).status["account"]
    for uri in (
        f"abfss://azureml@{account}.dfs.core.smalt/x",
        f"wasbs://azureml@localhost:7443/{account}.blob.core.smalt/x",
    ):
        body = {"dataUri": uri, "dataType": "uri_file"}
        message = refused(harness.put(f"{WORKSPACE}/data/a/versions/1", {"properties": body}), "properties.dataUri")
        assert "no datastore of this workspace" in message


ELSEWHERE = {"endpoint": "core.windows.net"}
NO_CONTAINER_HERE = ["a", "A-B", "a--b"]


def blob_datastore(harness: Harness, name: str, more: dict[str, str]) -> Any:
    body = {"datastoreType": "AzureBlob", "accountName": "lake", "containerName": name, **more}
    return harness.put(f"{WORKSPACE}/datastores/d", {"properties": body})


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, more) for name in ("..", ".", "a/b", "a\0b", "../../secrets") for more in ({}, ELSEWHERE)),
        *((name, {}) for name in NO_CONTAINER_HERE),
    ],
)
def test_containers_of_datastores(harness: Harness, name: str, more: dict[str, str]) -> None:
    refused(blob_datastore(harness, name, more), "properties.containerName")


@pytest.mark.parametrize("name", NO_CONTAINER_HERE)
def test_containers_of_other_peoples_accounts_are_theirs(harness: Harness, name: str) -> None:
    assert blob_datastore(harness, name, ELSEWHERE).status_code == 201


VARIABLES = [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0"}, {"A": "x" * 140_000}]


@pytest.mark.parametrize("variables", VARIABLES)
def test_environment_variables(harness: Harness, variables: dict[str, str]) -> None:
    answer = submit(harness, environmentVariables=variables)
    assert answer.status_code == 400 and answer.json()["error"]["target"].startswith("properties.environmentVariables")
    example = prepare(harness, "workspaces/onlineendpoints/deployments")
    answer = harness.put(example.url, example.body(environmentVariables=variables))
    assert answer.status_code == 400 and answer.json()["error"]["target"].startswith("properties.environmentVariables")
    fine = {"A": "x" * 130_000, "lower.case": "", "WITH SPACE": "=", "GONE": None}
    assert submit(harness, environmentVariables=fine).status_code == 201


def test_texts_that_no_process_can_have(harness: Harness) -> None:
    refused(submit(harness, command="echo \0"), "properties.command")
    refused(submit(harness, inputs={"n": {"jobInputType": "literal", "value": "\0"}}), "properties.inputs.n.value")


@pytest.mark.parametrize("script", ["../score.py", "/etc/score.py", "a/../../score.py", "score\0.py", ""])
def test_scoring_scripts(harness: Harness, script: str) -> None:
    example = prepare(harness, "workspaces/onlineendpoints/deployments")
    code = EXAMPLES["workspaces/codes/versions"].url
    body = example.body(codeConfiguration={"codeId": code, "scoringScript": script})
    refused(harness.put(example.url, body), "properties.codeConfiguration.scoringScript")


def test_models_that_no_deployment_can_load(harness: Harness) -> None:
    example = prepare(harness, "workspaces/onlineendpoints/deployments")
    body = {"modelUri": "https://example.com/model.pkl", "modelType": "custom_model"}
    assert harness.put(f"{WORKSPACE}/models/far/versions/1", {"properties": body}).status_code == 201
    message = refused(harness.put(example.url, example.body(model="azureml:far:1")), "properties.model")
    assert "outside of this platform" in message
