"""Snapshots: they stay as they are, are listed, read, copied and deleted, and belong to their blob."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest


def take(rig, name="a", **headers):
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    answer = rig.request("PUT", name, "comp=snapshot", headers=sent)
    assert answer.status == 201, answer.body
    return answer.headers["x-ms-snapshot"]


def read(rig, snapshot, name="a", method="GET", comp=""):
    return rig.request(method, name, f"snapshot={quote(snapshot)}{'&comp=' + comp if comp else ''}")


def listed(rig, query=""):
    answer = rig.request("GET", query=f"restype=container&comp=list&include=snapshots,metadata{query}")
    assert answer.status == 200, answer.body
    return [(one.findtext("Name"), one.findtext("Snapshot") or "") for one in answer.xml().iterfind("Blobs/Blob")]


def test_a_snapshot_stays_what_the_blob_was(rig):
    rig.put("a", b"one", content_type="text/one", x_ms_meta_k="1")
    before = rig.request("HEAD", "a").headers
    snapshot = take(rig)
    rig.put("a", b"another")
    got = read(rig, snapshot)
    assert (got.body, got.headers["content-type"], got.headers["x-ms-meta-k"]) == (b"one", "text/one", "1")
    for name in ("etag", "last-modified", "x-ms-creation-time"):
        assert got.headers[name] == before[name]
    assert "x-ms-lease-state" not in got.headers
    assert read(rig, snapshot, method="HEAD").headers["content-length"] == "3"
    assert rig.request("GET", "a", f"snapshot={quote(snapshot)}", headers={"range": "bytes=1-1"}).body == b"n"
    assert rig.get("a").body == b"another"
    assert read(rig, "2020-01-01T00:00:00.0000000Z").code == "BlobNotFound"


def test_a_job_or_an_append_changes_the_blob_only(rig):
    rig.request("PUT", "a", headers={"x-ms-blob-type": "AppendBlob"})
    rig.request("PUT", "a", "comp=appendblock", body=b"1")
    first = take(rig)
    rig.request("PUT", "a", "comp=appendblock", body=b"2")
    second = take(rig)
    with (rig.folder / "a").open("ab") as file:
        file.write(b"3")
    assert [read(rig, one).body for one in (first, second)] == [b"1", b"12"]
    assert read(rig, first).headers["x-ms-blob-type"] == "AppendBlob"
    assert rig.get("a").body == b"123"


def test_metadata_of_its_own(rig):
    rig.put("a", x_ms_meta_k="1")
    snapshot = take(rig, x_ms_meta_other="2")
    headers = read(rig, snapshot, method="HEAD").headers
    assert {key: value for key, value in headers.items() if "meta" in key} == {"x-ms-meta-other": "2"}
    assert headers["etag"] != rig.request("HEAD", "a").headers["etag"]


def test_lists_show_snapshots_before_their_blob_in_pages_of_any_size(rig):
    for name in ("a", "a/b", "b"):
        rig.put(name)
    first, second, third = take(rig), take(rig), take(rig, "b")
    whole = [("a", first), ("a", second), ("a", ""), ("a/b", ""), ("b", third), ("b", "")]
    assert listed(rig) == whole
    for size in (1, 2, 3, 5):
        pages, marker = [], ""
        while True:
            query = f"restype=container&comp=list&include=snapshots&maxresults={size}&marker={marker}"
            page = rig.request("GET", query=query).xml()
            entries = [(one.findtext("Name"), one.findtext("Snapshot") or "") for one in page.iterfind("Blobs/Blob")]
            assert len(entries) <= size
            pages += entries
            marker = page.findtext("NextMarker") or ""
            if not marker:
                break
        assert pages == whole, size
    assert listed(rig, "&prefix=b") == [("b", third), ("b", "")]
    assert rig.request("GET", query="restype=container&comp=list").names() == ["a", "a/b", "b"]
    both = rig.request("GET", query="restype=container&comp=list&include=snapshots&delimiter=/")
    assert both.code == "InvalidQueryParameterValue"


def test_a_blob_with_snapshots_is_deleted_with_them_or_not_at_all(rig):
    rig.put("a", b"1")
    rig.put("other")
    first, second = take(rig), take(rig)
    assert rig.request("DELETE", "a").code == "SnapshotsPresent"
    assert rig.request("DELETE", "a", f"snapshot={quote(first)}").status == 202
    assert read(rig, first).status == 404
    assert rig.request("DELETE", "a", headers={"x-ms-delete-snapshots": "only"}).status == 202
    assert (read(rig, second).status, rig.get("a").status) == (404, 200)
    assert rig.request("DELETE", "other").status == 202
    third = take(rig)
    assert rig.request("DELETE", "a", headers={"x-ms-delete-snapshots": "include"}).status == 202
    assert (read(rig, third).status, rig.get("a").status) == (404, 404)
    assert rig.request("DELETE", "a", headers={"x-ms-delete-snapshots": "all"}).code == "InvalidHeaderValue"
    assert rig.request("DELETE", "a", headers={"x-ms-delete-snapshots": "only"}).code == "BlobNotFound"
    assert not any(path.is_file() for path in (rig.root / "blobs/.snapshots").rglob("*"))


def test_a_snapshot_is_a_source_for_copies(rig):
    rig.put("a", b"old", x_ms_meta_k="1")
    snapshot = take(rig)
    rig.put("a", b"new")
    url = f"http://127.0.0.1:1/acct.blob.core.smalt/data/a?snapshot={quote(snapshot)}&{rig.sas}"
    assert rig.request("PUT", "a", headers={"x-ms-copy-source": url}).status == 202  # promoted
    got = rig.get("a")
    assert (got.body, got.headers["x-ms-meta-k"]) == (b"old", "1")


@pytest.mark.parametrize(
    ("method", "comp"),
    [("PUT", ""), ("PUT", "metadata"), ("PUT", "lease"), ("PUT", "block"), ("PUT", "tags"), ("PUT", "snapshot")],
)
def test_a_snapshot_never_changes(rig, method, comp):
    rig.put("a")
    assert read(rig, take(rig), method=method, comp=comp).code == "InvalidQueryParameterValue"


def test_conditions_and_leases(rig):
    rig.put("a")
    none = rig.request("PUT", "none", "comp=snapshot")
    assert none.code == "BlobNotFound"
    assert rig.request("PUT", "a", "comp=snapshot", headers={"if-match": '"0x1"'}).code == "ConditionNotMet"
    headers = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
    lease = rig.request("PUT", "a", "comp=lease", headers=headers).headers["x-ms-lease-id"]
    snapshot = take(rig)  # it changes nothing of the blob
    take(rig, x_ms_lease_id=lease)
    assert rig.request("DELETE", "a", headers={"x-ms-delete-snapshots": "include"}).code == "LeaseIdMissing"
    assert read(rig, snapshot).status == 200


def test_tags_and_block_list_of_a_snapshot(rig):
    rig.request("PUT", "a", "comp=block&blockid=MQ==", body=b"12")
    rig.request("PUT", "a", "comp=blocklist", {"x-ms-tags": "s=x"}, b"<BlockList><Latest>MQ==</Latest></BlockList>")
    snapshot = take(rig)
    rig.put("a")
    assert [one.text for one in read(rig, snapshot, comp="tags").xml().iter("Value")] == ["x"]
    blocks = read(rig, snapshot, comp="blocklist").xml()
    assert [one.text for one in blocks.iter("Size")] == ["2"]
    found = rig.request("GET", query="comp=blobs&where=s%3D%27x%27", container="").xml()
    assert list(found.iter("Name")) == []  # a search finds blobs only


def test_a_signature_of_a_snapshot_opens_that_alone(rig):
    from azure.storage.blob import generate_blob_sas

    rig.put("a", b"1")
    first, second = take(rig), take(rig)
    expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    sas = generate_blob_sas("acct", "data", "a", snapshot=first, account_key=rig.key, permission="r", expiry=expiry)
    query = sas if "snapshot=" in sas else f"{sas}&snapshot={quote(first)}"
    assert rig.request("GET", "a", auth=query).body == b"1"
    assert rig.request("GET", "a", auth=query.replace(quote(first), quote(second))).code == "AuthenticationFailed"
    base = "&".join(part for part in query.split("&") if not part.startswith("snapshot="))
    assert rig.request("GET", "a", auth=base).status == 403


def test_snapshots_outlive_a_restart_and_go_with_their_container(make_rig, tmp_path):
    first = make_rig(tmp_path / "root")
    first.put("a", b"1")
    snapshot = take(first)
    first.close()
    second = make_rig(tmp_path / "root")
    assert read(second, snapshot).body == b"1"
    assert second.request("DELETE", "a").code == "SnapshotsPresent"
    assert second.request("DELETE", query="restype=container").status == 202
    second.request("PUT", query="restype=container")
    second.put("a")
    assert read(second, snapshot).status == 404
    assert listed(second) == [("a", "")]


def test_what_the_platform_removes_has_no_snapshots_left(rig):
    for name in ("x/a", "y"):
        rig.put(name)
    kept, gone = take(rig, "y"), take(rig, "x/a")
    rig.port.remove("acct", "data", "x/")
    assert (read(rig, gone, "x/a").status, read(rig, kept, "y").status) == (404, 200)
