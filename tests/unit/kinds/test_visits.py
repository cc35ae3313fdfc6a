"""Who comes to a job that is another server's is told where that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fakes.jobs import JOBS, submit
from fakes.platform import WORKSPACE, Harness
from smalt.arm.errors import ArmError
from smalt.arm.ports import Principal
from smalt.arm.services import Place
from smalt.auth.service_access import ServiceAccess
from smalt.store import resources
from smalt.web.services import ServiceDoors
from smalt.web.ssh_door import SshDoor
from smalt.web.targets import target
from smalt.web.visits import VisitApp


async def body() -> AsyncIterator[bytes]:
    yield b'{"argv": ["ls"]}\n'


def visit(harness: Harness, principal: Principal) -> Any:
    doors = ServiceDoors(harness.platform, ServiceAccess(harness.settings, harness.database), lambda *_: None)
    ssh = SshDoor(harness.engine, harness.settings.secrets, lambda work: work.close())
    app = VisitApp(harness.platform, lambda scope: principal, lambda *_: None, doors, ssh)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://smalt") as client:
            return await client.post(f"/connect/v1{JOBS}/train-1/nodes/0", content=body())

    return asyncio.run(ask())


def test_another_servers_job(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(harness)
    harness.settle()
    servers = harness.platform.servers
    monkeypatch.setattr(servers, "me", "one")
    monkeypatch.setattr(servers, "others", {"two": "https://two.example:7443"})
    with harness.database.write() as connection:
        resources.settle_at(connection, f"{JOBS}/train-1", "two")
    answer = visit(harness, Principal("oid", "ada", "owner", "tenant"))
    assert answer.status_code == 409 and "https://two.example:7443" in answer.json()["error"]["message"]


def test_a_job_that_acts_as_somebody_is_entered_by_nobody_else(harness: Harness) -> None:
    harness.caller = Principal("ada", "ada", "servicePrincipal", "tenant")
    submit(harness, identity={"identityType": "UserIdentity"})
    harness.settle()
    answer = visit(harness, Principal("bob", "bob", "servicePrincipal", "tenant"))
    assert answer.status_code == 403 and "nobody else" in answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["job", "endpoint", "assignedIdentity", "one that is new"])
def test_what_runs_connects_to_no_job_whatever_identity_it_was_given(harness: Harness, kind: str) -> None:
    submit(harness)
    harness.settle()
    (task,) = harness.row(f"{JOBS}/train-1").status["tasks"]
    principal = Principal("o", "n", kind, "tenant", "", WORKSPACE.lower())
    answer = visit(harness, principal)
    assert answer.status_code == 403 and "connect to no job" in answer.json()["error"]["message"]
    with pytest.raises(ArmError, match="connect to no job"):
        target(harness.platform, lambda *_: None, principal, Place(task, 0))
