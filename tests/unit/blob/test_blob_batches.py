"""Several requests in one: each with its own rights."""

from __future__ import annotations

import pytest

from fakes.signatures import container_sas


def batch(rig, deletes, part_headers="", **headers):
    """The statuses of one batch that deletes each (name, SAS)."""
    parts = "".join(
        f"--batch_1\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
        f"DELETE /acct.blob.core.smalt/data/{name}?{sas} HTTP/1.1\r\n{part_headers}Content-Length: 0\r\n\r\n"
        for number, (name, sas) in enumerate(deletes)
    )
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = rig.request(
        "POST",
        query="comp=batch",
        container="",
        headers={"content-type": "multipart/mixed; boundary=batch_1", **given},
        body=f"{parts}--batch_1--\r\n".encode(),
    )
    assert answer.status == 202
    lines = [line for line in answer.body.decode().split("\r\n") if line.startswith("HTTP/1.1")]
    return [int(line.split(" ")[1]) for line in lines]


def test_a_part_of_a_batch_comes_from_where_the_batch_comes(rig):
    elsewhere, encrypted = container_sas(rig, ip="10.0.0.1"), container_sas(rig, protocol="https")
    rig.put("a")
    forged = "X-Envoy-External-Address: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
    assert batch(rig, [("a", elsewhere), ("a", encrypted)], forged) == [403, 403]
    assert batch(rig, [("a", elsewhere)], x_envoy_external_address="10.0.0.1") == [202]
    rig.put("a")
    assert batch(rig, [("a", encrypted)], x_forwarded_proto="https") == [202]


def test_batches_delete_each_with_its_own_rights(rig):
    rig.put("a")
    rig.put("b")
    assert batch(rig, [("a", rig.sas), ("b", container_sas(rig, "r")), ("none", rig.sas)]) == [202, 403, 404]
    assert rig.request("GET", query="restype=container&comp=list").names() == ["b"]


@pytest.mark.parametrize("outer", ["", "data"], ids=["account", "container"])
@pytest.mark.parametrize("before", ["/acct.blob.core.smalt", "/acct", ""])
def test_the_parts_of_a_batch_name_their_account_in_any_way(rig, outer, before):
    rig.put("a//b")
    part = (
        "--batch_1\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\n"
        f"DELETE {before}/data/a//b?{rig.sas} HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    )
    answer = rig.request(
        "POST",
        query="comp=batch" if not outer else "restype=container&comp=batch",
        headers={"content-type": "multipart/mixed; boundary=batch_1"},
        body=f"{part}--batch_1--".encode(),
        container=outer,
    )
    assert answer.status == 202
    assert b"HTTP/1.1 202" in answer.body
    assert rig.get("a//b").status == 404


def test_a_batch_is_of_one_kind(rig):
    parts = [f"DELETE /data/a?{rig.sas} HTTP/1.1", f"PUT /data/a?comp=tier&{rig.sas} HTTP/1.1"]
    body = "".join(f"--b\r\nContent-Type: application/http\r\n\r\n{part}\r\n\r\n" for part in parts) + "--b--"
    headers = {"content-type": "multipart/mixed; boundary=b"}
    answer = rig.request("POST", query="comp=batch", headers=headers, body=body.encode(), container="")
    assert (answer.status, answer.code) == (400, "AllOperationsInBatchNotSame")
