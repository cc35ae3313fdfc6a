"""Registries: what is refused, who may not see it, and what is left of an import that is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes.examples import REGISTRY
from fakes.platform import WORKSPACE, Harness
from fakes.registries import MODEL, in_workspace, registry, share, uploaded
from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import ScopeGrants, authorize
from smalt.kinds.assets.registries import account_of
from smalt.store import resources
from smalt.web.registries import FRONT_END, RegistryApp

ENVIRONMENT = f"{REGISTRY}/environments/train/versions/1"
ML = "Microsoft.MachineLearningServices"
JOB = Principal(oid="j", name="job:train", kind="job", tenant="t", scope=WORKSPACE.lower())
MINE = "azureml://datastores/workspaceblobstore/paths/mine"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with registry(tmp_path) as made:
        yield made


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["target"]


class TestBuildContexts:
    def test_one_in_a_workspace_opens_nothing(self, harness: Harness) -> None:
        store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
        theirs = f"{harness.settings.account_url(store['accountName'])}/{store['containerName']}/x"
        answer = harness.put(ENVIRONMENT, {"properties": {"build": {"contextUri": theirs}}})
        assert refused(answer) == (400, "properties.build.contextUri") and "no registry" in answer.text
        harness.put(ENVIRONMENT, {"properties": {"image": "base"}})
        with harness.database.write() as connection:  # as it was taken once
            row = resources.get(connection, ENVIRONMENT)
            assert row is not None
            spec = {"properties": {"build": {"contextUri": theirs}}}
            resources.replace_spec(connection, row, spec, state=row.state, now=row.changed_at, by="x", due=False)
        answer = harness.send("POST", f"{ENVIRONMENT}/getBlobReferenceSAS", {})
        assert answer.status_code == 400 and "sig=" not in answer.text, answer.text

    def test_one_that_was_uploaded_is_read(self, harness: Harness) -> None:
        uri = uploaded(harness, "environments", "train", Dockerfile="FROM x")
        made = harness.put(ENVIRONMENT, {"properties": {"build": {"contextUri": uri}}})
        assert made.status_code == 201, made.text
        kept = made.json()["properties"]["build"]["contextUri"]
        assert kept.startswith(f"https://{account_of('shared')}.blob.core.smalt/environments-")
        assert harness.send("POST", f"{ENVIRONMENT}/getBlobReferenceSAS", {"blobUri": kept}).status_code == 200
        again = harness.put(ENVIRONMENT, {"properties": {"build": {"contextUri": uri}, "tags": {"a": "b"}}})
        assert again.status_code == 200, again.text

    @pytest.mark.parametrize("build", [5, [], {"contextUri": 5.5}, {"contextUri": ["x"]}, {"dockerfilePath": "x"}])
    def test_its_type_is_checked(self, harness: Harness, build: Any) -> None:
        for home in (WORKSPACE, REGISTRY):
            answer = harness.put(f"{home}/environments/e/versions/1", {"properties": {"build": build, "image": "x"}})
            assert answer.status_code == 400 and "properties.build" in answer.json()["error"]["target"], answer.text


def test_what_its_keepers_did_is_not_for_everybody() -> None:
    for what in ("imports", "models/versions/events", "events", "changes", "models/changes"):
        with pytest.raises(ArmError, match="does not have authorization"):
            authorize(JOB, f"{ML}/registries/{what}/read", MODEL.lower())
    assert ScopeGrants().reach(JOB, f"{ML}/registries/imports/read") == (JOB.scope,)


@pytest.mark.parametrize(
    "path",
    [
        f"/mlflow/v2.0{WORKSPACE}/api/2.0/mlflow-artifacts/artifacts/registries/models/x",
        f"/mlflow/v1.0{WORKSPACE.replace('/bank', '/registries')}/registries/runs/get",
        f"{FRONT_END}{WORKSPACE}/jobs/registries/x",
        f"{FRONT_END}{WORKSPACE.replace('/bank', '/registries')}/jobs",
    ],
)
def test_what_is_called_like_one_is_none(path: str) -> None:
    assert not RegistryApp.handles(path)


class TestImports:
    @pytest.mark.parametrize(
        "body", [{}, {"properties": 5}, {"properties": {"sourceAssetId": ["x"]}}, {"properties": []}]
    )
    def test_a_body_of_another_form(self, harness: Harness, body: Any) -> None:
        answer = harness.send("POST", f"{REGISTRY}/import", body)
        assert answer.status_code == 400 and "properties" in answer.json()["error"]["target"], answer.text

    @pytest.mark.parametrize(
        "source",
        [
            f"{WORKSPACE.partition('/workspaces')[0]}/versions/x",
            f"{WORKSPACE}/versions/x",
            f"{WORKSPACE}/models/m/versions/1/versions/1",
            f"{WORKSPACE}/models/m/versions/1/providers/Other.Provider/x/y/versions/1",
            WORKSPACE.partition("/providers")[0],
        ],
    )
    def test_an_id_that_is_none_of_an_asset(self, harness: Harness, source: str) -> None:
        assert refused(share(harness, source)) == (400, "properties.sourceAssetId")

    def test_into_a_registry_that_is_being_deleted(self, harness: Harness) -> None:
        source = in_workspace(harness, "models/own/versions/1", modelUri=MINE)
        assert harness.send("DELETE", REGISTRY).status_code == 202
        answer = share(harness, source)
        assert answer.status_code == 409 and "being deleted" in answer.text, answer.text

    @pytest.mark.parametrize("what", ["import", "registry"])
    def test_one_that_is_deleted_has_not_succeeded(self, harness: Harness, what: str) -> None:
        began = share(harness, in_workspace(harness, "models/own/versions/1", modelUri=MINE))
        (row,) = harness.get(f"{REGISTRY}/imports").json()["value"]
        assert harness.send("DELETE", row["id"] if what == "import" else REGISTRY).status_code == 202
        harness.settle()
        ended = harness.get(began.headers["azure-asyncoperation"]).json()
        assert ended["status"] == "Failed" and "was deleted before" in ended["error"]["message"]
        assert harness.get(row["id"]).status_code == 404

    def test_the_files_stay_when_only_the_record_is_deleted(self, harness: Harness) -> None:
        share(harness, in_workspace(harness, "models/own/versions/1", modelUri=MINE))
        harness.settle()
        uri = harness.get(f"{REGISTRY}/models/own/versions/1").json()["properties"]["modelUri"]
        (row,) = harness.get(f"{REGISTRY}/imports").json()["value"]
        assert harness.send("DELETE", row["id"]).status_code == 202
        harness.settle()
        assert list(harness.blobs.list(account_of("shared"), urlsplit(uri).path.split("/")[1], ""))

    def test_what_lies_beside_it_is_not_looked_at(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        source = in_workspace(harness, "models/own/versions/1", 2, modelUri=MINE)
        seen = list[str]()
        listed = harness.blobs.list

        def watched(account: str, container: str, prefix: str, after: str = "") -> Iterator[Any]:
            for one in listed(account, container, prefix, after):
                seen.append(one.name)
                yield one

        monkeypatch.setattr(harness.blobs, "list", watched)
        share(harness, source)
        harness.settle()
        assert seen and all(not name.startswith("mine-too") for name in seen)

    def test_one_file(self, harness: Harness) -> None:
        store = harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties
        harness.blobs.write(Ref(store["accountName"], store["containerName"], "one.txt"), b"one")
        uri = "azureml://datastores/workspaceblobstore/paths/one.txt"
        share(harness, in_workspace(harness, "data/own/versions/1", dataUri=uri, dataType="uri_file"))
        harness.settle()
        shown = harness.get(f"{REGISTRY}/data/own/versions/1").json()["properties"]["dataUri"]
        container = urlsplit(shown).path.split("/")[1]
        assert [one.name for one in harness.blobs.list(account_of("shared"), container, "")] == ["one.txt"]


@pytest.mark.parametrize(
    "details", [5, [5], [None], [{"systemCreatedStorageAccount": 5}], [{"userCreatedStorageAccount": []}]]
)
def test_details_of_a_region_are_typed(harness: Harness, details: Any) -> None:
    regions = [{"location": "local", "storageAccountDetails": details}]
    answer = harness.put(f"{REGISTRY}2", {"location": "local", "properties": {"regionDetails": regions}})
    assert answer.status_code == 400 and "storageAccountDetails" in answer.json()["error"]["target"], answer.text
