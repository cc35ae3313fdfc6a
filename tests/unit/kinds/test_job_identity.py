"""As whom a job may act besides itself: as whoever submitted it, if that is a person, and nobody is tricked into it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fakes import schedules, sweeps
from fakes.jobs import JOBS, submit
from fakes.pipelines import child, component, data, job_of, node, run_to_the_end
from fakes.pipelines import submit as submit_pipeline
from fakes.platform import OWNER, WORKSPACE, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.auth.access import ScopeGrants
from smalt.auth.identities import Identities
from smalt.kinds.jobs.identity import check_visitor
from smalt.kinds.jobs.launch import job_oid
from smalt.principals import LivingHeaders, Workspaces

USER = {"identityType": "UserIdentity"}
IN = "${{parent.inputs.raw}}"
RAW: dict[str, Any] = {"inputs": {"raw": data()}}


@pytest.fixture
def headers(harness: Harness) -> LivingHeaders:
    """The harness's platform gives out real headers from now on."""
    workspaces = Workspaces(harness.database, ScopeGrants())
    made = LivingHeaders(harness.settings, workspaces.lives, workspaces.runs)
    object.__setattr__(harness.platform, "identity_headers", made)
    return made


def variables(harness: Harness, job: str) -> dict[str, str]:
    harness.settle()
    return harness.engine.tasks[harness.row(f"{JOBS}/{job}").status["tasks"][0]].variables


def key(harness: Harness, job: str) -> str:
    """What opens the identity that the job was lent; empty: none was."""
    url = urlsplit(variables(harness, job).get("OBO_ENDPOINT", ""))
    assert url.path in ("", "/obo/token")
    return parse_qs(url.query).get("key", [""])[0]


def as_job(harness: Harness, job: str) -> None:
    """From now on what is asked is asked by this job."""
    row = harness.row(f"{JOBS}/{job}")
    harness.caller = Principal(job_oid(row), f"job:{job}", "job", "t", scope=WORKSPACE.lower())


