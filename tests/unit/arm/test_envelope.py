"""What of a request's document is kept, beside its properties."""

from __future__ import annotations

import pytest

from fakes.platform import GROUP, WORKSPACE, Harness

LAB = f"{WORKSPACE}-lab"
USER = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ada"


class TestPatch:
    def test_tags_are_replaced(self, harness: Harness) -> None:
        harness.put(LAB, {"tags": {"team": "risk", "old": "1"}, "properties": {"description": "Lab"}})
        patched = harness.send("PATCH", LAB, {"tags": {"team": "churn", "new": "2", "none": None}}).json()
        assert patched["tags"] == {"team": "churn", "new": "2"}
        assert patched["properties"]["description"] == "Lab"

    def test_tags_stay_where_none_are_given(self, harness: Harness) -> None:
        harness.put(LAB, {"tags": {"team": "risk"}, "properties": {"description": "Lab", "friendlyName": "The lab"}})
        patched = harness.send("PATCH", LAB, {"properties": {"description": "Other"}}).json()
        assert patched["tags"] == {"team": "risk"}
        assert (patched["properties"]["description"], patched["properties"]["friendlyName"]) == ("Other", "The lab")
        assert harness.send("PATCH", LAB, {"tags": {}}).json()["tags"] == {}


class TestIdentities:
    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            ("Systemassigned", "SystemAssigned"),
            ("Userassigned", "UserAssigned"),
            ("systemassigned, userassigned", "SystemAssigned,UserAssigned"),
            ("none", "None"),
            ("Workload", "Workload"),
        ],
    )
    def test_the_type_is_spelled_as_the_service_spells_it(self, harness: Harness, sent: str, read: str) -> None:
        given = {"type": sent, "userAssignedIdentities": {USER: {}}}
        harness.put(LAB, {"identity": given, "properties": {}})
        assert harness.get(LAB).json()["identity"] == {**given, "type": read}

    def test_one_that_is_named_and_null_is_shown_as_an_object(self, harness: Harness) -> None:
        """As the service does: clients read neither a resource nor a list with a null there."""
        harness.put(
            LAB, {"identity": {"type": "UserAssigned", "userAssignedIdentities": {USER: None}}, "properties": {}}
        )
        assert harness.get(LAB).json()["identity"]["userAssignedIdentities"] == {USER: {}}

    def test_a_template_s_too(self, harness: Harness) -> None:
        parameters = {"workspaceName": {"value": "templated"}, "identity": {"value": {"type": "Userassigned"}}}
        url = f"{GROUP}/providers/Microsoft.Resources/deployments/dep1"
        assert harness.put(url, {"properties": {"parameters": parameters}}).status_code == 201
        workspace = f"{WORKSPACE.rpartition('/')[0]}/templated"
        assert harness.get(workspace).json()["identity"] == {"type": "UserAssigned"}
