"""What each operation answers and what it leaves on disk and in the database."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

APPEND = {"x-ms-blob-type": "AppendBlob"}


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def test_a_blob_is_a_file_with_its_properties_beside(rig):
    put = rig.put(
        "a/b.txt", b"hello", content_type="text/plain", x_ms_meta_who="me", x_ms_blob_cache_control="no-store"
    )
    assert put.status == 201
    assert put.headers["content-md5"] == md5(b"hello")
    assert (rig.folder / "a/b.txt").read_bytes() == b"hello"
    got = rig.get("a/b.txt")
    assert (got.status, got.body) == (200, b"hello")
    assert got.headers["etag"] == put.headers["etag"]
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["x-ms-meta-who"] == "me"
    assert got.headers["content-md5"] == md5(b"hello")
    assert got.headers["x-ms-blob-type"] == "BlockBlob"
    assert rig.staged_files() == []


def test_head_has_the_length_and_no_body(rig):
    rig.put("a", b"12345")
    head = rig.request("HEAD", "a")
    assert (head.status, head.headers["content-length"], head.body) == (200, "5", b"")


def test_missing_blob_and_container_say_which(rig):
    assert (rig.get("nope").status, rig.get("nope").code) == (404, "BlobNotFound")
    head = rig.request("HEAD", "nope")
    assert (head.status, head.code, head.body) == (404, "BlobNotFound", b"")
    other = rig.request("GET", "a", container="other")
    assert (other.status, other.code) == (404, "ContainerNotFound")


def test_a_trailing_slash_is_another_name(rig):
    rig.put("model.pkl", b"1")
    assert rig.request("HEAD", "model.pkl/").status == 404
    assert rig.put("model.pkl/", b"22").status == 201
    assert (rig.get("model.pkl").body, rig.get("model.pkl/").body) == (b"1", b"22")


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-33554431", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-12", 416, None, "bytes */10"),
        ("bytes=5-2", 400, None, None),
        ("chars=0-2", 400, None, None),
    ],
)
def test_ranges(rig, asked, status, body, content_range):
    rig.put("a", b"0123456789")
    got = rig.get("a", x_ms_range=asked)
    assert got.status == status
    assert got.headers.get("content-range") == content_range
    if body is not None:
        assert got.body == body
    if status == 416:
        assert got.code == "InvalidRange"


def test_an_empty_blob_refuses_ranges_and_reads_whole(rig):
    rig.put("empty", b"")
    assert (rig.get("empty", x_ms_range="bytes=0-99").status, rig.get("empty").status) == (416, 200)
    assert rig.get("empty").body == b""


def test_a_large_body_is_streamed_checked_and_hashed(rig):
    data = os.urandom(5 << 20)
    pieces = [data[at : at + 60_000] for at in range(0, len(data), 60_000)]
    put = rig.request("PUT", "big", headers={"x-ms-blob-type": "BlockBlob", "content-md5": md5(data)}, body=pieces)
    assert (put.status, put.headers["content-md5"]) == (201, md5(data))
    assert rig.get("big").body == data


def test_a_wrong_md5_leaves_nothing(rig):
    for data in (b"small", b"x" * (1 << 20)):
        put = rig.put("a", data, content_md5=md5(b"other"))
        assert (put.status, put.code) == (400, "Md5Mismatch")
    assert rig.get("a").status == 404
    assert rig.staged_files() == []


def test_an_upload_that_ends_early_leaves_nothing_and_keeps_what_was(rig):
    rig.put("a", b"before")
    for size in (100, 3 << 20):
        headers = {"x-ms-blob-type": "BlockBlob", "content-length": str(size)}
        assert rig.request("PUT", "a", headers=headers, body=[b"x" * (size // 2)], cut=True).status == 0
    assert rig.get("a").body == b"before"
    assert rig.staged_files() == []


def test_conditions_on_writes(rig):
    assert rig.put("a", b"1", if_match='"0x1"').status == 412
    first = rig.put("a", b"1", if_none_match="*")
    assert first.status == 201
    again = rig.put("a", b"2", if_none_match="*")
    assert (again.status, again.code) == (409, "BlobAlreadyExists")
    etag = first.headers["etag"]
    stale = rig.put("a", b"2", if_none_match=etag)
    assert (stale.status, stale.code) == (412, "ConditionNotMet")
    second = rig.put("a", b"2", if_match=etag)
    assert second.status == 201
    assert second.headers["etag"] != etag
    assert rig.request("DELETE", "a", headers={"if-match": etag}).status == 412
    assert rig.put("a", b"3", if_unmodified_since="Sun, 22 Nov 2015 00:00:00 GMT").status == 412
    assert rig.get("a").body == b"2"


def test_conditions_on_reads(rig):
    etag = rig.put("a", b"1").headers["etag"]
    unchanged = rig.get("a", if_none_match=etag)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert rig.get("a", if_match='"0xother"').status == 412
    assert rig.get("a", if_modified_since="Sun, 22 Nov 2015 00:00:00 GMT").status == 200
    assert rig.get("a", if_unmodified_since="Sun, 22 Nov 2015 00:00:00 GMT").status == 412
    assert rig.get("a", if_modified_since="Sun, 22 Nov 2099 00:00:00 GMT").status == 304


def test_metadata_and_properties_change_the_etag_but_not_the_file(rig):
    first = rig.put("a", b"1", x_ms_meta_old="1", x_ms_blob_content_language="de").headers["etag"]
    before = (rig.folder / "a").stat().st_mtime_ns
    changed = rig.request("PUT", "a", "comp=metadata", {"x-ms-meta-upload_status": "completed"})
    assert changed.status == 200
    assert changed.headers["etag"] != first
    headers = rig.request("HEAD", "a").headers
    assert headers["x-ms-meta-upload_status"] == "completed"
    assert "x-ms-meta-old" not in headers
    assert rig.request("PUT", "a", "comp=properties", {"x-ms-blob-content-type": "text/csv"}).status == 200
    headers = rig.request("HEAD", "a").headers
    assert (headers["content-type"], "content-language" in headers) == ("text/csv", False)
    assert headers["x-ms-meta-upload_status"] == "completed"
    assert (rig.folder / "a").stat().st_mtime_ns == before
    assert rig.request("PUT", "a", "comp=metadata", {"x-ms-meta-no-dash": "1"}).code == "InvalidMetadata"
    assert rig.request("PUT", "nope", "comp=metadata", {"x-ms-meta-a": "1"}).status == 404


def test_files_of_jobs_appear_with_defaults_and_changes_behind_our_back_show(rig):
    (rig.folder / "out").mkdir()
    (rig.folder / "out/model.bin").write_bytes(b"job")
    got = rig.get("out/model.bin")
    assert (got.body, got.headers["content-type"]) == (b"job", "application/octet-stream")
    etag = rig.put("a", b"ours", content_type="text/plain", x_ms_meta_a="1").headers["etag"]
    (rig.folder / "a").write_bytes(b"theirs")
    changed = rig.get("a")
    assert changed.body == b"theirs"
    assert changed.headers["etag"] != etag
    assert changed.headers["content-type"] == "application/octet-stream"
    assert "x-ms-meta-a" not in changed.headers
    assert rig.request("PUT", "a", "comp=metadata", {"x-ms-meta-b": "2"}).status == 200
    assert rig.get("a").headers["x-ms-meta-b"] == "2"


def test_append_blobs_grow_and_keep_their_metadata(rig):
    assert rig.request("PUT", "log", headers={**APPEND, "x-ms-meta-job": "7"}).status == 201
    first = rig.request("PUT", "log", "comp=appendblock", body=b"one\n")
    second = rig.request("PUT", "log", "comp=appendblock", {"x-ms-blob-condition-appendpos": "4"}, b"two\n")
    assert [one.headers["x-ms-blob-append-offset"] for one in (first, second)] == ["0", "4"]
    assert second.headers["x-ms-blob-committed-block-count"] == "2"
    late = rig.request("PUT", "log", "comp=appendblock", {"x-ms-blob-condition-appendpos": "4"}, b"no")
    assert (late.status, late.code) == (412, "AppendPositionConditionNotMet")
    full = rig.request("PUT", "log", "comp=appendblock", {"x-ms-blob-condition-maxsize": "9"}, b"too much")
    assert full.code == "MaxBlobSizeConditionNotMet"
    with (rig.folder / "log").open("ab") as file:
        file.write(b"job\n")
    got = rig.get("log")
    assert got.body == b"one\ntwo\njob\n"
    assert (got.headers["x-ms-blob-type"], got.headers["x-ms-meta-job"]) == ("AppendBlob", "7")
    assert rig.request("PUT", "log", "comp=appendblock", body=b"three\n").status == 201
    rig.put("block", b"1")
    assert rig.request("PUT", "block", "comp=appendblock", body=b"2").code == "InvalidBlobType"


def test_delete_forgets_the_row_and_prunes_empty_folders(rig):
    rig.put("a/b/c", b"1")
    rig.put("a/d", b"1")
    assert rig.request("DELETE", "a/b/c").status == 202
    assert rig.request("DELETE", "a/b/c").code == "BlobNotFound"
    assert not (rig.folder / "a/b").exists()
    assert (rig.folder / "a/d").exists()
    rig.put("e", b"1")  # whoever waits for this row waits for the deletion too
    assert rig.rows() == 2


def test_overwriting_keeps_one_row(rig):
    for number in range(5):
        rig.put("a", b"%d" % number)
    rig.put("b")
    assert rig.rows() == 2


def test_copy_within_the_account_and_from_a_sas_url(rig):
    rig.put("a", b"data", content_type="text/plain", x_ms_meta_a="1")
    base = f"http://127.0.0.1:1/acct.blob.core.smalt/data/a?{rig.sas}"
    copied = rig.request("PUT", "b", headers={"x-ms-copy-source": base})
    assert (copied.status, copied.headers["x-ms-copy-status"]) == (202, "success")
    got = rig.get("b")
    assert (got.body, got.headers["content-type"], got.headers["x-ms-meta-a"]) == (b"data", "text/plain", "1")
    assert "sig=" not in got.headers["x-ms-copy-source"]
    put = rig.request("PUT", "c", headers={"x-ms-copy-source": base, "x-ms-blob-type": "BlockBlob"})
    assert (put.status, rig.get("c").body) == (201, b"data")
    assert rig.request("PUT", "d", headers={"x-ms-copy-source": "https://[/a"}).status == 400
    foreign = rig.request("PUT", "d", headers={"x-ms-copy-source": "https://example.com/a"})
    assert (foreign.status, foreign.code) == (400, "CannotVerifyCopySource")
    other_host = base.replace("127.0.0.1:1", "example.com")
    assert rig.request("PUT", "d", headers={"x-ms-copy-source": other_host}).code == "CannotVerifyCopySource"
    only_write = rig.port.sas("acct", "cw", 60, "data")
    bare = base.partition("?")[0]
    refused = rig.request("PUT", "d", headers={"x-ms-copy-source": bare}, auth=only_write)
    assert refused.code == "CannotVerifyCopySource"


def test_containers(rig):
    assert rig.request("PUT", query="restype=container", container="new", headers={"x-ms-meta-a": "1"}).status == 201
    again = rig.request("PUT", query="restype=container", container="new")
    assert (again.status, again.code) == (409, "ContainerAlreadyExists")
    got = rig.request("HEAD", query="restype=container", container="new")
    assert (got.status, got.headers["x-ms-meta-a"]) == (200, "1")
    assert rig.request("GET", query="comp=list", container="").names() == ["data", "new"]
    rig.request("PUT", "a/b", container="new", headers={"x-ms-blob-type": "BlockBlob"}, body=b"1")
    assert rig.request("DELETE", query="restype=container", container="new").status == 202
    assert not (rig.root / "blobs/acct/new").exists()
    assert rig.request("GET", "a/b", container="new").code == "ContainerNotFound"
    assert rig.request("PUT", query="restype=container", container="Not_Valid").code == "InvalidResourceName"


@pytest.mark.parametrize("comp", ["undelete", "page", "pagelist", "incrementalcopy", "seal", "query", "expiry"])
def test_what_there_is_not_is_a_clear_error(rig, comp):
    rig.put("a")
    answer = rig.request("PUT", "a", f"comp={comp}")
    assert (answer.status, answer.code) == (400, "FeatureNotSupported")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("a", "comp=nonsense"),
        ("a", "restype=nonsense"),
        ("a", "restype=container"),
        ("a", "comp=acl"),
        ("", "restype=container&comp=nonsense"),
        ("", "restype=nonsense&comp=list"),
        ("", "restype=container&comp=list&include=nonsense"),
        ("", "restype=container&comp=list&include=metadata,snapshot"),
        ("a", "comp=blocklist&blocklisttype=nonsense"),
    ],
)
def test_unknown_values_are_refused(rig, path, query):
    rig.put("a")
    answer = rig.request("GET", path, query)
    assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue")


def test_unknown_values_for_the_account_are_refused(rig):
    for query in ("comp=list&include=nonsense", "comp=nonsense", "restype=nonsense&comp=properties"):
        answer = rig.request("GET", query=query, container="")
        assert (answer.status, answer.code) == (400, "InvalidQueryParameterValue"), query


def test_an_operation_of_another_type_of_blob_is_refused_and_changes_nothing(rig):
    rig.request("PUT", "log", headers={"x-ms-blob-type": "AppendBlob"})
    rig.request("PUT", "log", "comp=appendblock", body=b"1")
    rig.put("block", b"2")
    url = f"http://127.0.0.1:1/acct.blob.core.smalt/data/block?{rig.sas}"
    for answer in (
        rig.request("PUT", "log", "comp=block&blockid=MQ==", body=b"x"),
        rig.request("PUT", "log", "comp=blocklist", body=b"<BlockList></BlockList>"),
        rig.request("GET", "log", "comp=blocklist"),
        rig.request("PUT", "block", "comp=appendblock", body=b"x"),
        rig.request("PUT", "log", headers={"x-ms-copy-source": url}),
    ):
        assert (answer.status, answer.code) == (409, "InvalidBlobType")
    assert (rig.get("log").body, rig.get("block").body) == (b"1", b"2")


def test_tiers_are_remembered_and_shown(rig):
    rig.put("a", x_ms_access_tier="Cool")
    rig.put("b")
    before = rig.request("HEAD", "b").headers
    assert before["x-ms-access-tier-inferred"] == "true"
    assert rig.request("PUT", "b", "comp=tier", headers={"x-ms-access-tier": "cold"}).status == 200
    after = rig.request("HEAD", "b").headers
    assert (after["x-ms-access-tier"], "x-ms-access-tier-change-time" in after) == ("Cold", True)
    assert (after["etag"], after["last-modified"]) == (before["etag"], before["last-modified"])
    listed = rig.request("GET", query="restype=container&comp=list").xml()
    assert [element.text for element in listed.iter("AccessTier")] == ["Cool", "Cold"]
    rig.request("PUT", "log", headers={"x-ms-blob-type": "AppendBlob"})
    for name, tier, code in (
        ("b", "Archive", "FeatureNotSupported"),
        ("b", "Warm", "InvalidBlobTier"),
        ("b", "", "MissingRequiredHeader"),
        ("log", "Cool", "AccessTierNotSupportedForBlobType"),
        ("none", "Cool", "BlobNotFound"),
    ):
        headers = {"x-ms-access-tier": tier} if tier else {}
        assert rig.request("PUT", name, "comp=tier", headers=headers).code == code


@pytest.mark.parametrize("header", ["x-ms-encryption-key", "x-ms-encryption-scope", "x-ms-structured-body"])
def test_headers_that_change_the_meaning_are_refused(rig, header):
    assert rig.put("a", **{header: "x"}).code == "FeatureNotSupported"
    assert rig.get("a").status == 404


def test_a_body_without_a_length_or_type_is_refused(rig):
    headers = {"x-ms-blob-type": "BlockBlob", "content-length": ""}
    assert rig.request("PUT", "a", headers=headers).status == 411
    assert rig.request("PUT", "a", body=b"x").code == "MissingRequiredHeader"
    assert rig.request("PUT", "a", headers={"x-ms-blob-type": "PageBlob"}).code == "FeatureNotSupported"


def test_answers_carry_the_protocol_headers(rig):
    got = rig.request("GET", "nope", headers={"x-ms-client-request-id": "mine", "x-ms-version": "2020-10-02"})
    assert got.headers["x-ms-client-request-id"] == "mine"
    assert got.headers["x-ms-version"] == "2020-10-02"
    assert len(got.headers["x-ms-request-id"]) == 36
    assert got.xml().findtext("Code") == "BlobNotFound"


def test_metadata_names_are_kept_as_written_and_are_one_if_only_their_case_differs(rig):
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-Owner": "me"}
    assert rig.request("PUT", "a", headers=headers).status == 201
    assert rig.get("a").headers["x-ms-meta-Owner"] == "me"
    twice = rig.request("PUT", "a", headers={**headers, "x-ms-meta-OWNER": "you"})
    assert (twice.status, twice.code) == (400, "InvalidMetadata")
