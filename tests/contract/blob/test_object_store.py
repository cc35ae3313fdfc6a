"""One contract for all object stores: our folder, a store in memory, S3 (moto's server), and Azurite.

Azurite comes from npm: `npm install azurite` in a folder, named by SMALT_AZURITE. Without the variable it is installed
into a temporary folder if there is an `npm`.
"""

from __future__ import annotations

import os
from dataclasses import replace

import obstore
import pytest

from fakes.objects import BUCKET, names, read, staged
from smalt.blob.errors import BlobError
from smalt.blob.store import pieces
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.objects import Appends, LocalFiles, ObjectInfo, ObjectStore, Remote
from smalt.blob.store.pieces import Pieces
from smalt.blob.store.remote import ObstoreStore
from smalt.blob.store.staging import Staging


def test_what_was_put_is_there_whole(store, put, staging):
    info = put("a/b.txt", b"hello")
    assert (info.name, info.size) == ("a/b.txt", 5)
    assert store.head(BUCKET, "a/b.txt") == info
    assert read(store, "a/b.txt") == b"hello"
    assert staged(staging) == []


def test_nothing_is_none(store):
    for name in ("nope", "a/nope", "", "..", "a//b", "x" * 300, "nul\0"):
        assert store.head(BUCKET, name) is None
        assert store.open(BUCKET, name) is None
        assert store.delete(BUCKET, name) is False


def test_buckets_are_apart(store, put, staging):
    put("a", b"1")
    store.put("acct/other", "a", staging.write(b"2"))
    store.put("acct2/data", "a", staging.write(b"3"))
    assert read(store, "a") == b"1"
    assert names(store) == ["a"]


def test_each_write_has_a_version_of_its_own(store, put):
    versions = [put("a", b"%d" % number).version for number in range(5)]
    assert len(set(versions)) == 5
    assert all(0 <= version < 1 << 63 for version in versions)


def test_ranges(store, put):
    put("a", b"0123456789")
    reader = store.open(BUCKET, "a")
    assert reader is not None
    assert [reader.read(2, 3), reader.read(8, 10), reader.read(10, 1)] == [b"234", b"89", b""]
    assert b"0123456789".startswith(reader.read_now(0, 10))
    reader.close()


def test_put_without_replace_is_refused_where_there_is_something(store, put, staging):
    put("a", b"1", replace=False)
    with pytest.raises(BlobError) as caught:
        put("a", b"2", replace=False)
    assert (caught.value.status, caught.value.code) == (409, "BlobAlreadyExists")
    assert read(store, "a") == b"1"


def test_delete(store, put):
    put("a/b")
    assert store.delete(BUCKET, "a/b") is True
    assert store.delete(BUCKET, "a/b") is False
    assert names(store) == []
    put("a")
    assert names(store) == ["a"]


@pytest.mark.parametrize("name", ["..", "a/../b", "", "x" * 1025, "nul\0"])
def test_names_that_cannot_be_are_400(store, put, name):
    with pytest.raises(BlobError) as caught:
        put(name)
    assert caught.value.status == 400
    assert names(store) == []


@pytest.mark.parametrize("name", ["a//b", "/a", "a/", "a/" + "x" * 256])
def test_a_name_that_is_no_path_is_kept_or_refused_when_it_is_named(store, put, name):
    try:
        put(name, b"1")
    except BlobError as error:
        assert not isinstance(store, FolderStore)
        assert error.status == 400
        assert names(store) == []
    else:
        assert (names(store), read(store, name)) == ([name], b"1")


def test_odd_names_are_kept(store, put):
    odd = sorted(["a b", "a+b", "a%2Fb", "100%", "a#b?c", "ümläut/日本", "[x]", "~t", "a&b", "it's", "x" * 200])
    for name in odd:
        put(name, name.encode())
    assert names(store) == odd
    assert [read(store, name) for name in odd] == [name.encode() for name in odd]


