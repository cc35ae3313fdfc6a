"""What Microsoft's own end-to-end tests of the client expect of assets and references."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest

from fakes.examples import CURATED, prepare
from fakes.platform import GROUP, WORKSPACE, Harness

COMPONENT = f"{WORKSPACE}/components/train/versions/0.0.1"
SPEC: dict[str, Any] = {
    "name": "train",
    "version": "0.0.1",
    "type": "command",
    "display_name": "Train",
    "description": "Trains",
    "command": "python train.py --c ${{inputs.c}}",
    "environment": f"azureml:{WORKSPACE}/environments/e/versions/1",
    "inputs": {"c": {"type": "number", "default": 10.5, "optional": True}, "data": {"type": "uri_folder"}},
    "outputs": {"model": {"type": "uri_folder"}},
}


def put_component(harness: Harness, url: str = COMPONENT, *, anonymous: bool = False, **changes: Any) -> Any:
    properties = {"componentSpec": {**SPEC, **changes}, "isAnonymous": anonymous}
    return harness.put(url, {"properties": properties})


def component_spec(harness: Harness, url: str = COMPONENT) -> dict[str, Any]:
    return harness.get(url).json()["properties"]["componentSpec"]


class TestComponents:
    def test_presentation_of_a_version_can_change(self, harness: Harness) -> None:
        assert put_component(harness).status_code == 201
        changed = {"description": "Trains well", "display_name": "Trainer", "tags": {"owner": "ada"}}
        assert put_component(harness, **changed).status_code == 200
        assert {key: component_spec(harness)[key] for key in changed} == changed

    def test_a_version_read_and_sent_back_is_the_same(self, harness: Harness) -> None:
        put_component(harness)
        read = component_spec(harness)
        read["inputs"]["c"]["default"] = str(read["inputs"]["c"]["default"])
        read["environment"] = read["environment"].removeprefix("azureml:")
        answered = {"id": f"azureml:{COMPONENT}", "creation_context": {"created_by": "ada"}}
        sent = {**read, **answered, "_source": "REMOTE.WORKSPACE.COMPONENT", "description": "Trains well"}
        assert harness.put(COMPONENT, {"properties": {"componentSpec": sent}}).status_code == 200
        kept = component_spec(harness)
        assert kept["description"] == "Trains well" and not answered.keys() & kept.keys()

    def test_what_it_does_cannot_change(self, harness: Harness) -> None:
        put_component(harness)
        for change in (
            {"command": "python other.py"},
            {"inputs": {**SPEC["inputs"], "more": {"type": "string"}}},
            {"code": f"azureml:{WORKSPACE}/codes/c/versions/1"},
            {"inputs": {**SPEC["inputs"], "data": {"type": "uri_folder", "optional": True}}},
        ):
            refused = put_component(harness, **change)
            assert refused.status_code == 409, change
            assert "is fixed" in refused.json()["error"]["message"]
        assert component_spec(harness)["command"] == SPEC["command"]

    def test_an_anonymous_one_keeps_its_own_name_and_version(self, harness: Harness) -> None:
        url = f"{WORKSPACE}/components/azureml_anonymous/versions/0f3c"
        assert put_component(harness, url, anonymous=True).status_code == 201
        assert (component_spec(harness, url)["name"], component_spec(harness, url)["version"]) == ("train", "0.0.1")

    def test_defaults_are_read_back(self, harness: Harness) -> None:
        put_component(harness)
        read = component_spec(harness)
        assert read["inputs"]["data"]["optional"] is False and read["inputs"]["c"]["optional"] is True
        assert read["resources"] == {"instance_count": 1}

    def test_counts_of_a_distribution_are_text(self, harness: Harness) -> None:
        given = {"type": "tensorflow", "worker_count": 2, "parameter_server_count": "1"}
        put_component(harness, distribution=given)
        stored = {"type": "tensorflow", "worker_count": "2", "parameter_server_count": "1"}
        assert component_spec(harness)["distribution"] == stored
        assert put_component(harness, distribution=given).status_code == 200, "the same, sent again"

    def test_versions_after_the_first_are_numbered_by_time(self, harness: Harness) -> None:
        above = COMPONENT.rpartition("/versions/")[0]
        assert harness.put(above, {"properties": {}}).json()["properties"]["nextVersion"] == "1"
        put_component(harness, f"{above}/versions/1")
        offered = [harness.get(above).json()["properties"]["nextVersion"]]
        harness.clock.pass_(1)
        offered.append(harness.get(above).json()["properties"]["nextVersion"])
        assert all(re.fullmatch(r"\d{4}(-\d\d){5}-\d{7}", one) for one in offered), offered
        assert offered == sorted(set(offered))
        assert put_component(harness, f"{above}/versions/{offered[-1]}").status_code == 201
        assert harness.get(above).json()["properties"]["latestVersion"] == offered[-1]

    def test_the_default_version_has_the_id_of_its_label(self, harness: Harness) -> None:
        above = COMPONENT.rpartition("/versions/")[0]
        put_component(harness)
        put_component(harness, f"{above}/versions/0.0.2")
        default, named = harness.get(f"{above}/versions/azureml_default"), harness.get(f"{above}/versions/0.0.2")
        assert default.json() == {**named.json(), "id": f"{above}/labels/default"}
        assert named.json()["id"].endswith("/versions/0.0.2")


class TestDatastores:
    URL = f"{WORKSPACE}/datastores/lake"

    def put(self, harness: Harness, **more: Any) -> tuple[str, dict[str, Any]]:
        """How it says that it is opened, and what listSecrets gives for that."""
        properties = {"datastoreType": "AzureBlob", "accountName": "telcolake", "containerName": "raw", **more}
        assert harness.put(self.URL, {"properties": properties}).status_code == 201
        harness.settle()
        shown = harness.get(self.URL).json()["properties"]["credentials"]["credentialsType"]
        return shown, harness.send("POST", f"{self.URL}/listSecrets").json()

    def test_with_the_key_of_its_account_it_hands_out_a_sas(self, harness: Harness) -> None:
        given = {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": "a2V5"}}
        shown, secrets = self.put(harness, credentials=given)
        assert (shown, secrets["secretsType"]) == ("Sas", "Sas") and "sr=c" in secrets["sasToken"]

    @pytest.mark.parametrize("more", [{}, {"credentials": {"credentialsType": "None"}}])
    def test_without_credentials_it_has_no_secret(self, harness: Harness, more: dict[str, Any]) -> None:
        assert self.put(harness, **more) == ("None", {"secretsType": "None"})


class TestDataPaths:
    def uri(self, harness: Harness, version: str, uri: str, type_: str) -> str:
        url = f"{WORKSPACE}/data/churn/versions/{version}"
        assert harness.put(url, {"properties": {"dataUri": uri, "dataType": type_}}).status_code == 201
        return harness.get(url).json()["properties"]["dataUri"]

    def test_folders_in_datastores_end_with_a_slash(self, harness: Harness) -> None:
        base = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc"
        assert self.uri(harness, "1", f"{base}/raw", "uri_folder") == f"{base}/raw/"
        assert self.uri(harness, "2", f"{base}/table/", "mltable") == f"{base}/table/"
        assert self.uri(harness, "3", f"{base}/churn.csv", "uri_file") == f"{base}/churn.csv"
        assert self.uri(harness, "4", "https://bla", "uri_folder") == "https://bla"

    def test_the_upload_again_is_the_same_version(self, harness: Harness) -> None:
        uri = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/raw"
        self.uri(harness, "1", uri, "uri_folder")
        again = harness.put(
            f"{WORKSPACE}/data/churn/versions/1", {"properties": {"dataUri": uri, "dataType": "uri_folder"}}
        )
        assert again.status_code == 200


class TestPinnedCuratedVersions:
    """Azure's curated environments go on to versions that are not shipped here; ordinary code pins one of them."""

    def submit(self, harness: Harness, environment: str, name: str = "pinned") -> Any:
        body = {"jobType": "Command", "command": "true", "environmentId": environment}
        return harness.put(f"{WORKSPACE}/jobs/{name}", {"properties": body})

    def test_the_shipped_version_stands_for_it_and_the_asked_one_is_shown(self, harness: Harness) -> None:
        base = f"{WORKSPACE}/environments/AzureML-sklearn-1.5-ubuntu22.04-py311-cpu/versions"
        registry = "azureml://registries/azureml/environments/AzureML-sklearn-1.5-ubuntu22.04-py311-cpu/versions/8"
        for name, text, shown in (
            ("one", short := "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:33", short),
            ("two", f"{base}/7", f"{base}/7"),
            ("three", registry, f"{base}/8"),
        ):
            answer = self.submit(harness, text, name)
            assert answer.status_code == 201, answer.text
            used = answer.json()["properties"]["environmentId"]
            assert used == shown
            assert self.submit(harness, used, name).status_code == 200, "what was read is written back"
            assert self.submit(harness, f"{base}/12", name).status_code == 409
        harness.settle()
        assert {task.owner.rpartition("/")[2] for task in harness.engine.tasks.values()} == {"one", "two", "three"}

    def test_a_users_own_environment_has_only_its_own_versions(self, harness: Harness) -> None:
        harness.put(f"{WORKSPACE}/environments/mine/versions/1", {"properties": {"image": "base"}})
        refused = self.submit(harness, "azureml:mine:33")
        assert refused.status_code == 400
        assert "no version '33'; there are: 1" in refused.json()["error"]["message"]

    def test_it_is_read_for_the_pinned_version(self, harness: Harness) -> None:
        base = f"{WORKSPACE}/environments/AzureML-sklearn-1.5-ubuntu22.04-py311-cpu/versions"
        read = harness.get(f"{base}/33").json()
        assert (read["name"], read["id"]) == ("33", f"{base}/33")
        assert "Version 12" in read["properties"]["description"]
        assert self.submit(harness, read["id"]).json()["properties"]["environmentId"] == read["id"]
        assert "Version 12" not in (harness.get(f"{base}/12").json()["properties"]["description"] or "")
        assert harness.get(f"{base}/newer").status_code == 404
        harness.put(f"{WORKSPACE}/environments/mine/versions/1", {"properties": {"image": "base"}})
        assert harness.get(f"{WORKSPACE}/environments/mine/versions/33").status_code == 404

    @pytest.mark.parametrize("version", ["12", "33", "mine"])
    def test_it_is_not_written_back_under_that_number(self, harness: Harness, version: str) -> None:
        """Else it would be what `@latest` means from then on."""
        name = f"{WORKSPACE}/environments/AzureML-sklearn-1.5-ubuntu22.04-py311-cpu"
        refused = harness.put(f"{name}/versions/{version}", {"properties": {"image": "base"}})
        assert (refused.status_code, refused.json()["error"]["target"]) == (400, "name")
        assert harness.get(name).json()["properties"]["latestVersion"] == "12"

    def test_a_word_is_no_version_of_a_curated_one(self, harness: Harness) -> None:
        assert self.submit(harness, "azureml:AzureML-sklearn-1.5-ubuntu22.04-py311-cpu:newer").status_code == 400


