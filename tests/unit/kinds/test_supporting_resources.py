"""The four resources beside a workspace: named, there, listed, gone with it; or those that the user named."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete

from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.bootstrap import bootstrap
from smalt.kinds.workspaces.supporting import SUPPORTS, USER_S
from smalt.store.tables import resource

PROVIDERS = {
    "storageAccount": "Microsoft.Storage/storageAccounts",
    "keyVault": "Microsoft.KeyVault/vaults",
    "containerRegistry": "Microsoft.ContainerRegistry/registries",
    "applicationInsights": "Microsoft.Insights/components",
}
OWN = f"{WORKSPACE}-own"


def ids(harness: Harness, workspace: str = WORKSPACE) -> dict[str, str]:
    properties = harness.get(workspace).json()["properties"]
    return {name: properties[name] for name in PROVIDERS}


def listed(harness: Harness, group: str = GROUP) -> set[str]:
    return {one["id"] for one in harness.get(f"{group}/resources").json()["value"]}


def given(name: str = "mine", group: str = GROUP) -> dict[str, str]:
    return {key: f"{group}/providers/{type_}/{name}{len(key)}" for key, type_ in PROVIDERS.items()}


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_is_named_there_and_listed(harness: Harness, name: str) -> None:
    id_ = ids(harness)[name]
    assert id_.startswith(f"{GROUP}/providers/{PROVIDERS[name]}/")
    document = harness.get(id_).json()
    assert (document["id"], document["type"]) == (id_, PROVIDERS[name])
    assert document["location"] == "local" and document["properties"]["provisioningState"] == "Succeeded"
    assert id_ in listed(harness) and WORKSPACE in listed(harness)
    assert id_ in [one["id"] for one in harness.get(id_.rpartition("/")[0]).json()["value"]]
    assert harness.send("HEAD", id_).status_code == 204


def test_the_storage_account_says_where_its_blobs_are(harness: Harness) -> None:
    id_ = ids(harness)["storageAccount"]
    account = harness.row(WORKSPACE).status["account"]
    document = harness.get(id_).json()
    assert document["properties"]["primaryEndpoints"]["blob"] == f"{harness.settings.account_url(account)}/"
    assert document["kind"] == "StorageV2" and document["sku"]["name"] == "Standard_LRS"
    assert [one["keyName"] for one in harness.send("POST", f"{id_}/listKeys").json()["keys"]] == ["key1", "key2"]


def test_they_can_be_tagged_but_not_made(harness: Harness) -> None:
    id_ = ids(harness)["keyVault"]
    tagged = harness.put(f"{id_}/providers/Microsoft.Resources/tags/default", {"properties": {"tags": {"a": "b"}}})
    assert tagged.status_code == 200
    whole = harness.get(id_).json()
    assert whole["tags"] == {"a": "b"}
    assert harness.put(id_, {**whole, "tags": {"c": "d"}}).json()["tags"] == {"c": "d"}
    for type_ in PROVIDERS.values():
        assert harness.put(f"{GROUP}/providers/{type_}/another1", {"location": "local"}).status_code == 405


def test_they_go_with_the_workspace(harness: Harness) -> None:
    own = ids(harness)
    tags = f"{own['keyVault']}/providers/Microsoft.Resources/tags/default"
    harness.send("DELETE", WORKSPACE)
    harness.settle()
    for id_ in own.values():
        assert harness.get(id_).status_code == 404
    assert harness.get(tags).status_code == 404 and not listed(harness)


def test_a_delete_waits_for_the_workspace(harness: Harness) -> None:
    """As the SDK deletes a workspace with all that depends on it: those first."""
    own = ids(harness)
    operations = [harness.send("DELETE", id_) for id_ in own.values()]
    assert [one.status_code for one in operations] == [202] * 4
    harness.settle()
    assert harness.get(own["storageAccount"]).json()["properties"]["provisioningState"] == "Deleting"
    job = harness.put(
        f"{WORKSPACE}/data/still/versions/1",
        {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x", "dataType": "uri_file"}},
    )
    assert job.status_code == 201
    harness.send("DELETE", WORKSPACE)
    harness.settle()
    for id_, operation in zip(own.values(), operations, strict=True):
        assert harness.get(id_).status_code == 404
        assert harness.get(operation.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"


def test_a_delete_of_what_goes_on_to_be_used_is_given_up(harness: Harness) -> None:
    """Nobody waits for ever, and what is used stays what it was, over a restart too."""
    own = ids(harness)
    operations = {id_: harness.send("DELETE", id_).headers["azure-asyncoperation"] for id_ in own.values()}
    harness.settle()
    harness.clock.now += USER_S - 1
    harness.settle()
    assert all(harness.row(id_).deleting for id_ in own.values())
    harness.loop = harness.new_loop()
    harness.clock.now += 1.5
    harness.settle()
    for id_, operation in operations.items():
        ended = harness.get(operation).json()
        assert (ended["status"], ended["error"]["code"]) == ("Failed", "Conflict")
        assert WORKSPACE in ended["error"]["message"]
        assert harness.get(id_).json()["properties"]["provisioningState"] == "Succeeded"
        assert harness.send("PATCH", id_, {"tags": {"a": "b"}}).status_code == 200
    assert harness.send("POST", f"{own['storageAccount']}/listKeys").status_code == 200
    harness.send("DELETE", WORKSPACE)
    harness.settle()
    assert not listed(harness)


def test_an_account_of_the_users_own_waits_too(harness: Harness) -> None:
    account = given()["storageAccount"]
    harness.put(OWN, {"properties": {"storageAccount": account}})
    harness.settle()
    assert harness.send("DELETE", account).status_code == 202
    harness.settle()
    assert harness.get(account).json()["properties"]["provisioningState"] == "Deleting"
    harness.send("DELETE", OWN)
    harness.settle()
    assert harness.get(account).status_code == 404


def test_a_group_is_deleted_with_them(harness: Harness) -> None:
    harness.send("DELETE", GROUP)
    harness.settle()
    assert harness.get(GROUP).status_code == 404 and harness.get(WORKSPACE).status_code == 404


def test_ids_of_the_users_own(harness: Harness) -> None:
    mine = given()
    assert harness.put(OWN, {"properties": mine}).status_code == 202
    harness.settle()
    assert ids(harness, OWN) == mine
    assert harness.row(OWN).status["account"] == "mine14"
    assert all(harness.get(id_).status_code == 200 for id_ in mine.values()) and set(mine.values()) <= listed(harness)
    # what was read is written back, or left out: both keep it
    for body in (harness.get(OWN).json(), {"properties": {"description": "x"}}):
        assert harness.put(OWN, body).status_code == 202
        harness.settle()
        assert ids(harness, OWN) == mine
    harness.blobs.ensure_container("mine14", "kept")
    harness.send("DELETE", OWN)
    harness.settle()
    assert harness.get(OWN).status_code == 404
    assert all(harness.get(id_).status_code == 200 for id_ in mine.values()), "they are the user's, and stay"
    assert harness.send("POST", f"{mine['storageAccount']}/listKeys").status_code == 200
    for id_ in mine.values():
        assert harness.send("DELETE", id_).status_code == 202
    harness.settle()
    assert not {*mine.values()} & listed(harness)
    assert harness.platform.account_keys.of("mine14") is None


def test_registry_and_insights_may_be_exchanged(harness: Harness) -> None:
    before, mine = ids(harness), given()
    changes = {name: mine[name] for name in ("containerRegistry", "applicationInsights")}
    assert harness.send("PATCH", WORKSPACE, {"properties": changes}).status_code in (200, 202)
    harness.settle()
    assert ids(harness) == {**before, **changes}
    assert harness.get(before["containerRegistry"]).status_code == 404
    assert harness.get(before["keyVault"]).status_code == 200


@pytest.mark.parametrize("name", ["storageAccount", "keyVault"])
def test_storage_and_vault_stay(harness: Harness, name: str) -> None:
    answer = harness.send("PATCH", WORKSPACE, {"properties": {name: given()[name]}})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, f"properties.{name}")


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    "value",
    [
        "x",
        "/subscriptions",
        5,
        {"id": "x"},
        WORKSPACE,
        f"{GROUP}/providers/Microsoft.Storage/storageAccounts/No_Name!",
        f"{GROUP}-none/providers/{{type}}/mine12345",
        f"{WORKSPACE}/providers/{{type}}/mine12345",
    ],
)
def test_bad_ids(harness: Harness, name: str, value: Any) -> None:
    value = value.replace("{type}", PROVIDERS[name]) if isinstance(value, str) else value
    answer = harness.put(OWN, {"properties": {name: value}})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, f"properties.{name}"), answer.text
    assert harness.get(OWN).status_code == 404


def test_an_account_has_one_workspace(harness: Harness) -> None:
    harness.put(f"{GROUP}-two", {"location": "local"})
    harness.blobs.ensure_account("datastores")
    harness.put(OWN, {"properties": given()})
    harness.settle()
    for account in (
        ids(harness)["storageAccount"],
        given()["storageAccount"],
        given(group=f"{GROUP}-two")["storageAccount"],
        f"{GROUP}/providers/Microsoft.Storage/storageAccounts/datastores",
    ):
        answer = harness.put(f"{WORKSPACE}-third", {"properties": {"storageAccount": account}})
        assert answer.status_code == 409, account


def test_an_account_may_be_taken_over_when_its_workspace_is_gone(harness: Harness) -> None:
    account = {"storageAccount": given()["storageAccount"]}
    harness.put(OWN, {"properties": account})
    harness.settle()
    harness.send("DELETE", OWN)
    harness.settle()
    assert harness.put(f"{WORKSPACE}-third", {"properties": account}).status_code == 202
    harness.settle()
    assert harness.row(f"{WORKSPACE}-third").status["account"] == "mine14"
    assert harness.put(OWN, {"properties": account}).status_code == 409


def test_the_template_of_the_sdk_may_name_what_exists(harness: Harness) -> None:
    parameters = {
        "workspaceName": "templated",
        "keyVaultOption": "existing",
        "keyVaultName": "mine8",
        "keyVaultResourceGroupName": GROUP.rpartition("/")[2],
        "storageAccountOption": "new",
        "storageAccountName": "ignored",
    }
    body = {
        "properties": {"mode": "Incremental", "parameters": {key: {"value": one} for key, one in parameters.items()}}
    }
    assert harness.put(f"{GROUP}/providers/Microsoft.Resources/deployments/d", body).status_code == 201
    harness.settle()
    found = ids(harness, WORKSPACE.replace("/bank", "/templated"))
    assert found["keyVault"] == f"{GROUP}/providers/Microsoft.KeyVault/vaults/mine8"
    assert found["storageAccount"].rpartition("/")[2].startswith("smalt")


def test_a_workspace_from_before_them_makes_its_own_after_the_next_start(harness: Harness) -> None:
    kinds = [one.kind for one in SUPPORTS.values()]
    with harness.database.write() as connection:
        connection.execute(delete(resource).where(resource.c.kind.in_(kinds)))
    bootstrap(harness.platform)
    harness.settle()
    assert set(ids(harness).values()) <= listed(harness)
    assert harness.row(WORKSPACE).state == "Succeeded"
