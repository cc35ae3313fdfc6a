"""Registries: found by name, spoken to through their front end, shared with, and read from every workspace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes import deployments
from fakes.examples import REGISTRY, prepare
from fakes.platform import GROUP, WORKSPACE, Harness
from fakes.registries import MODEL, in_workspace, model, registry, share, uploaded
from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import ScopeGrants, authorize
from smalt.kinds.assets import imports
from smalt.kinds.assets.registries import account_of
from smalt.store import resources
from smalt.web.registries import FRONT_END

ID = "azureml://registries/shared/models/scorer/versions/1"
DISCOVERY = "/registrymanagement/v1.0/registries/shared/discovery"
JOB = Principal(oid="j", name="job:train", kind="job", tenant="t", scope=WORKSPACE.lower())


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with registry(tmp_path) as made:
        yield made


def test_it_is_found_by_its_name_in_any_case(harness: Harness) -> None:
    found = harness.get(DISCOVERY.replace("shared", "SHARED")).json()
    assert (found["registryName"], found["resourceGroup"]) == ("shared", GROUP.rsplit("/", 1)[1])
    assert found["primaryRegionResourceProviderUri"] == f"{harness.settings.url}/"
    missing = harness.get(DISCOVERY.replace("shared", "ours"))
    assert missing.status_code == 404 and "ours" in missing.json()["error"]["message"]
    assert harness.send("POST", DISCOVERY, {}).status_code == 404


def test_a_name_is_the_servers(harness: Harness) -> None:
    assert harness.put(f"{GROUP}-two", {"location": "local"}).status_code in (200, 201)
    elsewhere = REGISTRY.replace(GROUP, f"{GROUP}-two")
    for url in (elsewhere, elsewhere.replace("shared", "SHARED"), REGISTRY.replace("/shared", "/azureml")):
        refused = harness.put(url, {"location": "local", "properties": {}})
        assert refused.status_code == 409 and refused.json()["error"]["target"] == "name", refused.text


def test_what_it_cannot_have_is_refused(harness: Harness) -> None:
    url = REGISTRY.replace("/shared", "/other")
    own = {"location": "x", "storageAccountDetails": [{"userCreatedStorageAccount": {"armResourceId": {}}}]}
    for regions, field in (([{}], "regionDetails[0].location"), ([own], "regionDetails[0].storageAccountDetails")):
        answer = harness.put(url, {"location": "local", "properties": {"regionDetails": regions}})
        assert answer.status_code == 400 and field in answer.json()["error"]["target"], answer.text


def test_its_document_and_its_storage_account(harness: Harness) -> None:
    shown = harness.get(REGISTRY).json()
    account = shown["properties"]["regionDetails"][0]["storageAccountDetails"][0]["systemCreatedStorageAccount"]
    assert account["storageAccountName"] == account_of("shared")
    assert harness.get(account["armResourceId"]["resourceId"]).status_code == 200
    assert harness.send("DELETE", REGISTRY).status_code == 202
    harness.settle()
    assert harness.get(account["armResourceId"]["resourceId"]).status_code == 404
    assert harness.platform.account_keys.of(account_of("shared")) is None


def test_a_version_goes_through_the_front_end(harness: Harness) -> None:
    made = model(harness)
    assert made["id"] == ID and made["properties"]["provisioningState"] == "Succeeded"
    uri = made["properties"]["modelUri"]
    assert uri.startswith(f"https://{account_of('shared')}.blob.core.smalt/models-")
    assert harness.get(MODEL).json()["id"].lower() == MODEL.lower(), "Resource Manager has its own ids"
    listed = harness.get(f"{FRONT_END}{REGISTRY}/models?listViewType=ListViewType.ACTIVE_ONLY").json()["value"]
    assert [one["id"] for one in listed] == [ID.partition("/versions")[0]]
    again = harness.put(FRONT_END + MODEL, {"properties": {**made["properties"], "isArchived": True}})
    assert again.status_code == 202 and harness.get(again.headers["location"]).json()["properties"]["isArchived"]
    assert harness.put(FRONT_END + MODEL.partition("/versions")[0], {"properties": {}}).status_code == 201
    assert not harness.models.versions, "MLflow knows the models of workspaces"


def test_pages_go_on_through_the_front_end(harness: Harness) -> None:
    for number in range(3):
        harness.put(f"{REGISTRY}/models/m{number}", {"properties": {}})
    url = f"{FRONT_END}{REGISTRY}/models?count=2"
    first = harness.get(url).json()
    rest = harness.get(first["nextLink"]).json()["value"]
    assert [one["id"] for one in rest] == ["azureml://registries/shared/models/m0"]


def test_its_files_are_read_by_a_signature_of_their_own(harness: Harness) -> None:
    uri = model(harness)["properties"]["modelUri"]
    url, body = f"{FRONT_END}{REGISTRY}/datarefs/scorer/versions/1", {"assetId": ID, "blobUri": uri}
    sas = harness.send("POST", url, body).json()["blobReferenceForConsumption"]["credential"]["sasUri"]
    assert "sp=rl" in sas and urlsplit(uri).path.split("/")[1] in sas
    assert harness.send("POST", url, {**body, "blobUri": f"{uri}x".replace("models-", "other-")}).status_code == 404
    assert harness.send("POST", url, {**body, "assetId": ID.replace("scorer", "other")}).status_code == 400
    assert harness.send("POST", url, {"assetId": ID.replace("models", "jobs")}).status_code == 400
    assert harness.put(url, body).status_code == 405


def test_mlflow_is_told_that_it_cannot_use_it(harness: Harness) -> None:
    answer = harness.get(f"/mlflow/v2.0{REGISTRY}/api/2.0/mlflow/registered-models/search")
    assert answer.status_code == 400 and "models.share" in answer.json()["message"]


def test_everybody_reads_and_who_may_writes(harness: Harness) -> None:
    """A job's token is its workspace's; a registry is there for all workspaces."""
    for action in (
        "registries/read",
        "registries/models/versions/read",
        "registries/models/versions/getBlobReferenceSAS/action",
    ):
        authorize(JOB, f"Microsoft.MachineLearningServices/{action}", MODEL.lower())
    for action in ("registries/models/versions/write", "registries/import/action", "registries/delete"):
        with pytest.raises(ArmError, match="does not have authorization"):
            authorize(JOB, f"Microsoft.MachineLearningServices/{action}", MODEL.lower())
    with pytest.raises(ArmError):
        authorize(JOB, "Microsoft.MachineLearningServices/registries/read", GROUP.lower())
    assert ScopeGrants().reach(JOB, "Microsoft.MachineLearningServices/registries/models/read") is None
    harness.caller = JOB
    assert harness.get(DISCOVERY).status_code == 200


class TestShared:
    def test_a_model_is_copied_with_its_files(self, harness: Harness) -> None:
        uri = "azureml://datastores/workspaceblobstore/paths/mine"
        source = in_workspace(harness, "models/own/versions/3", 3, modelUri=uri, tags={"x": "y"}, description="ours")
        began = share(harness, source, destinationName="theirs", destinationVersion="7")
        assert began.status_code == 202, began.text
        assert harness.get(f"{REGISTRY}/models/theirs").status_code == 404, "whole, or not at all"
        harness.settle()
        assert harness.get(began.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
        assert harness.get(began.headers["location"]).status_code == 204
        shown = harness.get(f"{REGISTRY}/models/theirs/versions/7").json()["properties"]
        assert (shown["description"], shown["tags"], shown["modelType"]) == ("ours", {"x": "y"}, "custom_model")
        account, container = account_of("shared"), urlsplit(shown["modelUri"]).path.split("/")[1]
        assert [one.name for one in harness.blobs.list(account, container, "")] == [f"mine/a/{n:03}" for n in range(3)]
        made = harness.get(f"{REGISTRY}/imports").json()["value"]
        assert [(one["properties"]["files"], one["properties"]["bytes"]) for one in made] == [(3, 3)]
        again = share(harness, source, destinationName="theirs", destinationVersion="7")
        assert again.status_code == 409 and "another version" in again.json()["error"]["message"]

    def test_lineage_says_of_what_it_is_a_copy_and_who_reads_it(self, harness: Harness) -> None:
        uri = "azureml://datastores/workspaceblobstore/paths/mine"
        share(harness, in_workspace(harness, "models/own/versions/3", modelUri=uri))
        harness.settle()
        copied = f"{REGISTRY}/models/own/versions/3"
        read = {"model": {"jobInputType": "custom_model", "uri": "azureml://registries/shared/models/own/versions/3"}}
        job = {"jobType": "Command", "command": "true", "environmentId": "azureml:sklearn-1.5:12", "inputs": read}
        assert harness.put(f"{WORKSPACE}/jobs/reader", {"properties": job}).status_code == 201
        found = harness.get(f"{copied}/lineage").json()
        ends = {(one["from"], one["to"]) for one in found["edges"]}
        models, jobs = f"{WORKSPACE}/models/own/versions/3", f"{WORKSPACE}/jobs/reader"
        assert ends == {(models.lower(), copied.lower()), (copied.lower(), jobs.lower())}

    def test_many_files_take_many_steps_each_of_which_may_be_lost(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imports, "FILES_AT_ONCE", 2)
        uri = "azureml://datastores/workspaceblobstore/paths/mine/"
        source = in_workspace(harness, "data/own/versions/1", 7, dataUri=uri, dataType="uri_folder")
        began, copies = share(harness, source), 0
        copy = harness.blobs.copy

        def lost(*refs: Ref) -> None:
            nonlocal copies
            copies += 1
            if copies == 4:
                raise OSError("the disk is away")
            copy(*refs)

        monkeypatch.setattr(harness.blobs, "copy", lost)
        for _ in range(20):
            harness.settle()
            harness.clock.pass_(5)
        assert harness.get(began.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
        shown = harness.get(f"{REGISTRY}/data/own/versions/1").json()["properties"]
        container = urlsplit(shown["dataUri"]).path.split("/")[1]
        assert len(list(harness.blobs.list(account_of("shared"), container, ""))) == 7

    def test_an_environment_is_its_specification(self, harness: Harness) -> None:
        share(
            harness, in_workspace(harness, "environments/train/versions/1", condaFile="dependencies: [x]", image="base")
        )
        curated = harness.get(WORKSPACE).json()["properties"]["workspaceId"]
        share(harness, f"azureml://locations/l/workspaces/{curated}/environments/sklearn-1.5/versions/12")
        harness.settle()
        assert harness.get(f"{REGISTRY}/environments/train/versions/1").json()["properties"]["image"] == "base"
        copied = harness.get(f"{REGISTRY}/environments/sklearn-1.5/versions/12").json()["properties"]
        assert copied["environmentType"] == "UserCreated"

    def test_what_cannot_be_shared_is_refused(self, harness: Harness) -> None:
        guid = harness.get(WORKSPACE).json()["properties"]["workspaceId"]
        begin = f"azureml://locations/l/workspaces/{guid}"
        for source, status in (
            ("", 400), ("azureml:own:1", 400), (f"{begin}/jobs/x/versions/1", 400), (f"{begin}/models/own/versions/9", 404),
            (f"{begin}/components/c/versions/1", 400), (begin.replace(guid, "nowhere") + "/models/own/versions/1", 404),
            ("azureml://registries/none/models/m/versions/1", 404), (f"{WORKSPACE}/models/own", 400), (WORKSPACE, 400),
        ):  # fmt: skip
            answer = share(harness, source)
            assert answer.status_code == status, (source, answer.text)
            assert answer.json()["error"]["target"] == "properties.sourceAssetId", (source, answer.text)

    def test_who_may_not_read_it_may_not_share_it(self, harness: Harness) -> None:
        uri = "azureml://datastores/workspaceblobstore/paths/mine"
        source = in_workspace(harness, "models/own/versions/3", modelUri=uri)
        harness.grants.prefixes = (REGISTRY,)
        assert share(harness, source).status_code == 403

    def test_files_that_are_gone_fail_it_and_a_delete_tidies_up(self, harness: Harness) -> None:
        source = in_workspace(
            harness, "models/own/versions/1", modelUri="azureml://datastores/workspaceblobstore/paths/nothing"
        )
        began = share(harness, source)
        harness.settle()
        ended = harness.get(began.headers["azure-asyncoperation"]).json()
        assert ended["status"] == "Failed" and "no files" in ended["error"]["message"]
        assert harness.get(began.headers["location"]).json()["error"]["code"] == "ResourceNotFound"
        failed = harness.get(f"{REGISTRY}/imports").json()["value"][0]
        assert failed["properties"]["provisioningState"] == "Failed" and failed["properties"]["error"]
        assert harness.get(f"{REGISTRY}/models/own").status_code == 404
        assert harness.send("DELETE", failed["id"]).status_code == 202
        harness.settle()
        assert harness.get(f"{REGISTRY}/imports").json()["value"] == []


class TestFromAJob:
    def submit(self, harness: Harness, **properties: Any) -> Any:
        said = {"jobType": "Command", "command": "true", "environmentId": "azureml:sklearn-1.5:12", **properties}
        return harness.put(f"{WORKSPACE}/jobs/train", {"properties": said})

    def test_inputs_code_and_environment(self, harness: Harness) -> None:
        model(harness)
        harness.put(f"{REGISTRY}/environments/own/versions/2", {"properties": {"image": "base"}})
        code = uploaded(harness, "codes", "c0de", main="print()")
        harness.put(f"{REGISTRY}/codes/c0de/versions/1", {"properties": {"codeUri": code}})
        answer = self.submit(
            harness,
            environmentId="azureml://registries/shared/environments/own/labels/latest",
            codeId="azureml://registries/SHARED/codes/c0de/versions/1",
            inputs={
                "model": {
                    "jobInputType": "custom_model",
                    "uri": "azureml://registries/shared/models/scorer/labels/latest",
                },
                "same": {"jobInputType": "custom_model", "uri": MODEL},
            },
        )
        assert answer.status_code == 201, answer.text
        shown = answer.json()["properties"]
        assert shown["environmentId"] == "azureml://registries/shared/environments/own/versions/2"
        assert shown["inputs"]["model"]["uri"] == shown["inputs"]["same"]["uri"] == ID
        harness.settle()
        task = next(iter(harness.engine.tasks.values()))
        assert task.code is not None and task.code.account == account_of("shared")
        assert [one.source.account for one in task.inputs if one.source] == [account_of("shared")] * 2
        assert harness.put(f"{WORKSPACE}/jobs/train", answer.json()).status_code in (200, 201)

    def test_code_that_another_server_of_the_platform_took(self, harness: Harness) -> None:
        code = uploaded(harness, "codes", "c0de", main="print()").replace(harness.settings.url, "https://other:7443")
        made = harness.put(f"{REGISTRY}/codes/c0de/versions/1", {"properties": {"codeUri": code}})
        assert made.status_code == 201, made.text
        with harness.database.write() as connection:
            row = resources.get(connection, f"{REGISTRY}/codes/c0de/versions/1")
            spec = {"properties": {"codeUri": code}}
            resources.replace_spec(connection, row, spec, state=row.state, now=row.changed_at, by="x", due=False)
        answer = self.submit(harness, codeId="azureml://registries/shared/codes/c0de/versions/1")
        assert answer.status_code == 201, answer.text

    @pytest.mark.parametrize(
        ("uri", "says"),
        [
            ("azureml://registries/none/models/scorer/versions/1", "registry 'none' is not on this server"),
            ("azureml://registries/shared/models/other/versions/1", "no model 'other' in registry 'shared'"),
            ("azureml://registries/shared/models/scorer/versions/9", "no version '9'"),
            ("azureml://registries/shared/models/scorer/labels/best", "label 'best'"),
        ],
    )
    def test_what_is_not_there(self, harness: Harness, uri: str, says: str) -> None:
        model(harness)
        answer = self.submit(harness, inputs={"model": {"jobInputType": "custom_model", "uri": uri}})
        assert answer.status_code == 400 and says in answer.text, answer.text

    def test_nothing_writes_into_a_registry(self, harness: Harness) -> None:
        uri = model(harness)["properties"]["modelUri"]
        inputs = {"model": {"jobInputType": "custom_model", "uri": ID, "mode": "ReadWriteMount"}}
        outputs = {"out": {"jobOutputType": "uri_folder", "uri": f"{uri}-new"}}
        for said in ({"inputs": inputs}, {"outputs": outputs}):
            answer = self.submit(harness, **said)
            assert answer.status_code == 400 and "in a registry" in answer.text, answer.text

    def test_the_shipped_environments_are_there_as_before(self, harness: Harness) -> None:
        answer = self.submit(harness, environmentId="azureml://registries/azureml/environments/sklearn-1.5/versions/99")
        assert answer.status_code == 201, answer.text

    def test_a_component_of_the_registry_is_a_step(self, harness: Harness) -> None:
        code = uploaded(harness, "codes", "c0de", main="print()")
        harness.put(f"{REGISTRY}/codes/c0de/versions/1", {"properties": {"codeUri": code}})
        spec = {
            "type": "command", "command": "true", "code": "azureml://registries/shared/codes/c0de/versions/1",
            "environment": "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
        }  # fmt: skip
        made = harness.put(f"{REGISTRY}/components/step/versions/1", {"properties": {"componentSpec": spec}})
        assert made.status_code == 201, made.text
        component = "azureml://registries/shared/components/step/versions/1"
        jobs = {"one": {"componentId": component, "type": "command", "computeId": "local"}}
        answer = harness.put(f"{WORKSPACE}/jobs/all", {"properties": {"jobType": "Pipeline", "jobs": jobs}})
        assert answer.status_code == 201, answer.text
        harness.settle()
        step = next(iter(harness.engine.tasks.values()))
        assert step.code is not None and step.code.account == account_of("shared")


def test_a_deployment_serves_a_model_of_the_registry(harness: Harness) -> None:
    model(harness)
    prepare(harness, deployments.KEY)
    answer = deployments.deploy(harness, model=ID)
    assert answer.json()["properties"]["model"] == ID
    served = [ref.account for task in harness.engine.tasks.values() for ref in task.refs()]
    assert account_of("shared") in served
    deployments.come_up(harness)
    assert deployments.state(harness) == "Succeeded"
    edges = harness.get(f"{MODEL}/lineage").json()["edges"]
    assert [one["to"] for one in edges] == [deployments.BLUE.lower()]
