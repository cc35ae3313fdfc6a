"""A customer-managed key would encrypt nothing here: it is refused, and never shown as if it did."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.store import resources

KEY = {"keyVaultArmId": f"{GROUP}/providers/Microsoft.KeyVault/vaults/keys", "keyIdentifier": "https://k.vault/keys/a"}
ENCRYPTION: dict[str, Any] = {"status": "Enabled", "keyVaultProperties": KEY}
OTHER = WORKSPACE.replace("/bank", "/other")


def refused(answer: Any) -> bool:
    error = answer.json().get("error", {})
    found = (answer.status_code, error.get("code"), error.get("target"))
    return found == (400, "CustomerManagedKeyNotSupported", "properties.encryption")


@pytest.mark.parametrize("encryption", [ENCRYPTION, {"status": "enabled"}, {"keyVaultProperties": KEY}])
def test_a_workspace_with_a_key_is_refused(harness: Harness, encryption: dict[str, Any]) -> None:
    body = {"location": "local", "properties": {"encryption": encryption}}
    answer = harness.put(OTHER, body)
    assert refused(answer) and "smalt keys rotate" in answer.json()["error"]["message"]
    assert harness.get(OTHER).status_code == 404
    assert refused(harness.send("PATCH", WORKSPACE, {"properties": {"encryption": encryption}}))


@pytest.mark.parametrize(
    "encryption", [None, {}, "on", {"status": "Disabled", "keyVaultProperties": KEY}, {"status": ""}]
)
def test_what_asks_for_none_is_taken(harness: Harness, encryption: Any) -> None:
    assert harness.put(OTHER, {"location": "local", "properties": {"encryption": encryption}}).status_code == 202


def test_one_that_an_older_version_took_says_that_it_has_no_effect_and_can_be_changed(harness: Harness) -> None:
    with harness.platform.database.write() as connection:
        row = resources.get(connection, WORKSPACE.lower(), resources.Lock.WRITE)
        assert row is not None
        spec = {**row.spec, "properties": {**row.properties, "encryption": ENCRYPTION}}
        resources.replace_spec(connection, row, spec, state=row.state, now=0, by="it", due=False)
    shown = harness.get(WORKSPACE).json()
    assert shown["properties"]["encryption"] == {**ENCRYPTION, "status": "Disabled"}
    assert harness.send("PATCH", WORKSPACE, {"tags": {"a": "b"}}).status_code in (200, 202)
    assert harness.put(WORKSPACE, {**shown, "tags": {}}).status_code in (200, 202)


@pytest.mark.parametrize(
    ("name", "encryption"),
    [
        ("storageAccount", {"keySource": "Microsoft.Keyvault", "keyvaultproperties": {"keyname": "a"}}),
        ("containerRegistry", {"status": "enabled", "keyVaultProperties": KEY}),
    ],
)
def test_what_stands_beside_a_workspace_takes_none_either(
    harness: Harness, name: str, encryption: dict[str, Any]
) -> None:
    id_ = harness.get(WORKSPACE).json()["properties"][name]
    assert refused(harness.send("PATCH", id_, {"properties": {"encryption": encryption}}))
    own = {"services": {"blob": {"enabled": True}}, "keySource": "Microsoft.Storage"}
    assert harness.send("PATCH", id_, {"properties": {"encryption": own}}).status_code == 200
