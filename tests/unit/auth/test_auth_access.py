from __future__ import annotations

from dataclasses import replace

import pytest

from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import ScopeGrants, authorize
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


@pytest.mark.parametrize("kind", ["job", "endpoint", "assignedIdentity", "stranger"])
def test_who_should_have_a_scope_and_has_none_may_do_nothing(kind: str) -> None:
    assert not allowed(principal(kind), f"{ML}/jobs/read", f"{WORKSPACE}/jobs/a")


@pytest.mark.parametrize("kind", ["servicePrincipal", "job", "managedIdentity", "assignedIdentity", "endpoint"])
def test_a_scope_ends_at_its_own_resources(kind: str) -> None:
    who = principal(kind, WORKSPACE.lower())
    assert allowed(who, f"{ML}/read", WORKSPACE) and allowed(who, f"{ML}/jobs/read", f"{WORKSPACE.upper()}/JOBS/A")
    for outside in (f"{WORKSPACE}2", f"{WORKSPACE}2/jobs/a", "/subscriptions/s", "", "/"):
        assert not allowed(who, f"{ML}/jobs/read", outside)


@pytest.mark.parametrize("kind", ["job", "managedIdentity", "assignedIdentity"])
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


@pytest.mark.parametrize("kind", ["job", "managedIdentity", "assignedIdentity", "endpoint"])
@pytest.mark.parametrize("verb", ["write", "delete", "action"])
def test_what_other_providers_hang_on_a_workspace_is_not_for_jobs(kind: str, verb: str) -> None:
    who = Principal("o", "n", kind, "t", "", WORKSPACE.lower())
    for type_ in ("Microsoft.Authorization/roleAssignments", "Microsoft.Resources/tags", "Microsoft.Insights/alerts"):
        provider, _, path = type_.partition("/")
        with pytest.raises(ArmError) as caught:
            authorize(who, f"{type_}/{verb}", f"{WORKSPACE}/providers/{provider}/{path}/x")
        assert caught.value.status == 403
        authorize(who, f"{type_}/read", f"{WORKSPACE}/providers/{provider}/{path}/x")


def test_everybody_may_ask_which_subscriptions_there_are() -> None:
    who = Principal("o", "n", "servicePrincipal", "t", "", WORKSPACE.lower())
    authorize(who, "Microsoft.Resources/subscriptions/read", "")
    authorize(who, "Microsoft.Resources/tenants/read", "")
    for action, scope in (
        ("Microsoft.Resources/subscriptions/read", "/subscriptions/s"),
        ("Microsoft.Resources/subscriptions/write", ""),
        ("Microsoft.Authorization/roleAssignments/read", ""),
    ):
        with pytest.raises(ArmError):
            authorize(who, action, scope)


@pytest.mark.parametrize(("scope", "reach"), [("", None), ("/", None), (WORKSPACE.lower(), (WORKSPACE.lower(),))])
def test_lists_reach_as_far_as_the_scope(scope: str, reach: tuple[str, ...] | None) -> None:
    assert ScopeGrants().reach(Principal("o", "n", "servicePrincipal", "t", "", scope), "x/read") == reach


def test_a_guest_reads_what_his_link_shows_and_nothing_else() -> None:
    job = f"{WORKSPACE}/jobs/a".lower()
    who = replace(principal("guest", WORKSPACE.lower()), shared=frozenset({job}))
    for action in ("jobs/read", "jobs/events/read", "jobs/changes/read", "jobs/files/action", "jobs/searchLog/action",
                   "jobs/environment/action"):  # fmt: skip
        assert allowed(who, f"{ML}/{action}", job), action
    for action in ("jobs/write", "jobs/delete", "jobs/cancel/action", "jobs/provenance/action", "read", "changes/read"):
        assert not allowed(who, f"{ML}/{action}", job), action
    registry = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/shared"
    for outside in (f"{WORKSPACE}/jobs/ab", WORKSPACE, "/subscriptions/s", "", registry):
        assert not allowed(who, f"{ML}/jobs/read", outside), outside
    assert not allowed(who, "Microsoft.MachineLearningServices/registries/models/read", f"{registry}/models/m")
    assert not allowed(who, "Microsoft.Resources/subscriptions/read", "")
    grants = ScopeGrants()
    assert grants.reach(who, f"{ML}/jobs/read") == (job,) and grants.reach(who, f"{ML}/datastores/read") == ()
    assert grants.partly(who, f"{ML}/jobs/read", WORKSPACE) and not grants.partly(who, f"{ML}/models/read", WORKSPACE)
    assert not grants.partly(replace(who, shared=frozenset()), f"{ML}/jobs/read", WORKSPACE)


def test_a_job_makes_no_links_that_outlive_it() -> None:
    who = principal("job", WORKSPACE)
    for action in ("sharedLinks/write", "sharedLinks/getLink/action", "sharedLinks/delete"):
        assert not allowed(who, f"{ML}/{action}", f"{WORKSPACE}/sharedLinks/l")
