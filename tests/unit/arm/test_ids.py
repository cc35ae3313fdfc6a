"""Resource ids: every form that clients send, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalt.arm.ids import TENANT, NotAnId, ResourceId, Scope, workspace_id

WS = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"


def test_parts() -> None:
    id_ = ResourceId.parse(f"{WS}/data/churn/versions/1")
    assert (id_.kind, id_.name, id_.ancestor("DATA")) == ("workspaces/data/versions", "1", "churn")
    assert str(id_.parent) == f"{WS}/data/churn" and str(id_.workspace) == WS
    assert str(id_.workspace.parent) == "/subscriptions/S/resourceGroups/G"


@pytest.mark.parametrize(
    "text", [WS.upper(), WS + "/", f"azureml:{WS}", WS.replace("resourceGroups", "resourcegroups")]
)
def test_forms_of_the_same(text: str) -> None:
    assert ResourceId.parse(text).key == WS.lower()


def test_the_prefix_that_the_sdk_leaves_in_a_name() -> None:
    assert ResourceId.parse(f"{WS}/data/azureml:credit").name == "credit"


@pytest.mark.parametrize(
    "text", ["", "/", "x", "/subscriptions", f"{WS}/jobs", "/subscriptions/S//resourceGroups/G", "/a/b"]
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(NotAnId):
        ResourceId.parse(text)


AUTH = "/providers/Microsoft.Authorization/roleAssignments/r"


@pytest.mark.parametrize(
    ("text", "parent", "scope"),
    [
        (AUTH, "", Scope.TENANT),
        (f"/subscriptions/S{AUTH}", "/subscriptions/S", Scope.SUBSCRIPTION),
        (f"/subscriptions/S/resourceGroups/G{AUTH}", "/subscriptions/S/resourceGroups/G", Scope.GROUP),
        (f"{WS}{AUTH}", WS, Scope.RESOURCE),
        (f"{WS}/jobs/providers{AUTH}", f"{WS}/jobs/providers", Scope.RESOURCE),
        (f"{WS}{AUTH}{AUTH}", f"{WS}{AUTH}", Scope.RESOURCE),
        (WS, "/subscriptions/S/resourceGroups/G", Scope.GROUP),
        (f"{WS}/jobs/j", WS, Scope.GROUP),
        ("/subscriptions/S/resourceGroups/G", "/subscriptions/S", Scope.SUBSCRIPTION),
        ("/subscriptions/S", "", Scope.TENANT),
        ("/subscriptions/S/providers/Microsoft.Storage", "/subscriptions/S", Scope.SUBSCRIPTION),
    ],
)
def test_what_a_resource_hangs_on(text: str, parent: str, scope: Scope) -> None:
    id_ = ResourceId.parse(text)
    assert (str(id_), str(id_.parent), id_.scope) == (text, parent, scope)


def test_kinds_of_other_providers_have_their_providers_name() -> None:
    extension = ResourceId.parse(f"{WS}{AUTH}")
    assert extension == ResourceId.parse(WS).extension("microsoft.authorization", "roleAssignments", "r").parse(
        str(extension)
    )
    assert extension.kind == "microsoft.authorization/roleassignments"
    assert (extension.provider, extension.name) == ("Microsoft.Authorization", "r")
    assert str(extension.workspace) == WS and extension.ancestors[0] == ResourceId.parse(WS)
    assert [str(one) for one in ResourceId.parse(f"{WS}{AUTH}").ancestors][-1] == "/subscriptions/S"


def test_an_assets_home_is_a_workspace_or_a_registry() -> None:
    registry = WS.replace("workspaces/W", "registries/R")
    for home in (WS, registry):
        assert str(ResourceId.parse(f"{home}/models/m/versions/1{AUTH}").home) == home
    with pytest.raises(NotAnId):
        _ = ResourceId.parse(f"{registry}/models/m").workspace
    for text in ("/subscriptions/S/resourceGroups/G", WS.replace("MachineLearningServices", "Storage"), AUTH):
        with pytest.raises(NotAnId):
            _ = ResourceId.parse(text).home


@pytest.mark.parametrize(
    "text", [f"{WS}{AUTH}/x", "/providers", f"{WS}/providers", f"{AUTH}/providers", "/x/y/providers/P/t/n"]
)
def test_missing_parts(text: str) -> None:
    with pytest.raises(NotAnId):
        ResourceId.parse(text)


def test_the_tenant_is_above_everything() -> None:
    assert TENANT.parent == TENANT and TENANT.ancestors == () and TENANT.key == ""
    assert ResourceId.parse("/subscriptions/S").ancestors == ()


SEGMENT = st.text(st.characters(codec="ascii", exclude_characters="/:", categories=["L", "N"]), min_size=1, max_size=20)


PAIR = st.tuples(SEGMENT.filter(lambda type_: type_.lower() != "providers"), SEGMENT)


@given(
    st.sampled_from([TENANT, ResourceId("s"), ResourceId("s", "g"), workspace_id("s", "g", "w")]), st.lists(PAIR), PAIR
)
def test_what_is_written_is_read_back(id_: ResourceId, pairs: list[tuple[str, str]], last: tuple[str, str]) -> None:
    for type_, name in pairs:
        id_ = id_.child(type_, name)
    id_ = id_.extension("Microsoft.Authorization", *last)
    assert ResourceId.parse(str(id_)) == id_
    assert id_.parent.extension("Microsoft.Authorization", *last) == id_