def test_lists_are_in_order_and_paged(store, put):
    all_names = sorted(["a-b", "a.b", "a/1", "a/2/x", "a/2/y", "a0", "b/1", "c"])
    for name in all_names:
        put(name, name.encode())
    page = store.list(BUCKET)
    assert [entry.name for entry in page.entries] == all_names
    assert [entry.size for entry in page.entries] == [len(name) for name in all_names]
    for limit in (1, 2, 3, 8):
        found: list[str] = []
        after = ""
        while True:
            page = store.list(BUCKET, after=after, limit=limit)
            assert len(page.entries) <= limit
            found += [entry.name for entry in page.entries]
            after = page.after
            if not after:
                break
        assert found == all_names


def test_prefixes_are_text(store, put):
    for name in ("a-b", "a/1", "a/2/x", "ab", "b"):
        put(name)
    assert names(store, "a") == ["a-b", "a/1", "a/2/x", "ab"]
    assert names(store, "a/") == ["a/1", "a/2/x"]
    assert names(store, "a/2") == ["a/2/x"]
    assert names(store, "a/2/x") == ["a/2/x"]
    assert names(store, "nope/") == []
    assert names(store, "../") == []


def test_delimiters(store, put):
    for name in ("a-b", "a/1", "a/2/x", "a/2/y", "b/1", "c"):
        put(name)
    assert names(store, delimiter="/") == ["a-b", "a/", "b/", "c"]
    assert names(store, "a/", delimiter="/") == ["a/1", "a/2/"]
    assert names(store, "a", delimiter="/") == ["a-b", "a/"]
    assert names(store, delimiter="-") == ["a-", "a/1", "a/2/x", "a/2/y", "b/1", "c"]
    page = store.list(BUCKET, delimiter="/", limit=2)
    assert page.entries[1] == "a/"
    assert names(store, delimiter="/", after=page.after) == ["b/", "c"]


def test_remove_takes_a_folder_or_all(store, put):
    for name in ("a/1", "a/2/x", "ab", "b"):
        put(name)
    store.remove(BUCKET, "a")
    assert names(store) == ["ab", "b"]
    store.remove(BUCKET, "nope")
    store.remove(BUCKET, "..")
    store.remove(BUCKET)
    assert names(store) == []
    store.remove(BUCKET)
    put("again")
    assert names(store) == ["again"]


def test_an_open_reader_never_mixes_versions(store, put):
    put("a", b"old" * 1000)
    reader = store.open(BUCKET, "a")
    assert reader is not None
    first = reader.read(0, 1500)
    put("a", b"new" * 1000)
    try:
        rest = reader.read(1500, 1500)
    except BlobError as error:
        assert error.status == 412
    else:
        assert first + rest == b"old" * 1000
    reader.close()


def test_a_large_object_comes_back(store, staging):
    data = os.urandom(1 << 20) * 20
    with staging.writer() as writer:
        writer.write(data)
        done = writer.finish()
    assert store.put(BUCKET, "big", done).size == len(data)
    assert read(store, "big") == data


def test_what_is_listed_is_what_is_looked_up(store, put, staging):
    put("a", b"1")
    put("empty", b"")
    grow(store, staging, "log", b"one", b"two")
    assert store.list(BUCKET).entries == [store.head(BUCKET, name) for name in ("a", "empty", "log")]


def test_a_large_object_is_made_only_where_there_is_none(store, staging):
    def large(byte: bytes):
        with staging.writer() as writer:
            writer.write(byte * (9 << 20))
            return writer.finish()

    assert store.put(BUCKET, "big", large(b"1"), replace=False).size == 9 << 20
    with pytest.raises(BlobError) as caught:
        store.put(BUCKET, "big", large(b"2"), replace=False)
    assert (caught.value.status, caught.value.code) == (409, "BlobAlreadyExists")
    reader = store.open(BUCKET, "big")
    assert reader.read((9 << 20) - 2, 9) == b"11"
    reader.close()
    assert names(store) == ["big"]


