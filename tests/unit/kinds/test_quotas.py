"""`locations/…/quotas`: said for a workspace and a family of sizes, held to by the scheduler, refused where wrong."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.examples import CURATED
from fakes.jobs import JOBS, cluster, submit
from fakes.parents import FAN
from fakes.platform import WORKSPACE, Harness
from smalt.kinds.computes import quota
from smalt.kinds.jobs.model import TYPES
from smalt.sched import quotas
from smalt.sched.sizes import SIZES

SUBSCRIPTION = WORKSPACE.partition("/resourceGroups/")[0]
LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/local"
CHILD = {"jobType": "Command", "command": "true", "environmentId": CURATED}
FAMILY = "standardDSv2Family"  # of the clusters' size, which has 4 processors


def say(harness: Harness, limit: Any, family: str = FAMILY, workspace: str = WORKSPACE) -> Any:
    value = [{"id": f"{workspace}/quotas/{family}", "type": "quotas", "limit": limit, "unit": "Count"}]
    return harness.send("POST", f"{LOCATION}/updateQuotas", {"value": value})


@pytest.mark.parametrize(
    "family", [FAMILY, "Standard_DSv2_Family_Cluster_Dedicated_vCPUs", "Standard DSv2 Family vCPUs"]
)
def test_a_quota_is_known_by_all_of_azures_names(harness: Harness, family: str) -> None:
    answer = say(harness, 8, family)
    assert answer.status_code == 200, answer.text
    (one,) = answer.json()["value"]
    assert (one["limit"], one["status"], one["id"].rpartition("/")[2]) == (8, "Success", FAMILY)
    (shown,) = harness.get(f"{LOCATION}/quotas").json()["value"]
    assert (shown["limit"], shown["name"]["value"], shown["id"]) == (8, FAMILY, one["id"])


def test_jobs_wait_while_it_is_used_and_go_on_when_it_is_raised(harness: Harness) -> None:
    say(harness, 4)
    compute = cluster(harness, most=3)
    for name in ("first", "second"):
        submit(harness, name, computeId=compute)
    harness.settle()
    assert [harness.row(f"{JOBS}/{name}").state for name in ("first", "second")] == ["Starting", "Queued"]
    used = {one["name"]["value"]: one["currentValue"] for one in harness.get(f"{LOCATION}/usages").json()["value"]}
    assert used[FAMILY] == 4
    (waits,) = harness.get(f"{WORKSPACE}/queues/cpu").json()["properties"]["jobs"]
    assert (waits["job"], waits["lacksQuota"]) == ("second", True)
    say(harness, -1)
    harness.settle()
    assert harness.row(f"{JOBS}/second").state == "Starting"
    assert harness.get(f"{LOCATION}/quotas").json()["value"] == []


def test_a_job_that_could_never_run_is_refused_when_it_is_submitted(harness: Harness) -> None:
    say(harness, 4)
    answer = submit(harness, computeId=cluster(harness, most=3), resources={"instanceCount": 2})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "QuotaExceeded") and "8 processors" in error["message"]


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({}, "value"),
        ({"value": []}, "value"),
        ({"value": ["x"]}, "value[0]"),
        ({"value": [{"id": f"{WORKSPACE}/quotas/{FAMILY}"}]}, "value[0].limit"),
        ({"value": [{"id": f"{WORKSPACE}/quotas/{FAMILY}", "limit": -2}]}, "value[0].limit"),
        ({"value": [{"id": f"{WORKSPACE}/quotas/{FAMILY}", "limit": True}]}, "value[0].limit"),
        ({"value": [{"id": f"{WORKSPACE}/quotas/standardFoo", "limit": 1}]}, "value[0].id"),
        ({"value": [{"id": f"{WORKSPACE}/computes/cpu", "limit": 1}]}, "value[0].id"),
        ({"value": [{"id": 7, "limit": 1}]}, "value[0].id"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(harness: Harness, body: Any, target: str) -> None:
    answer = harness.send("POST", f"{LOCATION}/updateQuotas", body)
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, target), answer.text
    assert harness.get(f"{LOCATION}/quotas").json()["value"] == []


def test_a_workspace_that_is_not_there_is_a_404(harness: Harness) -> None:
    assert say(harness, 4, workspace=f"{WORKSPACE}x").status_code == 404


@pytest.mark.parametrize("family", sorted({size.family for size in SIZES.values()}))
def test_each_family_can_have_one(family: str) -> None:
    assert quota.family_of(family) == family


def test_below_a_resource_group_only_its_own_workspaces_are_reached(harness: Harness) -> None:
    there = LOCATION.replace("/providers/", "/resourceGroups/other/providers/")
    value = [{"id": f"{WORKSPACE}/quotas/{FAMILY}", "limit": 0}]
    answer = harness.send("POST", f"{there}/updateQuotas", {"value": value})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "value[0].id")
    say(harness, 8)
    assert harness.get(f"{there}/quotas").json()["value"] == []


def test_a_quota_goes_with_its_workspace(harness: Harness) -> None:
    say(harness, 0)
    assert harness.send("DELETE", WORKSPACE).status_code in (200, 202)
    harness.settle()
    with harness.database.read() as connection:
        assert quotas.all_(connection) == []


def test_a_child_waits_for_a_quota_that_is_lowered_meanwhile(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TYPES, FAN.name, FAN)
    body = {"jobType": "Fan", "count": 1, "child": {**CHILD, "computeId": cluster(harness)}}
    say(harness, 1)
    assert harness.put(f"{JOBS}/fan", {"properties": body}).status_code == 201
    harness.settle()
    assert harness.row(f"{JOBS}/fan-0").state == "Queued" and harness.row(f"{JOBS}/fan").state == "Running"
    told = [one["reason"] for one in harness.get(f"{JOBS}/fan-0/events").json()["value"]]
    assert any(FAMILY in one for one in told)
