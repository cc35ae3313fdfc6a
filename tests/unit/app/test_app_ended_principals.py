"""Tokens and identity headers of what has ended: a job, a deployment's replicas."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from fakes.examples import EXAMPLES, prepare
from fakes.platform import OWNER, WORKSPACE, Clock, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import ScopeGrants
from smalt.auth.identities import Identities
from smalt.auth.living import FRESH_S, LivingIdentities
from smalt.blob.names import Target
from smalt.principals import LivingHeaders, Workspaces

KEY = "workspaces/onlineendpoints/deployments"
BLUE = EXAMPLES[KEY].url
READ = "Microsoft.MachineLearningServices/workspaces/models/read"


@pytest.fixture
def headers(harness: Harness) -> LivingHeaders:
    """The harness's platform gives out real headers from now on."""
    made = LivingHeaders(harness.settings, Workspaces(harness.database, ScopeGrants()).lives)
    object.__setattr__(harness.platform, "identity_headers", made)
    return made


def serve(harness: Harness) -> str:
    """A deployment that is up; the IDENTITY_HEADER of its replica."""
    assert harness.put(BLUE, EXAMPLES[KEY].body()).status_code in (200, 201)
    harness.settle()
    (name,) = (name for name, one in harness.engine.states.items() if one.phase.value == "preparing")
    harness.engine.start(name)
    harness.engine.ready(name)
    harness.settle()
    return harness.engine.tasks[name].variables["IDENTITY_HEADER"]


def test_a_replicas_header_and_tokens_open_nothing_once_its_deployment_is_gone(
    harness: Harness, headers: LivingHeaders
) -> None:
    prepare(harness, KEY)
    header, workspaces = serve(harness), Workspaces(harness.database, ScopeGrants())
    grant = headers.read(header)
    assert grant is not None and grant.principal.kind == "endpoint"
    workspaces.authorize(grant.principal, READ, WORKSPACE)
    harness.send("DELETE", BLUE)
    harness.settle()
    assert headers.read(header) is None
    with pytest.raises(ArmError) as caught:
        workspaces.authorize(grant.principal, READ, WORKSPACE)
    assert caught.value.status == 401 and caught.value.code == "ExpiredAuthenticationToken"
    account = workspaces.account(WORKSPACE)
    assert not workspaces.permits(grant.principal, Target(account, "c", "b"), "GET")
    again = serve(harness)
    assert headers.read(again) is not None and headers.read(header) is None


def test_a_jobs_header_opens_nothing_once_the_job_has_ended(harness: Harness, headers: LivingHeaders) -> None:
    example = prepare(harness, "workspaces/jobs")
    assert harness.put(example.url, example.body()).status_code == 201
    harness.settle()
    (task,) = harness.engine.tasks.values()
    header = task.variables["IDENTITY_HEADER"]
    assert headers.read(header) is not None
    harness.engine.start(task.name)
    harness.engine.finish(task.name)
    harness.settle()
    assert harness.row(example.url).state == "Completed" and headers.read(header) is None


def test_a_token_of_a_deleted_job_does_not_open_what_the_next_of_its_name_may(
    harness: Harness, headers: LivingHeaders
) -> None:
    example, workspaces = prepare(harness, "workspaces/jobs"), Workspaces(harness.database, ScopeGrants())
    harness.put(example.url, example.body())
    harness.settle()
    (task,) = harness.engine.tasks.values()
    header = task.variables["IDENTITY_HEADER"]
    grant = headers.read(header)
    assert grant is not None and workspaces.lives(grant.principal)
    harness.send("DELETE", example.url)
    harness.settle()
    harness.clock.pass_(61)
    harness.settle()
    assert not workspaces.lives(grant.principal)
    assert harness.put(example.url, example.body()).status_code == 201
    harness.settle()
    assert harness.row(example.url).state not in ("Completed", "Failed", "Canceled")
    assert not workspaces.lives(grant.principal) and headers.read(header) is None
    with pytest.raises(ArmError):
        workspaces.authorize(grant.principal, READ, WORKSPACE)
    later = harness.engine.tasks[[*harness.engine.tasks][-1]].variables["IDENTITY_HEADER"]
    assert headers.read(later) is not None


@pytest.mark.parametrize("kind", ["servicePrincipal", "managedIdentity"])
def test_a_deleted_identity_opens_nothing_within_a_second(harness: Harness, kind: str) -> None:
    clock = Clock()
    identities = Identities(harness.settings, harness.database)
    workspaces = Workspaces(harness.database, ScopeGrants(), LivingIdentities(harness.database, clock))
    headers = LivingHeaders(harness.settings, workspaces.lives)
    principal = identities.create("ci", kind).principal
    header, blob = headers.mint(principal, 3600), Target(workspaces.account(WORKSPACE), "c", "b")
    workspaces.authorize(principal, READ, WORKSPACE)
    assert workspaces.permits(principal, blob, "GET") and headers.read(header) is not None
    identities.delete("ci")
    clock.pass_(FRESH_S)
    with pytest.raises(ArmError) as caught:
        workspaces.authorize(principal, READ, WORKSPACE)
    assert caught.value.status == 401
    assert not workspaces.permits(principal, blob, "GET") and headers.read(header) is None
    same_name = identities.create("ci", kind).principal
    workspaces.authorize(same_name, READ, WORKSPACE)
    assert not workspaces.lives(principal)


def test_a_living_identity_is_looked_up_once_a_second(harness: Harness) -> None:
    clock = Clock()
    principal = Identities(harness.settings, harness.database).create("ci").principal
    workspaces = Workspaces(harness.database, ScopeGrants(), LivingIdentities(harness.database, clock))
    looked: list[str] = []
    event.listen(harness.database._engine, "before_cursor_execute", lambda *given: looked.append(given[2]))
    for _ in range(50):
        workspaces.authorize(principal, READ, WORKSPACE)
    assert len([one for one in looked if "FROM identity" in one]) == 1


def test_the_owner_and_who_was_never_anything_are_told_apart(harness: Harness, headers: LivingHeaders) -> None:
    workspaces = Workspaces(harness.database, ScopeGrants())
    workspaces.authorize(OWNER, READ, WORKSPACE)
    assert headers.read(headers.owner()) is not None
    with pytest.raises(ArmError):
        workspaces.authorize(Principal("o", "endpoint:none", "endpoint", "t", "", WORKSPACE.lower()), READ, WORKSPACE)