class TestAnonymousAssets:
    """Clients name an unnamed model by the hash of what it holds, and upload it to a folder of its own name."""

    def put(self, harness: Harness, uri: str, *, anonymous: bool) -> Any:
        properties = {"modelUri": uri, "modelType": "custom_model", "isAnonymous": anonymous}
        return harness.put(f"{WORKSPACE}/models/71a9c8/versions/1", {"properties": properties})

    def test_the_same_content_from_another_folder_is_the_same_version(self, harness: Harness) -> None:
        base = "azureml://datastores/workspaceblobstore/paths/LocalUpload/71a9c8"
        assert self.put(harness, f"{base}/model", anonymous=True).status_code == 201
        again = self.put(harness, f"{base}/copy", anonymous=True)
        assert again.status_code == 200, again.text
        assert again.json()["properties"]["modelUri"] == f"{base}/model"

    def test_a_named_one_keeps_its_path(self, harness: Harness) -> None:
        base = "azureml://datastores/workspaceblobstore/paths/LocalUpload/71a9c8"
        self.put(harness, f"{base}/model", anonymous=False)
        assert self.put(harness, f"{base}/copy", anonymous=False).status_code == 400
        assert self.put(harness, f"{base}/copy", anonymous=True).status_code == 400, "called anonymous afterwards"


