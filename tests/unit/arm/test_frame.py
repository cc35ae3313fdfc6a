"""What clients ask above workspaces: tenants, subscriptions, locations, groups, providers."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.settings import SUBSCRIPTION, TENANT

SUB = f"/subscriptions/{SUBSCRIPTION}"


def test_a_subscription_says_beside_properties_what_clients_read(harness: Harness) -> None:
    (listed,) = harness.get("/subscriptions?api-version=2022-12-01").json()["value"]
    for document in (listed, harness.get(SUB).json()):
        shown = {name: document[name] for name in ("id", "subscriptionId", "state", "tenantId", "managedByTenants")}
        assert shown == {
            "id": SUB,
            "subscriptionId": SUBSCRIPTION,
            "state": "Enabled",
            "tenantId": TENANT,
            "managedByTenants": [],
        }
        assert document["displayName"]
    missing = harness.get(SUB.replace("0001", "0002"))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "SubscriptionNotFound")


def test_a_subscription_is_neither_made_nor_changed_nor_deleted(harness: Harness) -> None:
    for method in ("PUT", "PATCH"):
        assert harness.send(method, SUB, {"properties": {"displayName": "other"}}).status_code == 405
    assert harness.send("DELETE", SUB).status_code == 405
    assert harness.get(SUB).status_code == 200


def test_tenants_and_locations(harness: Harness) -> None:
    (tenant,) = harness.get("/tenants").json()["value"]
    assert tenant["tenantId"] == TENANT and tenant["displayName"] and tenant["defaultDomain"]
    (location,) = harness.get(f"{SUB}/locations").json()["value"]
    assert (location["name"], location["id"]) == ("local", f"{SUB}/locations/local")
    assert location["displayName"] and location["regionalDisplayName"]
    assert harness.get(f"{SUB.replace('0001', '0002')}/locations").status_code == 404
    for method in ("PUT", "DELETE"):
        assert harness.send(method, "/providers/Microsoft.Resources/tenants/x", {}).status_code == 405


def test_the_life_of_a_group(harness: Harness) -> None:
    url = f"{SUB}/resourcegroups/team"
    assert harness.send("HEAD", url).status_code == 404
    absent = harness.send("DELETE", url)
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "ResourceGroupNotFound")
    assert harness.put(url, {"location": "local", "tags": {"a": "1"}}).status_code == 201
    assert harness.put(url, {"location": "local", "tags": {"a": "1"}}).status_code == 200
    there = harness.send("HEAD", url)
    assert (there.status_code, there.content) == (204, b"")
    assert harness.send("PATCH", url, {"tags": {"b": "2"}}).json()["tags"] == {"b": "2"}
    assert harness.get(url).json()["properties"]["provisioningState"] == "Succeeded"
    assert "team" in [one["name"] for one in harness.get(f"{SUB}/resourcegroups?$top=10").json()["value"]]
    workspace = f"{url}/providers/Microsoft.MachineLearningServices/workspaces/inside"
    assert harness.put(workspace, {"properties": {}}).status_code == 202
    harness.settle()
    deleted = harness.send("DELETE", url)
    assert deleted.status_code == 202
    assert harness.get(url).json()["properties"]["provisioningState"] == "Deleting"
    harness.settle()
    assert harness.get(deleted.headers["azure-asyncoperation"]).json()["status"] == "Succeeded"
    assert harness.get(workspace).status_code == 404 and harness.send("HEAD", url).status_code == 404


def test_head_of_any_resource(harness: Harness) -> None:
    assert harness.send("HEAD", WORKSPACE).status_code == 204
    assert harness.send("HEAD", f"{WORKSPACE}-none").status_code == 404


def test_providers(harness: Harness) -> None:
    for scope in (SUB, ""):
        listed = harness.get(f"{scope}/providers?api-version=2022-09-01").json()["value"]
        assert "Microsoft.MachineLearningServices" in [one["namespace"] for one in listed]
        ml = harness.get(f"{scope}/providers/microsoft.machinelearningservices").json()
        assert ml in listed and ml["registrationState"] == "Registered"
        assert ml["id"] == f"{scope}/providers/Microsoft.MachineLearningServices"
    types = {one["resourceType"]: one for one in ml["resourceTypes"]}
    assert types["workspaces/onlineEndpoints"]["apiVersions"] and types["workspaces"]["locations"] == ["local"]
    assert "environmentBuilds" not in types and "gateways" not in types
    registered = harness.send("POST", f"{SUB}/providers/Microsoft.MachineLearningServices/register")
    assert registered.status_code == 200 and registered.json()["registrationState"] == "Registered"


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", f"{SUB}/providers/Microsoft.Nothing", 404),
        ("POST", f"{SUB}/providers/Microsoft.Nothing/register", 404),
        ("GET", f"{GROUP}/providers/Microsoft.MachineLearningServices", 404),
        ("PUT", f"{SUB}/providers/Microsoft.MachineLearningServices", 405),
        ("DELETE", f"{SUB}/providers/Microsoft.MachineLearningServices", 405),
        ("GET", f"{WORKSPACE}/resources", 404),
        ("GET", f"{SUB}/providers/Microsoft.Resources/resources/x", 405),
    ],
)
def test_what_providers_do_not_answer(harness: Harness, method: str, url: str, status: int) -> None:
    body: Any = {} if method in ("PUT", "POST") else None
    answer = harness.send(method, url, body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] and answer.json()["error"]["message"]
