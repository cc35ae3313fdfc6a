"""Names are flat, as Azure's are: any of them can be stored beside any other, and a listing knows no folders."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smalt.blob.names import blob_name_fault
from smalt.blob.store.beneath import Beneath
from smalt.blob.store.filenames import aside_path, file_path
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.objects import ObjectInfo

BUCKET = "acct/data"
LONG = "l" * 300
SEGMENTS = st.sampled_from(
    ["", "a", "b", "a-", "a.", "…", "é" * 130, LONG, LONG + "b", "l" * 243, "l" * 255, ".smalt-", ".smalt-name-", "."]
)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join).filter(lambda name: not blob_name_fault(name))


def expected(names: Sequence[str], prefix: str, delimiter: str) -> list[str]:
    """What Azure lists."""
    found: list[str] = []
    for name in sorted(names):
        if not name.startswith(prefix):
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        entry = name if at < 0 else name[: at + len(delimiter)]
        if not found or found[-1] != entry:
            found.append(entry)
    return found


def listed(store: FolderStore, prefix: str, delimiter: str, limit: int) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        page = store.list(BUCKET, prefix, after, limit, delimiter)
        found += [one.name if isinstance(one, ObjectInfo) else one for one in page.entries]
        after = page.after
        if not after:
            return found


@pytest.mark.parametrize("use_openat2", [True, False])
@given(
    names=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    prefix=st.sampled_from(["", "/", "a", "a/", "a//", "a/b", "l", LONG[:250], LONG, LONG + "/", ".smalt", "../"]),
    delimiter=st.sampled_from(["", "/", "a", "//"]),
    limit=st.integers(1, 4),
    deleted=st.integers(0, 8),
)
@example(["a", "a/", "a//", "a/b", "a-"], "a", "/", 1, 2)
@example(["a/b", "a/b/c", "a/b/", "a"], "a/", "/", 1, 4)
@settings(max_examples=80, deadline=None)
def test_all_names_are_stored_and_listed_as_in_a_flat_namespace(use_openat2, names, prefix, delimiter, limit, deleted):
    with tempfile.TemporaryDirectory() as scratch:
        store = FolderStore(Path(scratch) / "blobs", beneath=Beneath(use_openat2))
        store.make(BUCKET)
        for name in names:
            store.put(BUCKET, name, store.staging.write(name.encode()))
        for name in names[:deleted]:
            assert store.delete(BUCKET, name)
            assert store.head(BUCKET, name) is None
        left = names[deleted:]
        for name in left:
            reader = store.open(BUCKET, name)
            assert reader is not None
            assert reader.read(0, 9999) == name.encode()
            reader.close()
        assert listed(store, prefix, delimiter, limit) == expected(left, prefix, delimiter)
        for name in left:
            assert store.delete(BUCKET, name)
        assert listed(store, "", "", 5) == []
        store.close()


@given(names=st.lists(NAMES, min_size=2, max_size=2, unique=True))
@settings(max_examples=100, deadline=None)
def test_no_two_names_share_a_file(names):
    places = [{file_path(name), aside_path(name)} for name in names]
    assert not places[0] & places[1]


@pytest.mark.parametrize("name", ["a", "a/b.csv", "x" * 255, "a b/%20/ü", "...", "a.", "-rf", "deep/" * 40 + "x"])
def test_an_ordinary_name_is_its_own_path(name):
    assert file_path(name) == name


@pytest.mark.parametrize("first", ["a", "a/b"])
def test_a_blob_may_be_a_prefix_of_others(rig, first):
    second = {"a": "a/b", "a/b": "a"}[first]
    assert rig.put(first, first.encode(), x_ms_meta_is=first).status == 201
    assert rig.put(second, second.encode(), if_none_match="*").status == 201
    for name in ("a", "a/b"):
        assert rig.get(name).body == name.encode()
        assert rig.put(name, b"", if_none_match="*").code == "BlobAlreadyExists"
    assert rig.get(first).headers["x-ms-meta-is"] == first
    assert rig.request("GET", query="restype=container&comp=list").names() == ["a", "a/b"]
    assert rig.request("GET", query="restype=container&comp=list&delimiter=/").names() == ["a", "a/"]
    assert (rig.folder / "a/b").read_bytes() == b"a/b"
    assert rig.request("DELETE", "a/b").status == 202
    assert rig.get("a").body == b"a"
    assert (rig.folder / "a").read_bytes() == b"a"  # back in its own place


def test_an_append_blob_grows_wherever_it_is(rig):
    rig.request("PUT", "log", headers={"x-ms-blob-type": "AppendBlob"})
    rig.put("log/1")
    assert rig.request("PUT", "log", "comp=appendblock", body=b"one").status == 201
    rig.request("DELETE", "log/1")
    assert rig.request("PUT", "log", "comp=appendblock", body=b"two").status == 201
    assert rig.get("log").body == b"onetwo"


@pytest.mark.parametrize("marker", ["s", "s/"])
@pytest.mark.parametrize("before", [True, False])
def test_a_folder_marker_and_its_children_live_together(rig, marker, before):
    def mark() -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-hdi_isfolder": "true"}
        assert rig.request("PUT", marker, headers=headers).status == 201

    if before:
        mark()
    assert rig.put("s/child", b"1").status == 201
    if not before:
        mark()
    assert rig.request("HEAD", marker).headers["x-ms-meta-hdi_isfolder"] == "true"
    assert rig.request("GET", query="restype=container&comp=list").names() == [marker, "s/child"]
    for name in ("s", "s/"):  # a job mounts the folder, in which there is the child alone
        assert [path.name for path in rig.port.path("acct", "data", name).iterdir()] == ["child"]


@pytest.mark.parametrize("marker", ["s", "s/"])
def test_a_marker_without_children_is_an_empty_folder_for_a_job(rig, marker):
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-Hdi_IsFolder": "true"}
    rig.request("PUT", marker, headers=headers)
    assert list(rig.port.path("acct", "data", marker).iterdir()) == []
    rig.put("s/x")
    rig.request("DELETE", "s/x")
    assert list(rig.port.path("acct", "data", marker).iterdir()) == []
    assert rig.request("GET", query="restype=container&comp=list&delimiter=/").names() == [marker]


def test_paths_for_jobs_of_names_that_are_no_paths(rig):
    rig.put("a//out/x", b"1")
    rig.put("b", b"data")
    rig.put("b/c")
    rig.put(LONG, b"long")
    folder = rig.port.path("acct", "data", "a//out/")
    assert [path.name for path in folder.iterdir()] == ["x"]
    (folder / "y").write_bytes(b"2")  # as a job does
    assert rig.get("a//out/y").body == b"2"
    assert rig.port.path("acct", "data", "b").read_bytes() == b"data"
    assert [path.name for path in rig.port.path("acct", "data", "b/").iterdir()] == ["c"]
    assert rig.port.path("acct", "data", LONG).read_bytes() == b"long"
    assert [one.name for one in rig.port.list("acct", "data", "a/")] == ["a//out/x", "a//out/y"]


def test_removing_a_prefix_takes_what_begins_with_it_and_no_more(rig):
    for name in ("a//x", "a/x", "a/", "ab", "b"):
        rig.put(name)
    rig.port.remove("acct", "data", "a//")
    assert rig.request("GET", query="restype=container&comp=list").names() == ["a/", "a/x", "ab", "b"]
    rig.port.remove("acct", "data", "a/")
    assert rig.request("GET", query="restype=container&comp=list").names() == ["ab", "b"]


def test_a_job_that_replaces_a_folder_by_a_file_wins(rig):
    rig.put("a/b")
    rig.put("a", b"old")
    (rig.folder / "a/b").unlink()
    (rig.folder / "a").rmdir()
    assert rig.get("a").body == b"old"
    (rig.folder / "a").write_bytes(b"new")
    assert rig.get("a").body == b"new"
    assert rig.request("GET", query="restype=container&comp=list").names() == ["a"]
    assert rig.port.path("acct", "data", "a").read_bytes() == b"new"
    assert rig.request("DELETE", "a").status == 202
    assert rig.get("a").status == 404


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("./key", "key"),
        ("%2E/key", "key"),
        (".%2Fkey", "key"),
        ("a/../key", "key"),
        ("a/%2e%2e/b/./key", "b/key"),
        ("a%5Cb%5Ckey", "a/b/key"),
        ("a/b/..", "a/"),
        ("a//../key", "a/key"),
        ("a/...", "a/..."),
        ("a/.b./key.", "a/.b./key."),
    ],
)
def test_dot_segments_and_backslashes_are_resolved_as_azure_does(rig, sent, name):
    assert rig.put(sent, b"1").status == 201
    assert rig.request("GET", query="restype=container&comp=list").names() == [name]
    assert rig.get(quote(name)).body == b"1"
    assert rig.get(sent).body == b"1"


@pytest.mark.parametrize("sent", ["../other/key", "a/../../key", "%2e%2e/%2e%2e/key", "a%5C..%5C..%5Ckey"])
def test_no_name_climbs_out_of_its_container(rig, sent):
    for method in ("PUT", "GET", "DELETE"):
        answer = rig.request(method, sent, headers={"x-ms-blob-type": "BlockBlob"})
        assert (answer.status, answer.code) == (400, "InvalidUri")


def test_case_and_unicode_forms_are_different_names(rig):
    names = ["Name", "name", "NAME", "\u00e9", "e\u0301"]
    for name in names:
        rig.put(quote(name), name.encode())
    assert [rig.get(quote(name)).body.decode() for name in names] == names
    assert rig.request("GET", query="restype=container&comp=list").names() == sorted(names)
