"""Batch endpoints: what is refused, the job that a request becomes, and what its clients find of it."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.batch import ENDPOINT, INPUT, KEY, V1, deploy, error_of, invoke, ref_of, task_of
from fakes.examples import CURATED, EXAMPLES, prepare
from fakes.jobs import JOBS, cluster
from fakes.pipelines import FOLDER, child, look
from fakes.platform import WORKSPACE, Harness


@pytest.fixture
def ready(harness: Harness) -> Harness:
    """An endpoint with the deployment v1, its default."""
    prepare(harness, KEY)
    answer = deploy(harness)
    assert answer.status_code == 201, answer.text
    assert harness.put(ENDPOINT, {"properties": {"defaults": {"deploymentName": "V1"}}}).status_code == 200
    return harness


class TestEndpoints:
    def test_its_address_is_below_it_and_it_has_no_default_at_first(self, harness: Harness) -> None:
        harness.put(ENDPOINT, {"location": "local", "properties": {"authMode": "aadToken"}})
        said = harness.get(ENDPOINT).json()["properties"]
        assert said["scoringUri"] == f"{harness.settings.url}{ENDPOINT}/jobs"
        assert (said["authMode"], said["defaults"], said["provisioningState"]) == ("AADToken", {}, "Succeeded")

    def test_a_key_opens_none(self, harness: Harness) -> None:
        answer = harness.put(ENDPOINT, {"properties": {"authMode": "Key"}})
        assert error_of(answer)[:2] == (400, "properties.authMode")

    def test_yamls_true_and_numbers_are_taken_as_text(self, harness: Harness) -> None:
        said = {"ComponentDeployment.Enabled": True, "runs": 3, "left": None}
        answer = harness.put(ENDPOINT, {"tags": {"nightly": False}, "properties": {"properties": said}})
        assert answer.status_code == 201, answer.text
        shown = harness.get(ENDPOINT).json()
        assert shown["properties"]["properties"] == {"ComponentDeployment.Enabled": "true", "runs": "3", "left": None}
        assert shown["tags"] == {"nightly": "false"}

    def test_its_default_is_a_deployment_that_it_has(self, ready: Harness) -> None:
        assert ready.get(ENDPOINT).json()["properties"]["defaults"] == {"deploymentName": "v1"}
        answer = ready.put(ENDPOINT, {"properties": {"defaults": {"deploymentName": "v11"}}})
        status, target, message = error_of(answer)
        assert (status, target) == (400, "properties.defaults.deploymentName") and "Did you mean 'v1'?" in message

    def test_its_default_is_changed_alone(self, ready: Harness) -> None:
        ready.put(ENDPOINT, {"properties": {"description": "ours"}})
        assert ready.send("PATCH", ENDPOINT, {"properties": {"defaults": {"deploymentName": "v1"}}}).status_code == 200
        said = ready.get(ENDPOINT).json()["properties"]
        assert (said["defaults"], said["description"]) == ({"deploymentName": "v1"}, "ours")

    def test_its_default_cannot_be_deleted_and_goes_with_it(self, ready: Harness) -> None:
        assert error_of(ready.send("DELETE", V1))[0] == 409
        assert ready.send("DELETE", ENDPOINT).status_code == 200
        assert ready.get(V1).status_code == 404 and error_of(invoke(ready))[0] == 404


class TestDeployments:
    def test_what_is_not_said_is_as_on_azure(self, ready: Harness) -> None:
        said = ready.get(V1).json()["properties"]
        assert said["model"] == {"referenceType": "Id", "assetId": f"{WORKSPACE}/models/churn-model/versions/1"}
        assert (said["outputAction"], said["outputFileName"], said["miniBatchSize"]) == (
            "AppendRow",
            "predictions.csv",
            10,
        )
        assert said["retrySettings"] == {"maxRetries": 3, "timeout": "PT30S"}
        assert (said["maxConcurrencyPerInstance"], said["errorThreshold"]) == (1, -1)

    @pytest.mark.parametrize(
        ("more", "field", "says"),
        [
            ({"compute": "gone"}, "properties.compute", "no compute 'gone'"),
            ({"resources": {"instanceCount": 99}}, "properties.resources.instanceCount", "99 nodes"),
            ({"environmentId": "azureml:none:1"}, "properties.environmentId", "none"),
            ({"environmentId": None}, "properties.environmentId", "needs an environment"),
            ({"model": {"assetId": "azureml:none:1"}}, "properties.model.assetId", "no model 'none'"),
            ({"model": {"referenceType": "DataPath", "path": "x"}}, "properties.model", "DataPath"),
            ({"miniBatchSize": 0}, "properties.miniBatchSize", "1"),
            ({"maxConcurrencyPerInstance": 0}, "properties.maxConcurrencyPerInstance", "1"),
            ({"errorThreshold": -2}, "properties.errorThreshold", "-1"),
            ({"retrySettings": {"timeout": "30"}}, "properties.retrySettings.timeout", "PT30S"),
            ({"loggingLevel": "loud"}, "properties.loggingLevel", "LOUD"),
            ({"outputAction": "zip"}, "properties.outputAction", "SummaryOnly"),
            ({"outputFileName": "../x"}, "properties.outputFileName", "no name"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_when_it_is_taken(self, harness: Harness, more: Any, field: str, says: str) -> None:
        prepare(harness, KEY)
        status, target, message = error_of(deploy(harness, **more))
        assert (status, target) == (400, field) and says in message, message
        assert harness.get(V1).status_code == 404

    def test_a_script_that_is_not_there(self, harness: Harness) -> None:
        prepare(harness, KEY)
        code = {**EXAMPLES[KEY].properties["codeConfiguration"], "scoringScript": "none.py"}
        answer = deploy(harness, codeConfiguration=code)
        assert error_of(answer)[:2] == (400, "properties.codeConfiguration.scoringScript")

    def test_without_a_script_it_has_to_be_an_mlflow_model(self, harness: Harness) -> None:
        prepare(harness, KEY)
        uri = "azureml://datastores/workspaceblobstore/paths/model"
        harness.put(f"{WORKSPACE}/models/pickle/versions/1", {"properties": {"modelUri": uri}})
        answer = deploy(harness, drop=("codeConfiguration",), model={"assetId": "azureml:pickle:1"})
        assert error_of(answer)[:2] == (400, "properties.codeConfiguration")
        none = {"modelUri": "azureml://datastores/workspaceblobstore/paths/none", "modelType": "mlflow_model"}
        harness.put(f"{WORKSPACE}/models/none/versions/1", {"properties": none})
        answer = deploy(harness, drop=("codeConfiguration",), model={"assetId": "azureml:none:1"})
        assert error_of(answer)[1:] == ("properties.model", "properties.model: 'none' holds no MLmodel file.")
        status, target, message = error_of(deploy(harness, drop=("codeConfiguration", "environmentId")))
        assert (status, target) == (400, "properties.model") and "conda.yaml" in message

    def test_an_mlflow_model_runs_in_its_own_environment(self, harness: Harness) -> None:
        prepare(harness, KEY)
        store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
        place = harness.blobs.path(store["accountName"], store["containerName"], "model/conda.yaml")
        place.write_text("dependencies: [pip]")
        assert deploy(harness, drop=("codeConfiguration", "environmentId")).status_code == 201
        assert invoke(harness, headers={"azureml_model_deployment": "v1"}).status_code == 201
        task = task_of(harness)
        assert task.parallel and (task.parallel.script, task.parallel.model) == ("", "model")
        (model,) = [one for one in task.inputs if one.name == "model"]
        assert model.named and model.mode == "ro_mount"
        listed = harness.get(f"{WORKSPACE}/environments").json()["value"]
        assert "CliV2AnonymousEnvironment" not in [one["name"] for one in listed]

    def test_a_model_of_a_registry_is_named_as_its_clients_know_it(self, ready: Harness) -> None:
        """The official client takes Resource Manager's id of one for a path of this machine when it reads the job."""
        model = EXAMPLES["registries/models/versions"]
        prepare(ready, "registries/models/versions")
        assert ready.put(model.url, model.body()).status_code == 201
        uri = "azureml://registries/shared/models/churn-model/versions/1"
        assert deploy(ready, model={"referenceType": "Id", "assetId": uri}).status_code == 201
        assert ready.get(V1).json()["properties"]["model"]["assetId"] == uri
        name = invoke(ready).json()["name"]
        jobs = ready.get(f"{JOBS}/{name}").json()["properties"]["jobs"]
        assert jobs["batchscoring"]["inputs"]["model"]["uri"] == uri

    def test_an_update_makes_other_jobs_and_the_same_again_none(self, ready: Harness) -> None:
        versions = f"{WORKSPACE}/components/azureml_anonymous/versions"
        before = len(ready.get(versions).json()["value"])
        assert deploy(ready).status_code == 201
        assert len(ready.get(versions).json()["value"]) == before == 1
        assert deploy(ready, miniBatchSize=3).status_code == 201
        invoke(ready)
        parallel = task_of(ready).parallel
        assert parallel and parallel.settings["size"] == 3