def grow(store: ObjectStore, staging: Staging, name: str, *parts: bytes) -> ObjectInfo:
    assert isinstance(store, Appends)
    info = store.put(BUCKET, name, staging.write(b""))
    for part in parts:
        info = store.append(BUCKET, name, part, info.size, staging.stamp())
    return info


def test_appending_is_all_and_in_order(store, put, staging):
    first = put("log", b"one")
    info = store.append(BUCKET, "log", b"two", first.size, staging.stamp())
    assert info.version != first.version
    version = staging.stamp()
    info = store.append(BUCKET, "log", staging.write(b"three"), info.size, version)
    assert info.size == 11
    assert info.version == version or not store.keeps_version
    assert read(store, "log") == b"onetwothree"
    found = store.head(BUCKET, "log")
    assert found == replace(info, modified=found.modified)
    assert found.modified == pytest.approx(info.modified, abs=2)


def test_what_grew_is_one_object(store, put, staging):
    """Listed once, with its whole size; read across its parts; replaced, deleted and removed as any other."""
    info = grow(store, staging, "a/log", *(b"%03d" % number for number in range(100)))
    whole = b"".join(b"%03d" % number for number in range(100))
    put("a/b")
    put("a-b")
    assert info.size == len(whole)
    assert names(store) == ["a-b", "a/b", "a/log"]
    assert names(store, "a/", delimiter="/") == ["a/b", "a/log"]
    reader = store.open(BUCKET, "a/log")
    assert [reader.read(at, 5) for at in (0, 4, 295, 298, 300)] == [whole[at : at + 5] for at in (0, 4, 295, 298, 300)]
    reader.close()
    put("a/log", b"another")
    assert (read(store, "a/log"), store.list(BUCKET, "a/log").entries[0].size) == (b"another", 7)
    grow(store, staging, "a/log", b"1", b"2")
    assert read(store, "a/log") == b"12"
    assert store.delete(BUCKET, "a/log")
    assert names(store) == ["a-b", "a/b"]
    put("a/log", b"")
    assert read(store, "a/log") == b""
    grow(store, staging, "a/log", b"1")
    store.remove(BUCKET, "a")
    assert names(store) == ["a-b"]
    put("a/log", b"")
    assert (read(store, "a/log"), store.head(BUCKET, "a/log").size) == (b"", 0)


def remote_only(store: ObjectStore) -> ObjectStore:
    if not isinstance(store, Remote):
        pytest.skip("files grow in place")
    return store


def test_an_append_elsewhere_than_at_the_end_writes_nothing(store, staging):
    remote_only(store)
    info = grow(store, staging, "log", b"one")
    for at in (0, info.size + 1):
        with pytest.raises(BlobError) as caught:
            store.append(BUCKET, "log", b"x", at, staging.stamp())
        assert caught.value.status == 412
    with pytest.raises(FileNotFoundError):
        store.append(BUCKET, "nope", b"x", 0, staging.stamp())
    assert read(store, "log") == b"one"


def test_what_is_sealed_is_one_object_and_may_grow_again(store, staging):
    remote_only(store)
    grow(store, staging, "log", b"one", b"two")
    reader = store.open(BUCKET, "log")
    store.seal(BUCKET, "log")
    store.seal(BUCKET, "log")
    store.seal(BUCKET, "nope")
    assert hidden(store) == []
    assert read(store, "log") == b"onetwo"
    with pytest.raises(BlobError) as caught:
        reader.read(0, 6)
    assert caught.value.status == 412
    store.append(BUCKET, "log", b"three", 6, staging.stamp())
    assert read(store, "log") == b"onetwothree"


def test_many_pieces_become_few_and_readers_do_not_notice(store, staging):
    remote_only(store)
    info = grow(store, staging, "log", *(b"%02d" % number for number in range(20)))
    reader = store.open(BUCKET, "log")
    for number in range(20, 70):
        info = store.append(BUCKET, "log", b"%02d" % number, info.size, staging.stamp())
    assert len(hidden(store)) < 40
    whole = b"".join(b"%02d" % number for number in range(70))
    assert read(store, "log") == whole
    assert reader.read(0, 100) == whole[:40]