def refused(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["target"], error["message"]


def test_a_job_acts_as_whoever_submitted_it_while_it_runs(harness: Harness, headers: LivingHeaders) -> None:
    submit(harness, identity=USER)
    grant = headers.read(key(harness, "train-1"))
    assert grant is not None and (grant.principal.oid, grant.principal.kind) == (OWNER.oid, "owner")
    own = headers.read(variables(harness, "train-1")["IDENTITY_HEADER"])
    assert own is not None and own.principal.kind == "job"
    held, (task,) = key(harness, "train-1"), harness.row(f"{JOBS}/train-1").status["tasks"]
    harness.engine.start(task)
    harness.engine.finish(task)
    harness.settle()
    assert headers.read(held) is None
    harness.send("DELETE", f"{JOBS}/train-1")
    harness.clock.pass_(61)
    harness.settle()
    submit(harness, identity=USER)
    assert headers.read(key(harness, "train-1")) is not None and headers.read(held) is None


def test_a_service_principals_scope_stays_and_its_end_is_the_end(harness: Harness, headers: LivingHeaders) -> None:
    identities = Identities(harness.settings, harness.database)
    harness.caller = identities.create("ci", scope=WORKSPACE.lower()).principal
    submit(harness, identity=USER)
    held = key(harness, "train-1")
    grant = headers.read(held)
    assert grant is not None and grant.principal == harness.caller
    identities.delete("ci")
    again = LivingHeaders(harness.settings, Workspaces(harness.database, ScopeGrants()).lives, lambda holder: True)
    assert again.read(held) is None


@pytest.mark.parametrize("identity", [None, {"identityType": "AMLToken"}, {"identityType": "Managed"}])
def test_others_are_lent_nothing(harness: Harness, headers: LivingHeaders, identity: Any) -> None:
    submit(harness, identity=identity)
    assert not key(harness, "train-1")


@pytest.mark.parametrize("name", ["clientId", "objectId", "resourceId"])
def test_a_managed_identity_that_is_not_there_is_refused(harness: Harness, name: str) -> None:
    identity = {"identityType": "Managed", name: "someone"}
    status, target, message = refused(submit(harness, identity=identity))
    assert (status, target) == (400, f"properties.identity.{name}") and "someone" in message
    step = node(component(harness, "part"), data=IN, more={"identity": {"type": "managed", "client_id": "1"}})
    status, target, _ = refused(submit_pipeline(harness, {"a": step}, **RAW))
    assert (status, target) == (400, "properties.jobs.a.identity.clientId")


def test_a_job_has_no_identity_to_hand_on(harness: Harness, headers: LivingHeaders) -> None:
    """Not even one that acts as somebody: it may do so itself, with the token that it gets."""
    submit(harness, "above", identity=USER)
    harness.settle()
    as_job(harness, "above")
    status, target, message = refused(submit(harness, "below", identity=USER))
    assert (status, target) == (400, "properties.identity.identityType") and "another job" in message
    part = component(harness, "part")
    step = node(part, data=IN, more={"identity": {"type": "user_identity"}})
    status, target, _ = refused(submit_pipeline(harness, {"a": step}, **RAW))
    assert (status, target) == (400, "properties.jobs.a.identity.identityType")
    answer = harness.put(schedules.URL, schedules.body(job={"identity": USER}))
    assert refused(answer)[1] == "properties.action.jobDefinition.identity.identityType", answer.text
    assert submit(harness, "below").status_code == 201
    assert submit_pipeline(harness, {"a": node(part, data=IN)}, **RAW).status_code == 201
    assert not key(harness, "below") and not key(harness, job_of(harness, "a"))
    bound = node(part, data=IN, more={"identity": {"type": "${{parent.inputs.who}}"}})
    who = {"jobInputType": "literal", "value": "user_identity"}
    assert refused(submit_pipeline(harness, {"a": bound}, "bound", inputs={"raw": data(), "who": who}))[0] == 400


def test_a_schedules_jobs_act_as_whoever_wrote_it(harness: Harness, headers: LivingHeaders) -> None:
    harness.clock.now = schedules.BEGUN
    schedules.made(harness)
    harness.put(schedules.URL, schedules.body(job={"identity": USER}))
    harness.clock.pass_(3600)
    harness.settle()
    (job,) = schedules.job_rows(harness)
    grant = headers.read(key(harness, job.name))
    assert grant is not None and grant.principal.oid == OWNER.oid


def test_the_trials_of_a_sweep_have_the_sweeps(harness: Harness, headers: LivingHeaders) -> None:
    sweeps.sweep(harness, identity=USER)
    harness.settle()
    assert headers.read(key(harness, "tune_0")) is not None


def test_a_pipelines_is_that_of_its_steps_at_any_depth(harness: Harness, headers: LivingHeaders) -> None:
    part = component(harness, "part")
    inner = component(
        harness, "inner", type="pipeline", inputs={"raw": {"type": "uri_folder"}}, outputs={},
        jobs={"deep": node(part, data=IN)},
    )  # fmt: skip
    jobs = {
        "own": node(part, data=IN, rate="1", more={"identity": {"type": "aml_token"}}),
        "plain": node(part, data=IN, rate="2"),
        "below": node(inner, type="pipeline", raw=IN),
    }
    assert submit_pipeline(harness, jobs, identity=USER, **RAW).status_code == 201
    harness.settle()
    assert child(harness, "own")["identity"] == {"identityType": "AMLToken"} and not key(
        harness, job_of(harness, "own")
    )
    assert child(harness, "plain")["identity"] == USER and key(harness, job_of(harness, "plain"))
    assert key(harness, job_of(harness, "deep", job_of(harness, "below")))


def test_a_component_does_not_take_whoever_uses_it_by_surprise(harness: Harness, headers: LivingHeaders) -> None:
    part = component(harness, "part")
    step = node(part, data=IN, more={"identity": {"type": "user_identity"}})
    inner = component(
        harness, "inner", type="pipeline", inputs={"raw": {"type": "uri_folder"}}, outputs={}, jobs={"deep": step}
    )
    jobs = {"below": node(inner, type="pipeline", raw=IN)}
    status, target, message = refused(submit_pipeline(harness, jobs, **RAW))
    assert (status, target) == (400, "properties.jobs.below.jobs.deep.identity") and "act as whoever" in message
    whole = {"jobType": "Pipeline", "componentId": inner, **RAW}
    assert refused(harness.put(f"{JOBS}/whole", {"properties": whole}))[1] == "properties.jobs.deep.identity"
    told = {"below": {**jobs["below"], "identity": {"type": "user_identity"}}}
    for name, asked, more in (("told", told, {}), ("all", jobs, {"identity": USER})):
        settings = {"force_rerun": True}  # and no waiting for its like
        assert submit_pipeline(harness, asked, name, settings=settings, **RAW, **more).status_code == 201
        harness.settle()
        assert key(harness, job_of(harness, "deep", job_of(harness, "below", name)))


def test_nobody_else_connects_to_a_job_that_acts_as_somebody(harness: Harness) -> None:
    ada, bob = (Principal(name, name, "servicePrincipal", "t") for name in ("ada", "bob"))
    harness.caller = ada
    submit(harness, "plain")
    submit(harness, identity=USER)
    lent, plain = harness.row(f"{JOBS}/train-1"), harness.row(f"{JOBS}/plain")
    check_visitor(lent, ada)
    check_visitor(lent, OWNER)
    check_visitor(plain, bob)
    with pytest.raises(ArmError) as caught:
        check_visitor(lent, bob)
    assert caught.value.status == 403


def test_a_step_that_acts_as_somebody_is_not_what_one_did_that_acted_as_itself(harness: Harness) -> None:
    part = component(harness, "part")
    for name, more in (("own", {}), ("lent", {"identity": USER})):
        assert submit_pipeline(harness, {"a": node(part, data=IN)}, name, **RAW, **more).status_code == 201
        assert run_to_the_end(harness) == ["a"]
