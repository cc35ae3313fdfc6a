"""Clients read a resource, change a tag and write it all back, in spellings and with gaps of their own: that is no other resource."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, cluster, submit
from fakes.platform import WORKSPACE, Harness

DATA = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/churn.csv"
CURATED_ID = f"{WORKSPACE}/environments/AzureML-sklearn-1.5-ubuntu22.04-py311-cpu/versions/12"
READ_ONLY = {
    "services": {"Tracking": {"endpoint": "azureml://x", "jobServiceType": "Tracking"}},
    "status": "Completed",
    "parameters": {},
}


def ask_again(harness: Harness, first: dict[str, Any], second: dict[str, Any]) -> Any:
    made = submit(harness, **first)
    assert made.status_code == 201, made.text
    return submit(harness, **{**first, **second}, tags={"b": "2"}, displayName="new")


def put_data(harness: Harness, version: str = "1", uri: str = DATA, type_: str = "uri_file") -> str:
    url = f"{WORKSPACE}/data/churn/versions/{version}"
    answer = harness.put(url, {"properties": {"dataUri": uri, "dataType": type_}})
    assert answer.status_code in (200, 201), answer.text
    return url


def uri_input(uri: str, **more: Any) -> dict[str, Any]:
    return {"d": {"jobInputType": "uri_file", "uri": uri, **more}}


SAME_JOBS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("as read", {}, {"environmentId": CURATED_ID, "resources": {"instanceCount": 1, "properties": {}}, **READ_ONLY}),
    ("by name and version", {}, {"environmentId": "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:12"}),
    ("by label in an id", {}, {"environmentId": CURATED_ID.replace("versions/12", "labels/latest")}),
    ("from the registry", {}, {"environmentId": "azureml://registries/azureml/environments/AzureML-sklearn-1.5-ubuntu22.04-py311-cpu/labels/latest"}),
    ("nothing, in words", {"inputs": {}}, {"inputs": None, "limits": None, "environmentVariables": {}, "codeId": None, "distribution": None}),
    ("nothing, before", {"limits": None, "environmentVariables": None, "resources": None}, {"limits": {"jobLimitsType": "Command"}, "resources": {}}),
    ("nothing, after", {"limits": {}, "resources": {"instanceCount": 1, "shmSize": "2g"}}, {"limits": None, "resources": None}),
    ("serverless", {}, {"computeId": "serverless"}),
    ("no compute", {"computeId": "serverless"}, {"computeId": None}),
    ("the compute's id", {"computeId": "azureml:cpu"}, {"computeId": f"{WORKSPACE}/computes/cpu"}),
    ("an instance type", {"resources": {"instanceType": "Standard_DS3_v2"}}, {"resources": {"instanceType": "STANDARD_DS3_V2", "instanceCount": 1, "dockerArgs": None}}),
    ("a duration", {"limits": {"timeout": "PT300S"}}, {"limits": {"timeout": "PT5M", "jobLimitsType": "Command"}}),
    ("variables", {"environmentVariables": {"A": "1", "B": ""}}, {"environmentVariables": {"A": 1, "B": "", "C": None}}),
    ("a distribution", {"distribution": {"distributionType": "PyTorch"}}, {"distribution": {"distributionType": "PyTorch", "processCountPerInstance": "1"}}),
    ("workers", {"distribution": {"distributionType": "TensorFlow", "workerCount": 1}}, {"distribution": {"distributionType": "tensorflow", "workerCount": 1, "parameterServerCount": 0}}),
    ("a literal", {"inputs": {"n": {"jobInputType": "literal", "value": 3}}}, {"inputs": {"n": {"jobInputType": "literal", "value": "3", "description": None}, "gone": None}}),
    ("the input's default mode", {"inputs": uri_input("azureml:churn:1")}, {"inputs": uri_input("azureml:churn:1", mode="ReadOnlyMount")}),
    ("the newest data", {"inputs": uri_input("azureml:churn@latest")}, {"inputs": uri_input(f"{WORKSPACE}/data/churn/versions/1")}),
    ("the client's own spelling", {"inputs": uri_input(f"{WORKSPACE}/data/azureml:churn/versions/1")}, {"inputs": uri_input("azureml:churn:1")}),
    ("a place", {"inputs": uri_input(DATA)}, {"inputs": uri_input(DATA.replace("azureml://", f"azureml:/{WORKSPACE}/".replace("/providers/Microsoft.MachineLearningServices", "")))}),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), [case[1:] for case in SAME_JOBS], ids=[case[0] for case in SAME_JOBS])
def test_a_job_that_is_written_back(harness: Harness, first: dict[str, Any], second: dict[str, Any]) -> None:
    cluster(harness)
    put_data(harness)
    before = submit(harness, "twin", **first).json()["properties"]
    again = ask_again(harness, first, second)
    assert again.status_code == 200, again.text
    shown = harness.get(f"{JOBS}/train-1").json()["properties"]
    assert (shown["tags"], shown["displayName"]) == ({"b": "2"}, "new")
    for name in ("environmentId", "inputs", "resources", "limits", "environmentVariables", "distribution", "computeId"):
        assert shown.get(name) == before.get(name), name


OTHER_JOBS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"command": "python other.py"}, "command"),
    ({}, {"environmentId": "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:33"}, "environmentId"),
    ({}, {"resources": {"instanceCount": 2}}, "resources"),
    ({}, {"resources": {"shmSize": "4g"}}, "resources"),
    ({"limits": {"timeout": "PT5M"}}, {"limits": None}, "limits"),
    ({"environmentVariables": {"A": ""}}, {"environmentVariables": {}}, "environmentVariables"),
    ({"environmentVariables": {"A": "1"}}, {"environmentVariables": None}, "environmentVariables"),
    ({"inputs": uri_input("azureml:churn:1")}, {"inputs": uri_input("azureml:churn:2")}, "inputs"),
    ({"inputs": uri_input("azureml:churn:1")}, {"inputs": uri_input("azureml:churn:1", mode="Download")}, "inputs"),
    ({"inputs": uri_input("azureml:churn:1")}, {"inputs": {}}, "inputs"),
    ({"inputs": uri_input(DATA)}, {"inputs": uri_input(DATA + "2")}, "inputs"),
    ({"distribution": {"distributionType": "PyTorch"}}, {"distribution": {"distributionType": "Mpi"}}, "distribution"),
    ({}, {"computeId": "azureml:cpu"}, "computeId"),
]


@pytest.mark.parametrize(("first", "second", "field"), OTHER_JOBS)
def test_another_job_of_the_same_name(
    harness: Harness, first: dict[str, Any], second: dict[str, Any], field: str
) -> None:
    cluster(harness, most=2)
    put_data(harness)
    put_data(harness, "2")
    refused = ask_again(harness, first, second)
    assert refused.status_code == 409, refused.text
    assert refused.json()["error"]["target"] == f"properties.{field}"


def test_latest_is_what_it_was_when_the_job_was_made(harness: Harness) -> None:
    url = f"{WORKSPACE}/environments/mine/versions"
    for version in ("1", "2"):
        harness.put(f"{url}/{version}", {"properties": {"image": "base", "condaFile": f"name: v{version}"}})
        if version == "1":
            assert submit(harness, environmentId="azureml:mine@latest").status_code == 201
    assert submit(harness, environmentId="azureml:mine@latest", tags={"a": "1"}).status_code == 200, "the file again"
    assert submit(harness, environmentId="azureml:mine:1").status_code == 200
    assert submit(harness, environmentId="azureml:mine:2").status_code == 409


def test_the_newest_data_is_the_one_of_the_day(harness: Harness) -> None:
    put_data(harness, "1")
    assert submit(harness, inputs=uri_input("azureml:churn@latest")).status_code == 201
    put_data(harness, "2")
    shown = harness.get(f"{JOBS}/train-1").json()["properties"]["inputs"]["d"]["uri"]
    assert shown == f"{WORKSPACE}/data/churn/versions/1"
    for same in ("azureml:churn@latest", "azureml:churn:1"):
        assert submit(harness, inputs=uri_input(same)).status_code == 200, same
    assert submit(harness, inputs=uri_input("azureml:churn:2")).status_code == 409


def test_a_job_outlives_what_it_was_made_of(harness: Harness) -> None:
    url = put_data(harness)
    environment = f"{WORKSPACE}/environments/mine/versions/1"
    harness.put(environment, {"properties": {"image": "base"}})
    inputs = uri_input("azureml:churn:1")
    assert submit(harness, environmentId="azureml:mine:1", inputs=inputs).status_code == 201
    for gone in (url, environment):
        assert harness.send("DELETE", gone).status_code == 200
    read = harness.get(f"{JOBS}/train-1").json()["properties"]
    written = {**read, "tags": {"a": "1"}}
    assert harness.put(f"{JOBS}/train-1", {"properties": written}).json()["properties"]["tags"] == {"a": "1"}


class TestPlaces:
    """One place, in all spellings that a client may write back."""

    def spellings(self, harness: Harness, path: str = "some/model") -> list[str]:
        store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
        account, container = store["accountName"], store["containerName"]
        host = f"{harness.settings.host}:{harness.settings.port}"
        short_workspace = WORKSPACE.replace("/providers/Microsoft.MachineLearningServices", "")
        return [
            f"azureml://datastores/workspaceblobstore/paths/{path}",
            f"azureml://datastores/workspaceblobstore/paths/{path}/",
            f"azureml:/{short_workspace}/datastores/workspaceblobstore/paths/{path}",
            f"azureml:/{WORKSPACE}/datastores/workspaceblobstore/paths/{path}",
            f"azureml:/{short_workspace.replace('resourceGroups', 'resourcegroups')}/datastores/WorkspaceBlobStore/paths/{path}/",
            f"https://{host}/{account}.blob.core.smalt/{container}/{path}",
            f"https://{account}.blob.core.smalt/{container}/{path}",
            f"https://{account}.blob.core.smalt:7443/{container}/{path}?sv=2024&sig=x",
            f"https://{account}.dfs.core.smalt/{container}/{path}",
            f"wasbs://{container}@{account}.blob.core.smalt/{path}",
            f"wasb://{container}@{account}.blob.core.smalt/{path}/",
            f"abfss://{container}@{account}.dfs.core.smalt/{path}",
            f"abfs://{container}@{account}.dfs.core.smalt/{path}",
            f"ABFSS://{container}@{host}/{account}.dfs.core.smalt/{path}",
            f"wasbs://{container}@{host}/{account}.blob.core.smalt/{path}",
        ]

    @pytest.mark.parametrize(("kind", "field"), [("models", "modelUri"), ("data", "dataUri"), ("codes", "codeUri")])
    def test_all_name_the_same(self, harness: Harness, kind: str, field: str) -> None:
        spelled = self.spellings(harness)
        for number, first in enumerate(spelled):
            url = f"{WORKSPACE}/{kind}/m{number}/versions/1"
            made = harness.put(url, {"properties": {field: first}})
            assert made.status_code == 201, made.text
            kept = made.json()["properties"][field]
            for second in spelled:
                again = harness.put(url, {"properties": {field: second, "tags": {"from": second[-100:]}}})
                assert again.status_code == 200, (first, second, again.text)
                assert again.json()["properties"][field] == kept, "it keeps the address that it has"
            other = harness.put(url, {"properties": {field: first.replace("some/model", "some/other")}})
            assert (other.status_code, other.json()["error"]["code"]) == (400, "UserError")
            assert other.json()["error"]["message"] == "Asset paths cannot be updated."

    @pytest.mark.parametrize("given", ["azureml://jobs/train-1/outputs/artifacts/paths/model", "runs:/train-1/model/"])
    @pytest.mark.parametrize(("kind", "field"), [("models", "modelUri"), ("data", "dataUri")])
    def test_what_a_job_left(self, harness: Harness, kind: str, field: str, given: str) -> None:
        submit(harness)
        url = f"{WORKSPACE}/{kind}/churn/versions/1"
        read = harness.put(url, {"properties": {field: given}}).json()["properties"]
        below = "workspaceartifactstore/paths/ExperimentRun/dcid.train-1/model"
        short_workspace = WORKSPACE.replace("/providers/Microsoft.MachineLearningServices", "")
        long = f"azureml:/{short_workspace}/datastores/{below}"
        for written in (read[field], long, given):
            again = harness.put(url, {"properties": {field: written, "tags": {"b": "2"}}})
            assert again.status_code == 200, again.text
        if kind == "models":
            assert again.json()["properties"]["jobName"] == "train-1"
        assert harness.send("DELETE", f"{JOBS}/train-1").status_code == 202
        harness.settle()
        assert harness.put(url, {"properties": {field: read[field], "tags": {"c": "3"}}}).status_code == 200

    @pytest.mark.parametrize(("kind", "field"), [("models", "modelUri"), ("data", "dataUri")])
    def test_another_version_as_the_place(self, harness: Harness, kind: str, field: str) -> None:
        source = f"azureml://datastores/workspaceblobstore/paths/{kind}/"
        harness.put(f"{WORKSPACE}/{kind}/source/versions/1", {"properties": {field: source}})
        copy = harness.put(f"{WORKSPACE}/{kind}/copy/versions/1", {"properties": {field: "azureml:source:1"}})
        assert copy.status_code == 201 and copy.json()["properties"][field] == source
        refused = harness.put(f"{WORKSPACE}/{kind}/lost/versions/1", {"properties": {field: "azureml:nothing:1"}})
        assert refused.status_code == 400 and refused.json()["error"]["target"] == f"properties.{field}"


class TestEnvironments:
    URL = f"{WORKSPACE}/environments/mine/versions/1"

    def test_a_conda_file_is_what_it_says(self, harness: Harness) -> None:
        written = (
            "# ours\nname: zz\nchannels: [conda-forge]\ndependencies:\n  - 'python=3.11'\n  - pip\n  - pip: [numpy]\n"
        )
        dumped = "channels:\n- conda-forge\ndependencies:\n- python=3.11\n- pip\n- pip:\n  - numpy\nname: zz\n"
        assert harness.put(self.URL, {"properties": {"image": "base", "condaFile": written}}).status_code == 201
        body = {"image": "base", "condaFile": dumped, "tags": {"a": "1"}, "build": None, "inferenceConfig": None}
        again = harness.put(self.URL, {"properties": body})
        assert again.status_code == 200 and again.json()["properties"]["condaFile"] == written
        for other in (dumped.replace("numpy", "scipy"), "{", None):
            assert harness.put(self.URL, {"properties": {"image": "base", "condaFile": other}}).status_code == 409

    def test_a_build_context_is_a_place(self, harness: Harness) -> None:
        context = "azureml://datastores/workspaceblobstore/paths/ctx/"
        assert harness.put(self.URL, {"properties": {"build": {"contextUri": context}}}).status_code == 201
        long = context.replace("azureml://", f"azureml:/{WORKSPACE}/")
        again = {"build": {"contextUri": long, "dockerfilePath": "Dockerfile"}, "image": ""}
        assert harness.put(self.URL, {"properties": again}).status_code == 200
        other = {"build": {"contextUri": long.replace("ctx", "other")}}
        assert harness.put(self.URL, {"properties": other}).status_code == 409


def test_a_component_names_its_code_and_environment_in_any_way(harness: Harness) -> None:
    url = f"{WORKSPACE}/components/train/versions/1"
    harness.put(f"{WORKSPACE}/environments/mine/versions/1", {"properties": {"image": "base"}})
    code = f"{WORKSPACE}/codes/c0de/versions/1"

    def put(**changes: Any) -> Any:
        spec = {"type": "command", "command": "true", "code": f"azureml:{code}", "environment": CURATED, **changes}
        return harness.put(url, {"properties": {"componentSpec": spec}})

    assert put().status_code == 201
    for same in (
        {"code": code},
        {"code": "azureml:c0de:1"},
        {"environment": CURATED_ID},
        {"resources": {"instance_count": 1}, "inputs": {}, "distribution": None},
    ):
        assert put(**same, tags={"b": "2"}).status_code == 200, same
    for other in ({"code": "azureml:c0de:2"}, {"environment": "azureml:mine:1"}, {"resources": {"instance_count": 2}}):
        assert put(**other).status_code == 409, other


def test_a_models_job_stays_where_clients_leave_it_out(harness: Harness) -> None:
    url = f"{WORKSPACE}/models/churn/versions/1"
    body = {"modelUri": "azureml://datastores/workspaceblobstore/paths/m", "jobName": "train-1"}
    harness.put(url, {"properties": body})
    del body["jobName"]
    assert harness.put(url, {"properties": {**body, "tags": {"a": "1"}}}).json()["properties"]["jobName"] == "train-1"
