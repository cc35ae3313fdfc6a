"""Batch endpoints and what they run: documents of another form, packages, components of which no job can be made."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import EXAMPLES, REGISTRY, prepare
from fakes.jobs import JOBS
from fakes.pipelines import FOLDER, component, node, submit
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.agent.wire import Ref

ENDPOINT = f"{WORKSPACE}/batchEndpoints/churn-nightly"
V1 = f"{ENDPOINT}/deployments/v1"
KEY = "workspaces/batchendpoints/deployments"
INPUT: dict[str, Any] = {"UriFolder": {"jobInputType": "UriFolder", "uri": FOLDER}}
MLFLOW = f"{WORKSPACE}/models/flavored/versions/1"


@pytest.fixture
def ready(harness: Harness) -> Harness:
    prepare(harness, KEY)
    return harness


def deploy(harness: Harness, drop: tuple[str, ...] = (), **more: Any) -> Any:
    properties = {**EXAMPLES[KEY].properties, **more}
    return harness.put(V1, {"properties": {key: one for key, one in properties.items() if key not in drop}})


def configured(harness: Harness, **configuration: Any) -> Any:
    harness.put(ENDPOINT, {"properties": {}})
    return harness.put(V1, {"properties": {"deploymentConfiguration": configuration}})


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["target"]


class TestMlflowModels:
    def flavored(self, harness: Harness, uri: str = "") -> None:
        uri = uri or "azureml://datastores/workspaceblobstore/paths/flavored"
        harness.put(MLFLOW, {"properties": {"modelUri": uri, "modelType": "mlflow_model"}})

    def write(self, harness: Harness, name: str, data: bytes) -> None:
        store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
        harness.blobs.write(Ref(store["accountName"], store["containerName"], f"flavored/{name}"), data)

    @pytest.mark.parametrize("name", ["conda.yaml", "requirements.txt"])
    @pytest.mark.parametrize(("data", "says"), [(b"\xff\xfe", "UTF-8"), ("é".encode() * (1 << 20), "longer")])
    def test_an_environment_that_cannot_be_read(self, ready: Harness, name: str, data: bytes, says: str) -> None:
        self.flavored(ready)
        self.write(ready, "MLmodel", b"flavors: {}")
        self.write(ready, name, data)
        answer = deploy(ready, ("codeConfiguration", "environmentId"), model={"assetId": MLFLOW})
        assert refused(answer) == (400, "properties.model") and says in answer.text, answer.text
        asked = {"targetEnvironmentName": "packed", "inferencingServer": {"serverType": "AzureMLBatch"}}
        assert refused(ready.send("POST", f"{MLFLOW}/package", asked)) == (400, "baseEnvironmentSource")

    def test_files_that_are_elsewhere(self, ready: Harness) -> None:
        self.flavored(ready, "https://example.com/model")
        answer = deploy(ready, ("codeConfiguration", "environmentId"), model={"assetId": MLFLOW})
        assert refused(answer) == (400, "properties.model") and "outside of this platform" in answer.text
        asked = {"targetEnvironmentName": "packed", "inferencingServer": {"serverType": "AzureMLBatch"}}
        answer = ready.send("POST", f"{MLFLOW}/package", asked)
        assert refused(answer) == (400, "modelUri") and "outside of this platform" in answer.text


class TestPackages:
    def packed(self, harness: Harness, server: str) -> str:
        code = EXAMPLES[KEY].properties["codeConfiguration"]
        base = {
            "baseEnvironmentSourceType": "EnvironmentAsset",
            "resourceId": EXAMPLES[KEY].properties["environmentId"],
        }
        answer = harness.send(
            "POST",
            f"{WORKSPACE}/models/churn-model/versions/1/package",
            {
                "targetEnvironmentName": "packed",
                "baseEnvironmentSource": base,
                "environmentVariables": {"A": "x"},
                "inferencingServer": {"serverType": server, "codeConfiguration": code},
            },
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["targetEnvironmentId"]

    def test_one_for_batch_needs_nothing_else(self, ready: Harness) -> None:
        answer = deploy(ready, ("codeConfiguration", "model"), environmentId=self.packed(ready, "AzureMLBatch"))
        assert answer.status_code == 201, answer.text
        kept = answer.json()["properties"]
        assert kept["model"]["assetId"].endswith("/models/churn-model/versions/1")
        assert kept["codeConfiguration"]["scoringScript"] == "score.py" and kept["environmentVariables"]["A"] == "x"
        body = {"properties": {"inputData": INPUT}}
        assert ready.send("POST", f"{ENDPOINT}/jobs", body, azureml_model_deployment="v1").status_code == 201

    def test_one_for_others_is_refused(self, ready: Harness) -> None:
        answer = deploy(ready, ("codeConfiguration", "model"), environmentId=self.packed(ready, "AzureMLOnline"))
        assert refused(answer) == (400, "properties.environmentId") and "AzureMLBatch" in answer.text
        online = EXAMPLES["workspaces/onlineendpoints/deployments"]
        prepare(ready, "workspaces/onlineendpoints/deployments")
        asked = {"environmentId": self.packed(ready, "AzureMLBatch"), "instanceType": "Standard_DS3_v2"}
        answer = ready.put(online.url, {"location": "local", "properties": asked})
        assert refused(answer) == (400, "properties.environmentId") and "AzureMLOnline" in answer.text


class TestComponents:
    @pytest.mark.parametrize(
        ("configuration", "field"),
        [
            ({"componentId": 5}, "componentId"),
            ({"componentId": {"assetId": ["x"]}}, "componentId.assetId"),
            ({"componentId": {}}, "componentId.assetId"),
            ({"settings": 5}, "settings"),
            ({"tags": {"a": {}}}, "tags.a"),
            ({"deploymentConfigurationType": {"a": 1}}, "deploymentConfigurationType"),
        ],
    )
    def test_a_configuration_of_another_form(self, harness: Harness, configuration: Any, field: str) -> None:
        answer = configured(harness, **configuration)
        assert refused(answer) == (400, f"properties.deploymentConfiguration.{field}"), answer.text

    def test_one_of_which_no_job_can_be_made(self, harness: Harness) -> None:
        steps = {"one": node("azureml:gone:1")}
        flow = component(harness, "flow", type="pipeline", jobs=steps, inputs={}, outputs={})
        answer = configured(harness, componentId={"assetId": flow})
        assert refused(answer) == (400, "properties.deploymentConfiguration.componentId"), answer.text
        assert "gone" in answer.json()["error"]["message"]
        for ports in ({}, {"a": 5}):
            empty = component(harness, f"empty{len(ports)}", type="pipeline", inputs=ports, outputs={})
            assert refused(configured(harness, componentId={"assetId": empty}))[0] == 400

    def test_values_that_are_not_known_yet_refuse_none(self, harness: Harness) -> None:
        component(harness, "step")
        bound = {"data": "${{parent.inputs.raw}}", "rate": "${{parent.inputs.rate}}"}
        ports = {"raw": {"type": "uri_folder"}, "rate": {"type": "number", "min": 3}, "more": {"type": "mltable"}}
        flow = component(
            harness, "flow", type="pipeline", jobs={"one": node("azureml:step:1", **bound)}, inputs=ports, outputs={}
        )
        assert configured(harness, componentId={"assetId": flow}).status_code == 201

    @pytest.mark.parametrize("jobs", [5, [], {"one": 5}])
    def test_steps_of_another_form(self, harness: Harness, jobs: Any) -> None:
        for home in (WORKSPACE, REGISTRY):
            prepare(harness, "registries")
            harness.put(REGISTRY, EXAMPLES["registries"].body())
            url = f"{home}/components/flow/versions/1"
            answer = harness.put(url, {"properties": {"componentSpec": {"type": "pipeline", "jobs": jobs}}})
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["target"].startswith("properties.componentSpec.jobs")

    def test_the_source_is_a_job_of_the_workspace(self, harness: Harness) -> None:
        component(harness, "step")
        submit(harness, {"one": node("azureml:step:1")}, "tried")
        harness.put(REGISTRY, EXAMPLES["registries"].body())
        field = "properties.componentSpec.sourceJobId"
        for home, source, says in (
            (WORKSPACE, "azureml:", "no job"), (WORKSPACE, 5, "no job"), (WORKSPACE, GROUP, "no job"),
            (REGISTRY, f"{JOBS}/tried", "registry 'shared' has no jobs"),
        ):  # fmt: skip
            spec = {"type": "pipeline", "sourceJobId": source}
            answer = harness.put(f"{home}/components/flow/versions/1", {"properties": {"componentSpec": spec}})
            assert refused(answer) == (400, field) and says in answer.text, answer.text


class TestRequests:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"properties": {"experimentName": {"a": 1}}}, "properties.properties.experimentName"),
            ({"properties": {"experimentName": "a\0b"}}, "properties.experimentName"),
            ({"name": {"a": 1}}, "properties.name"),
            ({"outputFileName": ["x"]}, "properties.outputFileName"),
            ({"outputDataset": {"datastoreId": {}, "path": "x", "a": 1}}, "properties.outputDataset.datastoreId"),
            ({"outputDataset": {"path": ["x"]}}, "properties.outputDataset.path"),
            ({"outputData": {"s": {"jobOutputType": "UriFolder", "uri": {"a": 1}}}}, "properties.outputData.s.uri"),
            ({"inputData": {"a": {**INPUT["UriFolder"], "mode": {"a": 1}}}}, "properties.inputData.a.mode"),
            ({"compute": 5}, "properties.compute"),
            ({"compute": {"target": {"a": 1}}}, "properties.compute"),
            ({"compute": {"instanceCount": {"a": 1}}}, "properties"),
            ({"miniBatchSize": {"a": 1}}, "properties.miniBatchSize"),
            ({"errorThreshold": {"a": 1}}, "properties.errorThreshold"),
            ({"retrySettings": 5}, "properties.retrySettings"),
            ({"retrySettings": {"maxRetries": {}}}, "properties.retrySettings.maxRetries"),
        ],
    )
    def test_of_another_form(self, ready: Harness, body: Any, field: str) -> None:
        assert deploy(ready).status_code == 201
        whole = {"properties": {"inputData": INPUT, **body}}
        answer = ready.send("POST", f"{ENDPOINT}/jobs", whole, azureml_model_deployment="v1")
        assert answer.status_code == 400, answer.text
        assert (answer.json()["error"]["target"] or "").startswith(field), answer.text
        assert ready.get(f"{ENDPOINT}/jobs").json()["value"] == []


@pytest.mark.parametrize("field", ["experimentName", "displayName"])
def test_what_no_database_takes_is_refused_of_any_job(harness: Harness, field: str) -> None:
    said = {"jobType": "Command", "command": "true", "environmentId": "azureml:sklearn-1.5:12", field: "a\0b"}
    answer = harness.put(f"{JOBS}/one", {"properties": said})
    assert refused(answer) == (400, f"properties.{field}"), answer.text
