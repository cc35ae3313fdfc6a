"""Resource ids: every form that clients send, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalt.arm.ids import NotAnId, ResourceId, workspace_id

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


SEGMENT = st.text(st.characters(codec="ascii", exclude_characters="/:", categories=["L", "N"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(SEGMENT, SEGMENT), max_size=4))
def test_what_is_written_is_read_back(pairs: list[tuple[str, str]]) -> None:
    id_ = workspace_id("s", "g", "w")
    for type_, name in pairs:
        id_ = id_.child(type_, name)
    assert ResourceId.parse(str(id_)) == id_