def test_a_copy_is_what_the_other_was_then(store, put, staging):
    put("source", b"one")
    assert store.copy((BUCKET, "source"), "acct/other", "folder/target") and not store.copy(
        (BUCKET, "none"), BUCKET, "x"
    )
    put("source", b"two")
    assert store.open("acct/other", "folder/target").read(0, 9) == b"one"
    put("empty", b"")
    assert store.copy((BUCKET, "empty"), "acct/other", "folder/target")
    assert store.head("acct/other", "folder/target").size == 0
    if isinstance(store, Remote):
        grow(store, staging, "log", b"one", b"two")
        assert store.copy((BUCKET, "log"), BUCKET, "log-then") and read(store, "log-then") == b"onetwo"


def test_a_link_is_the_other_object_also_while_that_grows(store, staging):
    remote_only(store)
    store.link((BUCKET, "source"), BUCKET, "target")
    assert read(store, "target") == b""
    info = store.append(BUCKET, "source", b"one", 0, staging.stamp())
    assert read(store, "target") == b"one"
    assert store.list(BUCKET, "target").entries == [store.head(BUCKET, "target")]
    store.append(BUCKET, "target", b"two", info.size, staging.stamp())
    store.seal(BUCKET, "source")
    store.link((BUCKET, "source"), BUCKET, "target")
    assert (read(store, "source"), read(store, "target")) == (b"onetwo", b"onetwo")
    assert store.delete(BUCKET, "target")
    assert names(store) == ["source"]


def test_what_a_kill_left_is_in_no_sight_and_goes(store, staging, monkeypatch):
    """Killed in the midst of sealing, deleting and beginning to grow; then swept, an hour later."""
    remote_only(store)
    removing = Pieces.remove
    monkeypatch.setattr(Pieces, "remove", lambda *_: None)
    grow(store, staging, "sealed", b"one", b"two")
    store.seal(BUCKET, "sealed")
    grow(store, staging, "deleted", b"one")
    store.delete(BUCKET, "deleted")
    grow(store, staging, "replaced", b"one")
    store.put(BUCKET, "replaced", staging.write(b""))
    grow(store, staging, "growing", b"one", b"two")
    monkeypatch.setattr(Pieces, "remove", removing)
    assert names(store) == ["growing", "replaced", "sealed"]
    assert [read(store, name) for name in names(store)] == [b"onetwo", b"", b"onetwo"]
    assert len(hidden(store)) == 6
    store.sweep()
    assert len(hidden(store)) == 6
    monkeypatch.setattr(pieces, "_SETTLED_S", -3600.0)
    store.sweep()
    assert len(hidden(store)) == 2
    assert [read(store, name) for name in names(store)] == [b"onetwo", b"", b"onetwo"]


def hidden(store: ObstoreStore) -> list[str]:
    return [meta["path"] for chunk in obstore.list(store._store, ".smalt") for meta in chunk]


def test_local_paths_are_the_objects(store, put):
    if not isinstance(store, LocalFiles):
        pytest.skip("this store has no local files")
    put("a/b", b"1")
    path = store.path(BUCKET, "a/b")
    assert path.read_bytes() == b"1"
    path.with_name("c").write_bytes(b"22")
    assert names(store, "a/") == ["a/b", "a/c"]


def test_a_folder_between_pages_and_changes(store, put):
    """Keyset paging: what is added or removed before the marker does not shift the next page."""
    for number in range(10):
        put(f"n{number}")
    page = store.list(BUCKET, limit=5)
    store.delete(BUCKET, "n2")
    put("m")
    put("n55")
    assert names(store, after=page.after) == ["n5", "n55", "n6", "n7", "n8", "n9"]
