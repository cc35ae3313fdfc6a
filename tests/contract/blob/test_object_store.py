"""One contract for all object stores: our folder, a store in memory, and Azurite as the remote service that it imitates.

Azurite comes from npm: `npm install azurite` in a folder, named by SMALT_AZURITE. Without the variable it is installed
into a temporary folder if there is an `npm`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from obstore.store import AzureStore, MemoryStore

from live.ports import free_port
from live.tools import wanting
from smalt.blob.errors import BlobError
from smalt.blob.store.beneath import Beneath
from smalt.blob.store.folder import FolderStore
from smalt.blob.store.objects import Appends, LocalFiles, ObjectInfo, ObjectStore
from smalt.blob.store.remote import ObstoreStore
from smalt.blob.store.staging import Staging

BUCKET = "acct/data"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, published


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an Azurite that this session started."""
    folder = os.environ.get("SMALT_AZURITE") or _install(tmp_path_factory.mktemp("azurite"))
    main = Path(folder) / "node_modules/azurite/dist/src/blob/main.js"
    port = free_port()
    data = tmp_path_factory.mktemp("azurite-data")
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(data)]
    process = subprocess.Popen(["node", str(main), "--blobPort", str(port), *options], stdout=subprocess.DEVNULL)
    try:
        _await_port(port, process)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait(20)


def _install(folder: Path) -> str:
    if not shutil.which("npm") or not shutil.which("node"):
        wanting("Azurite", "node and npm are not on PATH; install them, or set SMALT_AZURITE to a folder that has it")
    done = subprocess.run(["npm", "install", "azurite"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        wanting("Azurite", f"npm could not install it: {done.stderr[-300:]}")
    return str(folder)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise AssertionError("Azurite did not start")


@pytest.fixture(params=["folder", "folder-without-openat2", "memory", "azurite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param.startswith("folder"):
        made = FolderStore(tmp_path / "blobs", beneath=Beneath(use_openat2=request.param == "folder"))
        yield made
        made.close()
    elif request.param == "memory":
        yield ObstoreStore(MemoryStore())
    else:
        url = request.getfixturevalue("azurite")
        name = f"c{time.time_ns():x}"
        client = BlobServiceClient(url, credential=KEY)
        client.create_container(name)
        yield ObstoreStore(
            AzureStore(
                container_name=name,
                config={"account_name": ACCOUNT, "account_key": KEY, "endpoint": url, "use_emulator": False},
                client_options={"allow_http": True},
            )
        )
        client.delete_container(name)
        client.close()


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "blobs")


@pytest.fixture
def put(store: ObjectStore, staging: Staging) -> Callable[..., ObjectInfo]:
    def write(name: str, data: bytes = b"x", replace: bool = True) -> ObjectInfo:
        return store.put(BUCKET, name, staging.write(data), replace)

    return write


def read(store: ObjectStore, name: str) -> bytes | None:
    reader = store.open(BUCKET, name)
    if reader is None:
        return None
    try:
        return reader.read(0, reader.info.size)
    finally:
        reader.close()


def names(store: ObjectStore, *args, **kwargs) -> list[str]:
    page = store.list(BUCKET, *args, **kwargs)
    return [entry if isinstance(entry, str) else entry.name for entry in page.entries]


def staged(staging: Staging) -> list[Path]:
    return [path for path in (staging.folder / "files").rglob("*") if path.is_file()]


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


def test_appending_is_all_and_in_order(store, put, staging):
    if not isinstance(store, Appends):
        pytest.skip("this store has no appending: the service rewrites")
    first = put("log", b"one")
    info = store.append(BUCKET, "log", b"two", first.size, staging.stamp())
    assert info.version > first.version
    version = staging.stamp()
    info = store.append(BUCKET, "log", staging.write(b"three"), info.size, version)
    assert (info.size, info.version) == (11, version)
    assert read(store, "log") == b"onetwothree"


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