class TestModelsOfJobs:
    """A version says where its files are: `models.download` takes datastore and path from there."""

    ARTIFACTS = "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.train-1"

    @pytest.mark.parametrize(
        "given",
        [
            "azureml://jobs/train-1/outputs/artifacts/paths/model/",
            "runs:/train-1/model",
            f"azureml://localhost:7443/mlflow/v2.0{WORKSPACE}/experiments/7/runs/train-1/artifacts/model",
            f"https://localhost:7443/mlflow/v1.0{WORKSPACE}/api/2.0/mlflow-artifacts/artifacts/ExperimentRun/dcid.train-1/model",
        ],
    )
    def test_the_path_is_that_of_the_files(self, harness: Harness, given: str) -> None:
        job = {"jobType": "Command", "command": "true", "environmentId": CURATED}
        assert harness.put(f"{WORKSPACE}/jobs/train-1", {"properties": job}).status_code == 201
        version = f"{WORKSPACE}/models/churn/versions/1"
        made = harness.put(version, {"properties": {"modelUri": given}})
        assert made.status_code == 201, made.text
        properties = made.json()["properties"]
        assert (properties["modelUri"], properties["jobName"]) == (f"{self.ARTIFACTS}/model", "train-1")
        again = {"modelUri": given, "description": "said again"}
        assert harness.put(version, {"properties": again}).json()["properties"]["description"] == "said again"

    def test_artifacts_of_another_workspace_are_refused(self, harness: Harness) -> None:
        given = f"azureml://localhost:7443/mlflow/v2.0{WORKSPACE}-two/experiments/7/runs/train-1/artifacts/model"
        refused = harness.put(f"{WORKSPACE}/models/churn/versions/1", {"properties": {"modelUri": given}})
        assert refused.status_code == 400 and "bank-two" in refused.json()["error"]["message"]

    def test_an_unknown_job_is_refused(self, harness: Harness) -> None:
        given = {"modelUri": "azureml://jobs/nobody/outputs/artifacts/paths/model"}
        refused = harness.put(f"{WORKSPACE}/models/churn/versions/1", {"properties": given})
        assert refused.status_code == 400 and "no job 'nobody'" in refused.json()["error"]["message"]


