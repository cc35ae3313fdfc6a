"""Leases: their states, what they ask of other operations, and that they outlive the process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest

from smalt.blob.names import Target
from smalt.blob.store.leases import INFINITE, Lease, Leases

A = "aaaaaaaa-0000-4000-8000-000000000000"
B = "bbbbbbbb-0000-4000-8000-000000000000"


class Leased:
    """One leased thing: a blob, or with an empty name its container."""

    def __init__(self, rig, name):
        self.rig, self.name = rig, name
        self.query = "comp=lease" if name else "restype=container&comp=lease"

    def ask(self, action, lease="", proposed="", duration="", period=""):
        headers = {
            "x-ms-lease-action": action,
            "x-ms-lease-id": lease,
            "x-ms-proposed-lease-id": proposed,
            "x-ms-lease-duration": duration,
            "x-ms-lease-break-period": period,
        }
        answer = self.rig.request(
            "PUT", self.name, self.query, headers={key: value for key, value in headers.items() if value}
        )
        return answer.code or answer.status

    def acquire(self, lease=A, duration="-1"):
        return self.ask("acquire", proposed=lease, duration=duration)

    @property
    def state(self):
        query = "" if self.name else "restype=container"
        headers = self.rig.request("HEAD", self.name, query).headers
        return headers["x-ms-lease-state"], headers["x-ms-lease-status"], headers.get("x-ms-lease-duration")


@pytest.fixture(params=["a", ""], ids=["blob", "container"])
def leased(rig, request):
    rig.put("a")
    return Leased(rig, request.param)


def test_a_lease_is_acquired_renewed_changed_and_released(leased):
    assert leased.state == ("available", "unlocked", None)
    assert leased.acquire(duration="15") == 201
    assert leased.state == ("leased", "locked", "fixed")
    assert leased.acquire(B) == "LeaseAlreadyPresent"
    assert leased.acquire(A) == 201
    assert leased.state == ("leased", "locked", "infinite")
    assert leased.ask("renew", A) == 200
    assert leased.ask("renew", B) == "LeaseIdMismatchWithLeaseOperation"
    assert leased.ask("change", A, B) == 200
    assert leased.ask("change", A, B) == 200  # the same once more
    assert leased.ask("change", A, A) == "LeaseIdMismatchWithLeaseOperation"
    assert leased.ask("release", A) == "LeaseIdMismatchWithLeaseOperation"
    assert leased.ask("release", B.upper()) == 200
    assert leased.state == ("available", "unlocked", None)
    assert leased.ask("break") == "LeaseNotPresentWithLeaseOperation"


def test_a_lease_ends_with_its_time_and_can_be_renewed_while_nothing_was_written(leased):
    leased.acquire(duration="15")
    leased.rig.ahead_s = 14
    assert leased.ask("renew", A) == 200
    leased.rig.ahead_s = 28
    assert leased.state[0] == "leased"
    leased.rig.ahead_s = 30
    assert leased.state == ("expired", "unlocked", None)
    assert leased.ask("change", A, B) == "LeaseNotPresentWithLeaseOperation"
    assert leased.ask("renew", A) == 200
    assert leased.state[0] == "leased"
    leased.rig.ahead_s = 60
    assert leased.acquire(B) == 201
    assert leased.ask("renew", A) == "LeaseIdMismatchWithLeaseOperation"


@pytest.mark.parametrize(
    ("duration", "period", "remains"),
    [("-1", "", 0), ("-1", "20", 20), ("15", "", 15), ("15", "60", 15), ("15", "5", 5), ("60", "0", 0)],
)
def test_a_lease_is_broken_after_a_while(leased, duration, period, remains):
    leased.acquire(duration=duration)
    headers = {"x-ms-lease-action": "break"} | ({"x-ms-lease-break-period": period} if period else {})
    answer = leased.rig.request("PUT", leased.name, leased.query, headers=headers)
    assert (answer.status, int(answer.headers["x-ms-lease-time"])) == (202, remains)
    if remains:
        assert leased.state == ("breaking", "locked", None)
        assert leased.acquire(A) == "LeaseIsBreakingAndCannotBeAcquired"
        assert leased.acquire(B) == "LeaseAlreadyPresent"
        assert leased.ask("renew", A) == "LeaseIsBrokenAndCannotBeRenewed"
        assert leased.ask("change", A, B) == "LeaseIsBreakingAndCannotBeChanged"
        assert leased.ask("break", period="60") == 202  # never later
        leased.rig.ahead_s += remains
    assert leased.state == ("broken", "unlocked", None)
    assert leased.ask("renew", A) == "LeaseIsBrokenAndCannotBeRenewed"
    assert leased.ask("release", A) == 200
    assert leased.acquire(B) == 201


@pytest.mark.parametrize(
    ("action", "headers", "code"),
    [
        ("", {}, "MissingRequiredHeader"),
        ("take", {}, "InvalidHeaderValue"),
        ("acquire", {}, "MissingRequiredHeader"),
        ("acquire", {"duration": "14"}, "InvalidHeaderValue"),
        ("acquire", {"duration": "61"}, "InvalidHeaderValue"),
        ("acquire", {"duration": "-2"}, "InvalidHeaderValue"),
        ("acquire", {"duration": "15", "proposed": "mine"}, "InvalidHeaderValue"),
        ("renew", {}, "MissingRequiredHeader"),
        ("change", {"lease": A}, "MissingRequiredHeader"),
        ("break", {"period": "61"}, "InvalidHeaderValue"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(leased, action, headers, code):
    assert leased.ask(action, **headers) == code


def test_what_is_not_there_has_no_lease(rig):
    assert Leased(rig, "none").acquire() == "BlobNotFound"


WRITES = {
    "put": ("PUT", "", {"x-ms-blob-type": "BlockBlob"}),
    "new only": ("PUT", "", {"x-ms-blob-type": "BlockBlob", "if-none-match": "*"}),
    "block": ("PUT", "comp=block&blockid=MQ==", {}),
    "block list": ("PUT", "comp=blocklist", {}),
    "metadata": ("PUT", "comp=metadata", {}),
    "properties": ("PUT", "comp=properties", {}),
    "tags": ("PUT", "comp=tags", {}),
    "tier": ("PUT", "comp=tier", {"x-ms-access-tier": "Cool"}),
    "delete": ("DELETE", "", {}),
}
BODIES = {"block list": b"<BlockList></BlockList>", "tags": b"<Tags><TagSet></TagSet></Tags>"}


@pytest.mark.parametrize("write", WRITES)
def test_who_writes_must_hold_the_lease(rig, write):
    rig.put("a")
    method, query, headers = WRITES[write]

    def ask(**more):
        sent = {**headers, **more}
        answer = rig.request(method, "a", query, headers=sent, body=BODIES.get(write, b"x") if method == "PUT" else b"")
        return answer.code or answer.status

    missing = ask(**{"x-ms-lease-id": A})
    assert missing == "LeaseNotPresentWithBlobOperation"
    leased = Leased(rig, "a")
    leased.acquire()
    assert ask() == "LeaseIdMissing"
    assert ask(**{"x-ms-lease-id": B}) == "LeaseIdMismatchWithBlobOperation"
    done = ask(**{"x-ms-lease-id": A})
    assert done == "BlobAlreadyExists" if write == "new only" else done < 300
    if write == "delete":
        rig.put("a")
        assert leased.state[0] == "available"
    else:
        assert leased.state[0] == "leased"  # it outlives what it is on


def test_appends_and_copies_are_writes(rig):
    rig.request("PUT", "log", headers={"x-ms-blob-type": "AppendBlob"})
    rig.put("a")
    for name in ("log", "a"):
        Leased(rig, name).acquire()
    url = f"http://127.0.0.1:1/acct.blob.core.smalt/data/a?{rig.sas}"  # a leased source can be read
    append = {"method": "PUT", "path": "log", "query": "comp=appendblock", "body": b"1"}
    copy = {"method": "PUT", "path": "a", "headers": {"x-ms-copy-source": url}}
    for ask in (append, copy):
        assert rig.request(**ask).code == "LeaseIdMissing"
        ask["headers"] = {**ask.get("headers", {}), "x-ms-lease-id": A}
        assert rig.request(**ask).status in (201, 202)


def test_a_reader_may_count_on_its_lease(rig):
    rig.put("a")
    leased = Leased(rig, "a")
    assert rig.get("a", x_ms_lease_id=A).code == "LeaseNotPresentWithBlobOperation"
    leased.acquire(duration="15")
    assert rig.get("a").status == rig.get("a", x_ms_lease_id=A).status == 200
    assert rig.get("a", x_ms_lease_id=B).code == "LeaseIdMismatchWithBlobOperation"
    rig.ahead_s = 20
    assert rig.get("a", x_ms_lease_id=A).code == "LeaseLost"


def test_a_write_ends_what_is_left_of_an_expired_lease(rig):
    rig.put("a")
    leased = Leased(rig, "a")
    leased.acquire(duration="15")
    rig.ahead_s = 20
    assert rig.put("a").status == 201
    assert leased.state == ("available", "unlocked", None)
    assert leased.ask("renew", A) == "LeaseNotPresentWithLeaseOperation" or leased.ask("renew", A)


def test_a_leased_container_is_deleted_by_its_holder_only(rig):
    leased = Leased(rig, "")
    leased.acquire()
    assert rig.put("a").status == 201  # its blobs are not leased with it
    delete = {"method": "DELETE", "query": "restype=container"}
    assert rig.request(**delete).code == "LeaseIdMissing"
    assert rig.request(**delete, headers={"x-ms-lease-id": B}).code == "LeaseIdMismatchWithContainerOperation"
    named = rig.request("PUT", query="restype=container&comp=metadata", headers={"x-ms-lease-id": B})
    assert named.code == "LeaseIdMismatchWithContainerOperation"
    assert rig.request(**delete, headers={"x-ms-lease-id": A}).status == 202
    rig.request("PUT", query="restype=container")
    assert leased.state[0] == "available"


def test_lists_show_leases(rig):
    for name in ("a", "b"):
        rig.put(name)
    Leased(rig, "b").acquire(duration="60")
    Leased(rig, "").acquire()
    blobs = rig.request("GET", query="restype=container&comp=list").xml()
    assert [element.text for element in blobs.iter("LeaseState")] == ["available", "leased"]
    assert [element.text for element in blobs.iter("LeaseDuration")] == ["fixed"]
    containers = rig.request("GET", query="comp=list", container="").xml()
    assert [element.text for element in containers.iter("LeaseState")] == ["leased"]


def test_leases_outlive_a_restart(make_rig, tmp_path):
    first = make_rig(tmp_path / "root")
    first.put("a")
    Leased(first, "a").acquire()
    first.close()
    second = make_rig(tmp_path / "root")
    assert Leased(second, "a").state == ("leased", "locked", "infinite")
    assert second.put("a").code == "LeaseIdMissing"


def test_what_the_platform_removes_has_no_lease_left(rig):
    rig.put("x/a")
    Leased(rig, "x/a").acquire()
    rig.port.remove("acct", "data", "x/")
    assert rig.put("x/a").status == 201
    assert Leased(rig, "x/a").state[0] == "available"


def test_a_lease_on_what_a_job_removed_is_gone_with_it(rig):
    rig.put("a")
    Leased(rig, "a").acquire()
    (rig.folder / "a").unlink()
    assert rig.put("a").status == 201
    assert rig.put("a").status == 201


def test_a_lease_that_is_taken_while_all_are_read_is_known(rig):
    """Two threads need them first: the one that read before must not put what it read over the other's."""
    read, written = threading.Event(), threading.Event()

    class Slow:
        @contextmanager
        def read(self):
            with rig.database.read() as connection:
                yield connection
            read.set()
            written.wait(30)

        @contextmanager
        def write(self):
            with rig.database.write() as connection:
                yield connection
            written.set()

    leases, target = Leases(cast("Any", Slow())), Target("acct", "data", "a")
    with ThreadPoolExecutor(2) as both:
        reading = both.submit(leases.any)
        assert read.wait(30)
        taking = both.submit(leases.put, target, Lease(A, INFINITE))
        reading.result()
        taking.result()
    assert leases.get(target).id == A