class TestInvocations:
    def test_it_becomes_a_pipeline_of_one_step_that_writes_the_score(self, ready: Harness) -> None:
        deploy(ready, compute=cluster(ready, most=2), resources={"instanceCount": 2}, maxConcurrencyPerInstance=2)
        answer = invoke(ready)
        job = answer.json()
        assert answer.status_code == 201 and job["name"].startswith("batchjob-")
        assert job["properties"]["status"] == "NotStarted"
        assert job["properties"]["inputData"]["UriFolder"]["jobInputType"] == "UriFolder", "as it was spelled"
        assert job["properties"]["outputData"]["score"]["jobOutputType"] == "UriFolder"
        whole = ready.get(f"{JOBS}/{job['name']}").json()["properties"]
        assert (whole["jobType"], whole["experimentName"]) == ("Pipeline", "churn-nightly")
        assert whole["tags"] == {"azureml.batchrun": "true"}
        assert whole["properties"]["azureml.deploymentname"] == "v1"
        ready.settle()
        tasks = [one for one in ready.engine.tasks.values() if one.parallel]
        assert len(tasks) == 2 and tasks[0].parallel
        parallel = tasks[0].parallel
        assert (parallel.script, parallel.input, parallel.append_to) == ("score.py", "job_data_path", "score")
        assert parallel.arguments == "--append_row_file_name predictions.csv"
        said = parallel.settings
        assert (said["size"], said["slots"], said["retries"], said["timeout_s"]) == (10, 2, 3, 30.0)
        for name, task in list(ready.engine.tasks.items()):
            for output in task.outputs:
                assert output.target
                ready.blobs.write(output.target.below("predictions.csv"), b"rows")
            ready.engine.finish(name)
        look(ready)
        done = ready.get(f"{JOBS}/{job['name']}").json()["properties"]
        score = child(ready, "batchscoring", job["name"])
        assert done["status"] == score["status"] == "Completed"
        assert done["outputs"]["score"]["uri"] == score["outputs"]["score"]["uri"]

    @pytest.mark.parametrize(
        ("body", "field", "says"),
        [
            ({}, "properties.inputData", "none is given"),
            ({"inputData": {**INPUT, "two": INPUT["UriFolder"]}}, "properties.inputData", "2 are given"),
            ({"inputData": {"a": {"uri": FOLDER}}}, "properties.inputData.a.jobInputType", "missing"),
            ({"inputData": {"a": {"jobInputType": "Folder"}}}, "properties.inputData.a.jobInputType", "none of"),
            ({"inputData": {"a": {"jobInputType": "UriFile"}}}, "properties.inputData.a.uri", "missing"),
            (
                {"inputData": {"a": {"jobInputType": "Literal", "value": 3}}},
                "properties.inputData.a.jobInputType",
                "Uri",
            ),
            (
                {"inputData": {"a": {"jobInputType": "MLFlowModel", "uri": FOLDER}}},
                "properties.inputData.a.jobInputType",
                "MLTable",
            ),
            (
                {"inputData": {"a": {"jobInputType": "MLTable", "uri": "https://elsewhere.example/t"}}},
                "properties.inputData.a.uri",
                "elsewhere",
            ),
            (
                {"inputData": {"a": {"jobInputType": "UriFolder", "uri": "s3://b/x"}}},
                "properties.inputData.a.uri",
                "s3",
            ),
            (
                {"inputData": {"a": {"jobInputType": "UriFolder", "uri": "azureml:no:1"}}},
                "properties.inputData.a.uri",
                "no",
            ),
            ({"inputData": 3}, "properties.inputData", "object"),
            ({"inputData": INPUT, "miniBatchSize": "few"}, "properties.miniBatchSize", "integer"),
            ({"inputData": INPUT, "miniBatchSize": 0}, "properties.miniBatchSize", "from 1"),
            ({"inputData": INPUT, "retrySettings": {"timeout": "x"}}, "properties.retrySettings.timeout", "duration"),
            ({"inputData": INPUT, "compute": {"target": "gone"}}, "properties.compute", "gone"),
            ({"inputData": INPUT, "outputFileName": "a/b"}, "properties.outputFileName", "no name"),
            (
                {"inputData": INPUT, "outputData": {"s": {"jobOutputType": "MLTable"}}},
                "properties.outputData",
                "UriFile",
            ),
            ({"inputData": INPUT, "name": "a b"}, "name", "a b"),
        ],
    )
    def test_what_is_wrong_is_said_and_makes_no_job(self, ready: Harness, body: Any, field: str, says: str) -> None:
        status, target, message = error_of(ready.send("POST", f"{ENDPOINT}/jobs", {"properties": body}))
        assert (status, target) == (400, field) and says in message, (target, message)
        assert ready.get(f"{ENDPOINT}/jobs").json()["value"] == []

    def test_it_goes_to_the_default_or_to_whom_the_header_names(self, ready: Harness) -> None:
        deploy(ready, "v2", miniBatchSize=7)
        assert invoke(ready, headers={"azureml_model_deployment": "v2"}).status_code == 201
        status, target, message = error_of(invoke(ready, headers={"azureml_model_deployment": "v3"}))
        assert (status, target) == (404, "azureml-model-deployment") and "v1, v2" in message
        invoke(ready)
        ready.put(ENDPOINT, {"properties": {"defaults": {}}})
        status, target, message = error_of(invoke(ready))
        assert (status, target) == (400, "properties.defaults.deploymentName") and "no default" in message
        assert len(ready.get(f"{ENDPOINT}/jobs").json()["value"]) == 2
        (only,) = ready.get(f"{ENDPOINT}/deployments/v2/jobs").json()["value"]
        assert only["properties"]["properties"]["azureml.deploymentname"] == "v2"
        assert ready.get(f"{ENDPOINT}/jobs/{only['name']}").json() == only
        assert ready.get(f"{V1}/jobs/{only['name']}").status_code == 404

    def test_a_request_that_is_repeated_has_the_same_job(self, ready: Harness) -> None:
        first = invoke(ready, headers={"repeatability-request-id": "a"})
        again = invoke(ready, headers={"repeatability-request-id": "a"})
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["name"] == again.json()["name"]
        other = invoke(ready, headers={"repeatability-request-id": "b"})
        assert other.json()["name"] != first.json()["name"]

    def test_names_are_taken_once(self, ready: Harness) -> None:
        assert invoke(ready, name="monday").json()["name"] == "monday"
        assert error_of(invoke(ready, name="monday"))[:2] == (409, "properties.name")
        again = {"repeatability-request-id": "a"}
        answers = [invoke(ready, headers=again, name="tuesday") for _ in range(2)]
        assert [one.status_code for one in answers] == [201, 200]
        assert error_of(invoke(ready, headers={"repeatability-request-id": "b"}, name="tuesday"))[0] == 409

    @pytest.mark.parametrize(("reader", "size"), [("- read_delimited", 1 << 20), ("- drop_columns: [b]", 10)])
    def test_a_table_is_cut_by_bytes_where_it_is_read_and_by_files_else(
        self, ready: Harness, reader: str, size: int
    ) -> None:
        folder = f"{WORKSPACE}/data/churned/versions/1"
        assert ready.put(folder, {"properties": {"dataUri": FOLDER, "dataType": "mltable"}}).status_code == 201
        text = f"paths:\n- pattern: '*.csv'\ntransformations:\n{reader}\n"
        ready.blobs.write(ref_of(ready, FOLDER).below("MLTable"), text.encode())
        answer = invoke(ready, {"t": {"jobInputType": "MLTable", "uri": "azureml:churned:1"}})
        assert answer.status_code == 201, answer.text
        parallel = task_of(ready).parallel
        assert parallel and parallel.table and parallel.table["paths"][0]["kind"] == "pattern"
        assert parallel.settings["size"] == size
        said = ready.get(f"{ENDPOINT}/jobs/{answer.json()['name']}").json()["properties"]["inputData"]
        assert said["t"]["jobInputType"] == "MLTable"

    def test_a_table_without_its_file_fails_the_job_in_words(self, ready: Harness) -> None:
        job = invoke(ready, {"t": {"jobInputType": "MLTable", "uri": FOLDER}}).json()["name"]
        ready.settle()
        look(ready)
        assert ready.get(f"{JOBS}/{job}").json()["properties"]["status"] == "Failed"
        error = ready.row(f"{JOBS}/{job}").status["error"]
        assert "no file MLTable" in str(error)

    def test_as_people_write_it_without_a_client(self, ready: Harness) -> None:
        body = {
            "Properties": {
                "InputData": {"heart-data": {"JobInputType": "UriFolder", "Uri": FOLDER}},
                "OutputData": {
                    "score": {
                        "JobOutputType": "UriFile",
                        "Uri": "azureml://datastores/workspaceblobstore/paths/out/p.csv",
                    }
                },
                "properties": {"experimentName": "mondays"},
                "miniBatchSize": 2,
                "errorThreshold": 5,
                "retrySettings": {"maxRetries": 1, "timeout": "PT2M"},
            }
        }
        answer = ready.send("POST", f"{ENDPOINT}/jobs", body)
        assert answer.status_code == 201, answer.text
        whole = ready.get(f"{JOBS}/{answer.json()['name']}").json()["properties"]
        assert whole["experimentName"] == "mondays" and whole["outputs"]["score"]["uri"].endswith("/out/p.csv")
        task = task_of(ready)
        (output,) = task.outputs
        assert output.target and task.parallel
        assert (output.type, output.target.name) == ("uri_file", "out/p.csv")
        said = task.parallel.settings
        assert (said["size"], said["item_errors"], said["retries"], said["timeout_s"]) == (2, 5, 1, 120.0)

    def test_overrides_of_older_clients(self, ready: Harness) -> None:
        store = f"{WORKSPACE}/datastores/workspaceblobstore"
        invoke(ready, outputDataset={"datastoreId": store, "path": "/out"}, outputFileName="rows.csv")
        task = task_of(ready)
        target = task.outputs[0].target
        assert target and target.name == "out/" and task.parallel
        assert task.parallel.arguments == "--append_row_file_name rows.csv"

    def test_summary_only_keeps_no_rows(self, ready: Harness) -> None:
        deploy(ready, outputAction="summary_only")
        assert invoke(ready, outputFileName="x.csv").status_code == 201
        parallel = task_of(ready).parallel
        assert parallel and (parallel.append_to, parallel.arguments) == ("", "")

    def test_jobs_of_an_endpoint_that_is_gone_are_not_those_of_the_next(self, ready: Harness) -> None:
        name = invoke(ready).json()["name"]
        ready.send("DELETE", ENDPOINT)
        ready.put(ENDPOINT, {"properties": {}})
        assert ready.get(f"{ENDPOINT}/jobs").json()["value"] == [] and ready.get(f"{JOBS}/{name}").status_code == 200

    def test_pages_of_jobs(self, ready: Harness) -> None:
        names = [invoke(ready).json()["name"] for _ in range(5)]
        url, found = f"{ENDPOINT}/jobs?$top=2", []
        page = ready.get(f"{ENDPOINT}/jobs?count=2").json()
        while True:
            found += [one["name"] for one in page["value"]]
            if not (url := page.get("nextLink")):
                break
            page = ready.get(url).json()
        assert found == names[::-1]


def test_curated_environments_serve_too(harness: Harness) -> None:
    prepare(harness, KEY)
    assert deploy(harness, environmentId=CURATED).status_code == 201