class TestWhatCannotBeHadIsSaid:
    def refused(self, harness: Harness, url: str, body: dict[str, Any]) -> tuple[str, str]:
        answer = harness.put(url, body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert harness.get(url).status_code == 404
        return error["target"], error["message"]

    @pytest.mark.parametrize("kind", ["hub", "Project", "FeatureStore"])
    def test_kinds_of_workspaces(self, harness: Harness, kind: str) -> None:
        target, message = self.refused(harness, f"{WORKSPACE}-two", {"kind": kind, "properties": {}})
        assert target == "kind" and kind in message

    def test_a_plain_kind_is_a_workspace(self, harness: Harness) -> None:
        assert harness.put(f"{WORKSPACE}-two", {"kind": "Default", "properties": {}}).status_code in (200, 202)

    @pytest.mark.parametrize(
        ("parameters", "target"),
        [
            ({"workspaceName": "lab", "kind": "hub"}, "properties.parameters.kind"),
            ({"workspaceName": "../lab"}, "name"),
        ],
    )
    def test_templates_make_plain_workspaces(self, harness: Harness, parameters: dict[str, str], target: str) -> None:
        url = f"{GROUP}/providers/Microsoft.Resources/deployments/lab"
        given = {name: {"value": value} for name, value in parameters.items()}
        assert self.refused(harness, url, {"properties": {"parameters": given}})[0] == target

    def test_the_compute_of_an_endpoint_that_is_not_there(self, harness: Harness) -> None:
        properties = {"authMode": "Key", "compute": f"{WORKSPACE}/computes/k8s"}
        target, message = self.refused(harness, f"{WORKSPACE}/onlineEndpoints/scores", {"properties": properties})
        assert target == "properties.compute" and "no compute 'k8s'" in message

    def test_kubernetes_deployments(self, harness: Harness) -> None:
        example = prepare(harness, "workspaces/onlineendpoints/deployments")
        target, message = self.refused(harness, example.url, example.body(endpointComputeType="Kubernetes"))
        assert target == "properties.endpointComputeType" and "Managed" in message

    def test_a_names_own_rule_is_told(self, harness: Harness) -> None:
        target, message = self.refused(harness, f"{WORKSPACE}/onlineEndpoints/x", {"properties": {"authMode": "Key"}})
        assert target == "name" and "{1,30}" in message and "255" not in message


class TestPipelineComponents:
    """`test_simple_pipeline_component_create`."""

    URL = f"{WORKSPACE}/components/whole/versions/1"
    PARTS: ClassVar[dict[str, Any]] = {
        "type": "pipeline",
        "inputs": {
            "where": {"type": "string", "default": "azureml:cpu-cluster"},
            "text": {"type": "string", "default": "azureml:kept"},
        },
        "jobs": {"a": {"type": "command", "componentId": COMPONENT, "computeId": "${{parent.inputs.where}}"}},
    }

    def put(self, harness: Harness, **changes: Any) -> Any:
        return harness.put(self.URL, {"properties": {"componentSpec": {**self.PARTS, **changes}}})

    def test_what_it_leaves_open_is_shown_and_not_kept(self, harness: Harness) -> None:
        put_component(harness)
        assert self.put(harness).status_code == 201
        shown = component_spec(harness, self.URL)
        assert shown["is_deterministic"] is False
        (listed,) = harness.get(f"{WORKSPACE}/components/whole/versions").json()["value"]
        assert listed["properties"]["componentSpec"] == shown
        assert (
            harness.put(self.URL, {"properties": {"componentSpec": {**shown, "tags": {"a": "b"}}}}).status_code == 200
        )
        kept = harness.row(self.URL).properties["componentSpec"]
        assert kept["tags"] == {"a": "b"} and "is_deterministic" not in kept
        assert self.put(harness, is_deterministic=True).status_code == 409

    @pytest.mark.parametrize("said", [True, False])
    def test_what_it_says_is_kept(self, harness: Harness, said: bool) -> None:
        put_component(harness)
        self.put(harness, is_deterministic=said)
        assert component_spec(harness, self.URL)["is_deterministic"] is said
        assert self.put(harness, is_deterministic=said).status_code == 200
        assert harness.row(self.URL).properties["componentSpec"]["is_deterministic"] is said

    def test_computes_are_shown_by_their_names(self, harness: Harness) -> None:
        put_component(harness)
        self.put(harness)
        inputs = component_spec(harness, self.URL)["inputs"]
        assert inputs["where"] == {"type": "string", "default": "cpu-cluster", "optional": False}
        assert inputs["text"]["default"] == "azureml:kept"
        assert self.put(harness).status_code == 200
