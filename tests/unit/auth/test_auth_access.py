from __future__ import annotations

import pytest

from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import authorize
from smalt.settings import TENANT

ML = "Microsoft.MachineLearningServices/workspaces"
WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/Default"


def principal(kind: str, scope: str = "") -> Principal:
    return Principal("oid-1", "someone", kind, TENANT, "client-1", scope)


def allowed(who: Principal, action: str, resource: str) -> bool:
    try:
        authorize(who, action, resource)
    except ArmError as error:
        assert error.status == 403 and error.code == "AuthorizationFailed"
        return False
    return True


@pytest.mark.parametrize("kind", ["owner", "servicePrincipal", "managedIdentity"])
def test_without_a_scope_the_platforms_own_may_do_everything(kind: str) -> None:
    for action in (f"{ML}/write", f"{ML}/listKeys/action", "Microsoft.Resources/subscriptions/read"):
        assert allowed(principal(kind), action, "/subscriptions/s")


@pytest.mark.parametrize("kind", ["job", "endpoint", "stranger"])
def test_who_should_have_a_scope_and_has_none_may_do_nothing(kind: str) -> None:
    assert not allowed(principal(kind), f"{ML}/jobs/read", f"{WORKSPACE}/jobs/a")


@pytest.mark.parametrize("kind", ["servicePrincipal", "job", "managedIdentity", "endpoint"])
def test_a_scope_ends_at_its_own_resources(kind: str) -> None:
    who = principal(kind, WORKSPACE.lower())
    assert allowed(who, f"{ML}/read", WORKSPACE) and allowed(who, f"{ML}/jobs/read", f"{WORKSPACE.upper()}/JOBS/A")
    for outside in (f"{WORKSPACE}2", f"{WORKSPACE}2/jobs/a", "/subscriptions/s", "", "/"):
        assert not allowed(who, f"{ML}/jobs/read", outside)


@pytest.mark.parametrize("kind", ["job", "managedIdentity"])
def test_a_job_works_in_its_workspace_but_does_not_own_it(kind: str) -> None:
    who = principal(kind, WORKSPACE)
    for action in ("jobs/write", "models/versions/write", "datastores/listSecrets/action", "onlineEndpoints/write"):
        assert allowed(who, f"{ML}/{action}", f"{WORKSPACE}/x")
    for action in ("write", "delete", "listKeys/action", "computes/write", "computes/delete", "onlineEndpoints/delete"):
        assert not allowed(who, f"{ML}/{action}", WORKSPACE)


def test_an_endpoint_only_reads() -> None:
    who = principal("endpoint", WORKSPACE)
    assert allowed(who, f"{ML}/models/read", f"{WORKSPACE}/models/m")
    assert not allowed(who, f"{ML}/models/write", f"{WORKSPACE}/models/m")
    assert not allowed(who, f"{ML}/datastores/listSecrets/action", f"{WORKSPACE}/datastores/d")


def test_a_refusal_says_who_what_and_where() -> None:
    with pytest.raises(ArmError) as caught:
        authorize(principal("job", "/a"), f"{ML}/jobs/read", WORKSPACE)
    expected = (
        "The client 'someone' with object id 'oid-1' does not have authorization to perform action "
        f"'{ML}/jobs/read' over scope '{WORKSPACE}' or the scope is invalid."
    )
    assert caught.value.message.startswith(expected)
