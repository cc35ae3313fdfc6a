"""An identity that the owner makes and gives to a cluster, and what a job there is that names it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes import sweeps
from fakes.jobs import JOBS, submit
from fakes.pipelines import child, component, data, node
from fakes.pipelines import submit as submit_pipeline
from fakes.platform import GROUP, WORKSPACE, Harness
from smalt.arm.audit import known
from smalt.arm.errors import ArmError
from smalt.arm.ids import ResourceId
from smalt.arm.kind import OURS, Request
from smalt.arm.ports import Principal
from smalt.auth.access import ScopeGrants
from smalt.auth.identities import Identities
from smalt.kinds.computes.instances.settings import owner
from smalt.kinds.jobs.launch import job_oid
from smalt.kinds.jobs.model import AUTHOR
from smalt.principals import LivingHeaders, Workspaces
from smalt.settings import TENANT
from smalt.store.author import current, on_behalf

ID = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/trainer"
CLUSTER = f"{WORKSPACE}/computes/cpu"
RAW: dict[str, Any] = {"inputs": {"raw": data()}}


@pytest.fixture
def headers(harness: Harness) -> LivingHeaders:
    workspaces = Workspaces(harness.database, ScopeGrants())
    made = LivingHeaders(harness.settings, workspaces.lives, workspaces.runs)
    object.__setattr__(harness.platform, "identity_headers", made)
    return made


def cluster(harness: Harness, *ids: str) -> dict[str, Any]:
    given = {"type": "UserAssigned", "userAssignedIdentities": {one: {} for one in ids}}
    body = {"location": "local", "properties": {"computeType": "AmlCompute"}, **({"identity": given} if ids else {})}
    answer = harness.put(CLUSTER, body)
    assert answer.status_code in (200, 201), answer.text
    harness.settle()
    return dict(harness.get(CLUSTER).json())


def made(harness: Harness) -> dict[str, str]:
    answer = harness.put(ID, {"location": "local"})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json()["properties"])


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["target"]


def test_an_identity_keeps_its_ids_and_a_new_one_has_others(harness: Harness) -> None:
    first = made(harness)
    assert made(harness) == first and set(first) == {"tenantId", "principalId", "clientId", "provisioningState"}
    assert [one["name"] for one in harness.get(ID.rpartition("/")[0]).json()["value"]] == ["trainer"]
    assert Identities(harness.settings, harness.database).get(first["clientId"]).oid == first["principalId"]
    harness.send("DELETE", ID)
    with pytest.raises(ArmError, match="not found"):
        Identities(harness.settings, harness.database).get(first["clientId"])
    assert made(harness)["clientId"] != first["clientId"]


def test_it_is_found_in_its_subscription_and_goes_with_its_group(harness: Harness) -> None:
    group = f"{GROUP}-two"
    harness.put(group, {"location": "local"})
    answer = harness.put(ID.replace(GROUP, group), {"location": "local"})
    everywhere = f"{GROUP.partition('/resourceGroups')[0]}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    assert [one["id"] for one in harness.get(everywhere).json()["value"]] == [ID.replace(GROUP, group)]
    assert harness.send("DELETE", group).status_code in (200, 202)
    harness.settle()
    assert harness.get(group).status_code == 404
    with pytest.raises(ArmError, match="not found"):
        Identities(harness.settings, harness.database).get(answer.json()["properties"]["clientId"])


def test_a_cluster_shows_the_ids_of_what_it_was_given(harness: Harness) -> None:
    ids, unknown = made(harness), ID.replace("trainer", "nobody")
    named = cluster(harness, ID.upper(), unknown)["identity"]["userAssignedIdentities"]
    assert named == {ID.upper(): {key: ids[key] for key in ("principalId", "clientId")}, unknown: {}}
    harness.send("DELETE", ID)
    made(harness)  # another one, which nobody gave to it
    assert harness.get(CLUSTER).json()["identity"]["userAssignedIdentities"][ID.upper()] == {}


@pytest.mark.parametrize("name", ["clientId", "objectId", "resourceId"])
def test_a_job_that_names_it_is_it_while_it_runs(harness: Harness, headers: LivingHeaders, name: str) -> None:
    ids = made(harness)
    cluster(harness, ID)
    said = {"clientId": ids["clientId"], "objectId": ids["principalId"], "resourceId": ID}[name]
    answer = submit(harness, identity={"identityType": "Managed", name: said}, computeId=CLUSTER)
    assert answer.status_code == 201, answer.text
    assert answer.json()["properties"]["identity"] == {"identityType": "Managed", name: said}
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    (task,) = row.status["tasks"]
    variables = harness.engine.tasks[task].variables
    assert variables["DEFAULT_IDENTITY_CLIENT_ID"] == ids["clientId"] and "OBO_ENDPOINT" not in variables
    grant = headers.read(variables["IDENTITY_HEADER"])
    assert grant is not None and grant.holder == f"job:{job_oid(row)}:{row.id}"
    one = grant.principal
    assert (one.oid, one.client_id, one.kind) == (ids["principalId"], ids["clientId"], "assignedIdentity")
    assert one.scope == WORKSPACE.lower()
    ScopeGrants().check(one, "Microsoft.MachineLearningServices/workspaces/jobs/read", JOBS)
    for action, where in (("workspaces/computes/write", CLUSTER), ("workspaces/jobs/read", f"{WORKSPACE}-two/jobs/a")):
        with pytest.raises(ArmError):  # as a job's own: no cluster, and nothing of another workspace
            ScopeGrants().check(one, f"Microsoft.MachineLearningServices/{action}", where)
    assert Workspaces(harness.database, ScopeGrants()).lives(replace(one, holder=grant.holder))
    harness.engine.start(task)
    harness.engine.finish(task)
    harness.settle()
    assert headers.read(variables["IDENTITY_HEADER"]) is None
    workspaces = Workspaces(harness.database, ScopeGrants())
    assert workspaces.lives(one) and not workspaces.lives(replace(one, holder=grant.holder))


def test_one_that_was_deleted_gives_no_tokens(harness: Harness, headers: LivingHeaders) -> None:
    ids = made(harness)
    cluster(harness, ID)
    submit(harness, identity={"identityType": "Managed", "clientId": ids["clientId"]}, computeId=CLUSTER)
    harness.settle()
    (task,) = harness.row(f"{JOBS}/train-1").status["tasks"]
    harness.send("DELETE", ID)
    assert headers.read(harness.engine.tasks[task].variables["IDENTITY_HEADER"]) is None


def test_only_a_cluster_that_was_given_it_has_it(harness: Harness) -> None:
    ids = made(harness)
    asked = {"identityType": "Managed", "clientId": ids["clientId"]}
    cluster(harness)
    for more in ({}, {"computeId": CLUSTER}):
        assert refusal(submit(harness, identity=asked, **more)) == (400, "properties.identity.clientId")
    cluster(harness, ID)
    wrong = {**asked, "objectId": ids["clientId"]}
    assert refusal(submit(harness, identity=wrong, computeId=CLUSTER)) == (400, "properties.identity.clientId")
    cluster(harness)  # taken away again
    assert refusal(submit(harness, identity=asked, computeId=CLUSTER))[0] == 400


def test_who_may_not_give_it_away_cannot(harness: Harness) -> None:
    made(harness)
    identities = Identities(harness.settings, harness.database)
    harness.caller = identities.create("ci", scope=WORKSPACE.lower()).principal  # of the workspace, not of its group
    given = {"type": "UserAssigned", "userAssignedIdentities": {ID: {}}}
    body = {"location": "local", "properties": {"computeType": "AmlCompute"}}
    assert harness.put(CLUSTER, {**body, "identity": given}).status_code == 403
    with pytest.raises(ArmError):
        ScopeGrants().check(harness.caller, "Microsoft.ManagedIdentity/userAssignedIdentities/write", ID)
    assert harness.put(CLUSTER, body).status_code == 201


def test_trials_and_steps_are_it_too(harness: Harness, headers: LivingHeaders) -> None:
    ids = made(harness)
    cluster(harness, ID)
    asked = {"identityType": "Managed", "clientId": ids["clientId"]}
    assert refusal(sweeps.sweep(harness, name="no", identity=asked))[0] == 400
    sweeps.sweep(harness, name="tune", identity=asked, computeId=CLUSTER)
    step = node(component(harness, "part"), data="${{parent.inputs.raw}}", more={"computeId": CLUSTER})
    answer = submit_pipeline(harness, {"a": step}, identity=asked, **RAW)
    assert answer.status_code == 201, answer.text
    harness.settle()
    assert child(harness, "a")["identity"] == asked
    told = [one.variables for one in harness.engine.tasks.values()]
    assert told and all(one["DEFAULT_IDENTITY_CLIENT_ID"] == ids["clientId"] for one in told)


def test_a_job_that_is_it_lends_nobody_an_identity(harness: Harness) -> None:
    """What the job submits runs as itself, and is of the identity: neither a person's, nor one that others enter."""
    ids = made(harness)
    one = Principal(ids["principalId"], "trainer", "assignedIdentity", TENANT, ids["clientId"], WORKSPACE.lower())
    harness.caller = one
    assert refusal(submit(harness, identity={"identityType": "UserIdentity"}))[0] == 400
    assert submit(harness).status_code == 201
    author = harness.row(f"{JOBS}/train-1").spec[OURS][AUTHOR]
    assert author == {"oid": one.oid, "name": one.name, "kind": one.kind, "scope": one.scope}
    with on_behalf("r-1"):
        known(one)
        assert (current().name, current().answerable) == ("trainer", False)
    with pytest.raises(ArmError, match="own no compute instances"), harness.database.read() as connection:
        instance = Request(harness.platform, ResourceId.parse(CLUSTER), one, 0.0)
        owner(instance, connection, {})


