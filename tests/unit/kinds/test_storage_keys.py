"""The keys of storage accounts: who signs, what dies with a key, and who may ask."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

import pytest

from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import authorize
from smalt.blob.names import Target
from smalt.blob.protocol.access import Access
from smalt.kinds.assets.lifetimes import signature_hours


class Account:
    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.name = str(harness.row(WORKSPACE).status["account"])
        self.url = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/{self.name}"
        self.access = Access(harness.blobs._accounts, None)

    def keys(self) -> dict[str, str]:
        found = self.harness.send("POST", f"{self.url}/listKeys", {}).json()["keys"]
        return {one["keyName"]: one["value"] for one in found}

    def regenerate(self, name: Any) -> Any:
        return self.harness.send("POST", f"{self.url}/regenerateKey", {"keyName": name})

    def sas(self) -> str:
        answer = self.harness.send("POST", f"{WORKSPACE}/datastores/workspaceblobstore/listSecrets", {})
        return answer.json()["sasToken"]

    def opens(self, sas: str) -> bool:
        container = self.harness.row(f"{WORKSPACE}/datastores/workspaceblobstore").properties["containerName"]
        try:
            asyncio.run(self.access.sas(Target(self.name, container, "a"), dict(parse_qsl(sas)), "https", "127.0.0.1"))
        except ArmError:
            return False
        return True


@pytest.fixture
def account(harness: Harness) -> Account:
    return Account(harness)


def test_both_keys_are_listed_and_one_is_replaced(harness: Harness, account: Account) -> None:
    before = account.keys()
    assert set(before) == {"key1", "key2"}
    answer = account.regenerate("key2")
    assert answer.status_code == 200
    after = account.keys()
    assert after["key1"] == before["key1"] and after["key2"] != before["key2"]
    listed = harness.send("POST", f"{WORKSPACE}/listStorageAccountKeys", {}).json()
    assert listed["userStorageKey"] == after["key1"]
    assert {one["keyName"]: one["value"] for one in listed["keys"]} == after
    assert harness.send("POST", f"{WORKSPACE}/resyncKeys", {}).status_code == 200


def test_what_the_old_key_signed_is_refused_and_new_signatures_open(account: Account) -> None:
    old = account.sas()
    assert account.opens(old)
    account.regenerate("key1")
    assert not account.opens(old) and account.opens(account.sas())


def test_replacing_the_older_key_stops_nobody(harness: Harness, account: Account) -> None:
    first = account.sas()
    harness.platform.account_keys.regenerate(account.name)
    second = account.sas()
    assert account.opens(first) and account.opens(second)
    harness.platform.account_keys.regenerate(account.name)
    third = account.sas()
    assert not account.opens(first) and account.opens(second) and account.opens(third)


@pytest.mark.parametrize("name", ["key3", "", None, 1, ["key1"], {"a": "b"}])
def test_another_name_is_refused(account: Account, name: Any) -> None:
    before = account.keys()
    answer = account.regenerate(name)
    assert answer.status_code == 400 and answer.json()["error"]["target"] == "keyName"
    assert account.keys() == before


def test_an_account_is_known_in_its_own_group_alone(harness: Harness, account: Account) -> None:
    assert harness.put(f"{GROUP}-two", {"location": "local"}).status_code == 201
    elsewhere = account.url.replace(GROUP, f"{GROUP}-two")
    for url in (elsewhere, f"{account.url}x"):
        for action in ("listKeys", "regenerateKey"):
            answer = harness.send("POST", f"{url}/{action}", {"keyName": "key1"})
            assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("kind", ["job", "endpoint"])
def test_jobs_and_replicas_may_not_ask(account: Account, kind: str) -> None:
    who = Principal("o", "n", kind, "t", "", WORKSPACE.lower())
    for action in ("listKeys", "regenerateKey"):
        with pytest.raises(ArmError) as caught:
            authorize(who, f"Microsoft.MachineLearningServices/storageAccounts/{action}/action", account.url)
        assert caught.value.status == 403
    with pytest.raises(ArmError):
        authorize(who, "Microsoft.MachineLearningServices/workspaces/listStorageAccountKeys/action", WORKSPACE)


@pytest.mark.parametrize(("kind", "hours"), [("owner", 24), ("job", 4), ("endpoint", 4), ("assignedIdentity", 4)])
def test_a_signature_of_a_job_is_short(harness: Harness, kind: str, hours: float) -> None:
    who = Principal("o", "n", kind, "t")
    assert signature_hours(who) == hours and signature_hours(who, 2) == 2
    assert signature_hours(who, 168) == (168 if kind == "owner" else 4)
    for wrong in (0, -1, 169, "24", True):
        with pytest.raises(ArmError):
            signature_hours(who, wrong)
