"""No name reaches a file outside of its container, and a refused name changes nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smalt.blob.errors import BlobError
from smalt.blob.store.beneath import Beneath
from smalt.blob.store.folder import FolderStore

BUCKET = "acct/data"
PARTS = st.sampled_from(
    ["..", ".", "", "a", "b.txt", "link", "abs", "up", "x" * 256, "\0", "ü", "%2e%2e", "\\", "-", " "]
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join) | st.text(max_size=40)


def tree(top: Path) -> dict[str, bytes | None]:
    """Everything outside of the container, with its contents."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name != ".staging" and Path(folder, name) != top / "blobs" / BUCKET]
        found |= {str(Path(folder, name)): Path(folder, name).read_bytes() for name in files}
        found |= {str(Path(folder, name)): None for name in folders}
    return found


@pytest.mark.parametrize("use_openat2", [True, False])
@given(name=NAMES, data=st.binary(max_size=8))
@example(name="../../../outside/secret", data=b"x")
@example(name="abs/secret", data=b"x")
@example(name="up/secret", data=b"x")
@example(name="abs", data=b"x")
@settings(max_examples=60, deadline=None)
def test_nothing_leaves_the_container(use_openat2, name, data):
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        (top / "outside").mkdir()
        (top / "outside/secret").write_bytes(b"secret")
        store = FolderStore(top / "blobs", beneath=Beneath(use_openat2))
        store.make(BUCKET)
        store.make("acct/other")
        inside = top / "blobs" / BUCKET
        (top / "blobs/acct/other/secret").write_bytes(b"secret")
        (inside / "a").mkdir()
        (inside / "abs").symlink_to(top / "outside")
        (inside / "up").symlink_to("../other")
        (inside / "link").symlink_to("a")
        before = tree(top)
        reader = store.open(BUCKET, name)
        if reader is not None:
            assert reader.read(0, 10) != b"secret"
            reader.close()
        try:
            store.put(BUCKET, name, store.staging.write(data))
        except BlobError as error:
            assert error.status == 400
        else:
            info = store.head(BUCKET, name)
            assert info is not None
            assert info.size == len(data)
        store.delete(BUCKET, name)
        store.remove(BUCKET, name)
        assert all("secret" not in getattr(entry, "name", "") for entry in store.list(BUCKET).entries)
        assert tree(top) == before
        store.close()


@pytest.mark.parametrize("name", ["a" * 1025, "a\0b", "a/" * 254 + "a", "\uffff" * 1024 + "a", "ü\0"])
def test_names_that_cannot_be_stored_are_400_and_say_why(rig, name):
    put = rig.put(quote(name))
    assert (put.status, put.code) == (400, "InvalidResourceName")
    assert "not possible" in (put.xml().findtext("Message") or "")
    assert rig.get(quote(name)).status == 404
    assert rig.request("DELETE", quote(name)).status == 404


def test_names_that_look_odd_are_kept(rig):
    names = ["a b", "a+b", "a%b", "a#b?c", "ümläut/日本", "x" * 255, "...", "a.", "-rf", "a&b<c>"]
    for name in names:
        assert rig.put(quote(name), name.encode()).status == 201, name
        assert rig.get(quote(name)).body == name.encode()
    assert rig.request("GET", query="restype=container&comp=list").names() == sorted(names)


def test_control_characters_survive_a_listing(rig):
    assert rig.put("a%01b").status == 201
    listed = rig.request("GET", query="restype=container&comp=list").xml().find("Blobs/Blob/Name")
    assert listed is not None
    assert (listed.text, listed.get("Encoded")) == ("a%01b", "true")


def test_a_file_name_that_no_url_can_carry_is_left_out(rig):
    (rig.folder / os.fsdecode(b"bad\xff")).write_bytes(b"1")
    (rig.folder / "back\\slash").write_bytes(b"1")  # in a URL it is read as a slash
    rig.put("good")
    assert rig.request("GET", query="restype=container&comp=list").names() == ["good"]


def test_symlinks_inside_work_and_those_that_lead_out_are_not_there(rig):
    rig.put("real/file", b"inside")
    (rig.root / "secret").write_bytes(b"secret")
    (rig.folder / "inside").symlink_to("real/file")
    (rig.folder / "outside").symlink_to("../../../secret")
    (rig.folder / "absolute").symlink_to(rig.root / "secret")
    assert rig.get("inside").body == b"inside"
    assert [rig.get(name).status for name in ("outside", "absolute")] == [404, 404]
    assert rig.request("GET", query="restype=container&comp=list").names() == ["inside", "real/file"]


def test_special_files_are_not_blobs(rig):
    os.mkfifo(rig.folder / "fifo")
    assert rig.get("fifo").status == 404
    assert rig.request("GET", query="restype=container&comp=list").names() == []


def test_the_port_gives_paths_inside_only(rig):
    assert rig.port.path("acct", "data", "a/b") == rig.folder / "a/b"
    assert rig.port.path("acct", "data", "a/b/") == rig.folder / "a/b"
    assert rig.port.path("acct", "data") == rig.folder
    (rig.folder / "out").symlink_to(rig.root)
    for account, container, name in (
        ("acct", "data", "../x"),
        ("acct", "data", "a/../../x"),
        ("acct", "data", "out/x"),
        ("acct", "..", "x"),
        ("..", "data", "x"),
    ):
        with pytest.raises(BlobError) as caught:
            rig.port.path(account, container, name)
        assert caught.value.status == 400
