"""`workspaces.begin_create` of the SDK sends a template: what its parameters say is what a PUT would have said."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import GROUP, SUBSCRIPTION, WORKSPACE, Harness

VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/keys"
KEY = "https://keys.vault.local/keys/one/1"
NO_KEYS = "CustomerManagedKeyNotSupported"


def deployed(harness: Harness, **parameters: Any) -> Any:
    values = {"workspaceName": "templated", **parameters}
    body = {"properties": {"mode": "Incremental", "parameters": {name: {"value": one} for name, one in values.items()}}}
    answer = harness.put(f"{GROUP}/providers/Microsoft.Resources/deployments/d", body)
    if answer.status_code != 201:
        return answer.json()["error"]
    harness.settle()
    return harness.get(WORKSPACE.replace("/bank", "/templated")).json()["properties"]


@pytest.mark.parametrize(
    ("parameter", "property_"),
    [
        ("confidential_data", "hbiWorkspace"),
        ("enable_data_isolation", "enableDataIsolation"),
        ("allowRoleAssignmentOnRG", "allowRoleAssignmentOnRG"),
        ("provisionNetworkNow", "provisionNetworkNow"),
    ],
)
def test_flags_are_text_in_a_template(harness: Harness, parameter: str, property_: str) -> None:
    assert deployed(harness, **{parameter: "true"})[property_] is True
    assert deployed(harness, **{parameter: "false"})[property_] is False


@pytest.mark.parametrize(
    ("parameter", "property_", "value"),
    [
        ("serverless_compute_settings", "serverlessComputeSettings", {"serverlessComputeNoPublicIP": True}),
        ("managedNetwork", "managedNetwork", {"isolationMode": "AllowInternetOutbound"}),
        ("primaryUserAssignedIdentity", "primaryUserAssignedIdentity", f"{GROUP}/providers/P/identities/one"),
        ("imageBuildCompute", "imageBuildCompute", "builder"),
        ("systemDatastoresAuthMode", "systemDatastoresAuthMode", "identity"),
    ],
)
def test_what_is_given_is_shown(harness: Harness, parameter: str, property_: str, value: Any) -> None:
    assert deployed(harness, **{parameter: value})[property_] == value
    assert property_ not in deployed(harness, **{parameter: {} if isinstance(value, dict) else ""})


def test_a_key_of_the_users_is_refused(harness: Harness) -> None:
    given = {"cmk_keyvault": VAULT, "resource_cmk_uri": KEY}
    error = deployed(harness, encryption_status="Enabled", encryption_search_resourceid="", **given)
    assert (error["code"], error["target"]) == (NO_KEYS, "properties.parameters.encryption_status")
    assert harness.get(WORKSPACE.replace("/bank", "/templated")).status_code == 404
    assert "encryption" not in deployed(harness, encryption_status="Disabled", **given)


def test_an_account_of_another_subscription_is_not_taken_for_one_here(harness: Harness) -> None:
    group = GROUP.rpartition("/")[2]
    given = {"storageAccountOption": "existing", "storageAccountName": "own1", "storageAccountResourceGroupName": group}
    error = deployed(harness, **given, storageAccountSubscriptionId="11111111-0000-0000-0000-000000000000")
    assert (error["code"], error["target"]) == ("ValidationError", "properties.storageAccount")
    shown = deployed(harness, **given, storageAccountSubscriptionId=SUBSCRIPTION.rpartition("/")[2])
    assert shown["storageAccount"] == f"{GROUP}/providers/Microsoft.Storage/storageAccounts/own1"