def test_one_that_is_taken_from_its_cluster_is_not_given_to_jobs_that_wait(harness: Harness) -> None:
    ids = made(harness)
    cluster(harness, ID)
    asked = {"identityType": "Managed", "clientId": ids["clientId"]}
    assert submit(harness, identity=asked, computeId=CLUSTER).status_code == 201
    answer = harness.put(CLUSTER, {"location": "local", "properties": {"computeType": "AmlCompute"}})
    assert answer.status_code in (200, 201), answer.text
    harness.settle()
    row = harness.row(f"{JOBS}/train-1")
    assert row.state == "Failed" and not harness.engine.tasks
    error = row.status["error"]
    assert error["code"] == "IdentityNotAssigned" and "no longer" in error["message"]


def test_its_name_is_no_name_of_who_signs_in(harness: Harness) -> None:
    """Who may write in a group names it as he likes."""
    made(harness)
    identities = Identities(harness.settings, harness.database)
    with pytest.raises(ArmError, match="not found"):
        identities.delete("trainer")
    oid = identities.create("trainer").oid
    assert identities.get("trainer").oid == oid
    identities.delete("trainer")
    assert harness.get(ID).status_code == 200


def test_a_step_whose_compute_has_it_not_is_refused_with_its_pipeline(harness: Harness) -> None:
    ids = made(harness)
    cluster(harness, ID)
    asked = {"identityType": "Managed", "clientId": ids["clientId"]}
    part = component(harness, "part")
    elsewhere = node(part, data="${{parent.inputs.raw}}")
    own = node(part, data="${{parent.inputs.raw}}", more={"identity": asked})
    for step, more in ((elsewhere, {"identity": asked}), (own, {}), (own, {"settings": {"default_compute": "local"}})):
        answer = submit_pipeline(harness, {"a": step}, **more, **RAW)
        assert refusal(answer) == (400, "properties.jobs.a.identity.clientId")
    answer = submit_pipeline(harness, {"a": own}, settings={"default_compute": "cpu"}, **RAW)
    assert answer.status_code == 201, answer.text
