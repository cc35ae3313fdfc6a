"""Where nothing keeps a process from the platform's keys, only the owner's may run."""

from __future__ import annotations

import pytest

from fakes.examples import prepare
from fakes.platform import OWNER, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ports import Isolation, Principal
from smalt.kinds.process_settings import check_isolation
from smalt.settings import TENANT

OTHERS = ("servicePrincipal", "managedIdentity", "assignedIdentity")


def who(kind: str) -> Principal:
    return Principal("oid", "ci", kind, TENANT)


@pytest.mark.parametrize("kind", OTHERS)
def test_others_are_refused_with_the_reason_and_the_remedy(harness: Harness, kind: str) -> None:
    harness.engine.isolated = Isolation("none", "This machine allows neither namespaces nor Landlock.")
    with pytest.raises(ArmError) as refused:
        check_isolation(harness.platform, who(kind))
    assert (refused.value.status, refused.value.code) == (403, "NoIsolation")
    assert all(
        part in refused.value.message for part in ("ci", "neither namespaces", "smalt doctor", "--isolation off")
    )


@pytest.mark.parametrize("kind", ["user", "job", "endpoint"])
def test_the_owner_and_what_the_owner_runs_may(harness: Harness, kind: str) -> None:
    harness.engine.isolated = Isolation("none", "Nothing.")
    check_isolation(harness.platform, who(kind))


@pytest.mark.parametrize("level", ["network", "walls", "files", "off"])
@pytest.mark.parametrize("kind", OTHERS)
def test_behind_walls_everybody_may_and_where_they_were_switched_off(harness: Harness, kind: str, level: str) -> None:
    harness.engine.isolated = Isolation(level)
    check_isolation(harness.platform, who(kind))


@pytest.mark.parametrize("key", ["workspaces/jobs", "workspaces/onlineendpoints/deployments"])
def test_jobs_and_deployments_ask(harness: Harness, key: str) -> None:
    example = prepare(harness, key)
    harness.engine.isolated = Isolation("none", "Nothing.")
    harness.caller = who("servicePrincipal")
    answer = harness.put(example.url, example.body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "NoIsolation")
    harness.caller = OWNER
    assert harness.put(example.url, example.body()).status_code == 201
