"""How a node reaches blobs: `Carrier` over HTTP on a real blob service, and only what its tasks name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fakes.dialled import Dialled
from fakes.refs import FINDER
from smalt.agent.wire import InputSpec, OutputSpec, Phase, Ref, TaskSpec, TaskState
from smalt.arm.errors import ArmError
from smalt.blob.accounts.accounts import BlobAccounts
from smalt.blob.store.staging import StagedWriter
from smalt.engines.remote.messages import PREFIX
from smalt.node.carrier import NodeCarrier
from smalt.settings import PLATFORM_ACCOUNT
from smalt.store import node_tasks

GIVEN, CODE = Ref("acct", "data", "in/rows.csv"), Ref("acct", "code", "")
OUT, LOG, ARTIFACTS = Ref("acct", "data", "out/"), Ref("acct", "data", "run/log.txt"), Ref("acct", "data", "run/")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Any]:
    """A node's carrier, with one task on the node; the platform's blobs as files."""
    dialled = Dialled(tmp_path, FINDER)
    dialled.start_server()
    blobs = BlobAccounts(dialled.blobs.accounts, dialled.blobs.store)
    for container in ("data", "code"):
        blobs.ensure_container("acct", container)
    for ref, text in ((GIVEN, b"a,b"), (CODE.below("src/a.py"), b"print()"), (CODE.below("b.py"), b"")):
        path = blobs.path(*ref)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    blobs.path("acct", "data", "secret.txt").write_bytes(b"secret")
    task = TaskSpec(
        name="one",
        owner="/owner/one",
        node=dialled.node,
        code=CODE,
        inputs=[InputSpec("rows", source=GIVEN)],
        outputs=[OutputSpec("out", target=OUT)],
        log=LOG,
        artifacts=ARTIFACTS,
    )
    dialled.engine.ensure(task)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{dialled.port}", headers={"Authorization": f"Bearer {dialled.token}"}
    )
    yield SimpleNamespace(
        dialled=dialled, blobs=blobs, client=client, carrier=NodeCarrier(client), root=tmp_path, task=task
    )
    client.close()
    dialled.stop_server()
    dialled.blobs.close()
    dialled.database.close()


def test_a_blob_and_a_folder_are_listed(far: Any) -> None:
    (one,) = far.carrier.list(GIVEN)
    assert (one.name, one.size) == ("", 3) and one.etag
    assert [(found.name, found.size) for found in far.carrier.list(CODE)] == [("b.py", 0), ("src/a.py", 7)]
    assert [found.name for found in far.carrier.list(CODE.below("src"))] == ["a.py"]
    assert list(far.carrier.list(OUT)) == []


def test_more_than_a_page_is_listed(far: Any) -> None:
    folder = far.blobs.path(*OUT)
    folder.mkdir()
    for number in range(1005):
        (folder / f"{number:04}").write_bytes(b"")
    assert [one.name for one in far.carrier.list(OUT)] == [f"{number:04}" for number in range(1005)]


def test_what_was_stored_is_fetched(far: Any) -> None:
    source, target = far.root / "source", far.root / "target"
    content = bytes(range(256)) * (20 << 10)  # 5 MiB: several batches
    source.write_bytes(content)
    name = OUT.below("deep/ünï codé#?%.bin")
    far.carrier.store(source, name)
    assert far.blobs.path(*name).read_bytes() == content and source.exists()
    (found,) = far.carrier.list(name)
    far.carrier.fetch(name, target, found.etag)
    assert target.read_bytes() == content
    source.write_bytes(b"")
    far.carrier.store(source, name)
    assert far.blobs.path(*name).read_bytes() == b""
    with pytest.raises(OSError, match="changed meanwhile"):
        far.carrier.fetch(name, far.root / "other", found.etag)
    assert not (far.root / "other").exists()


def test_a_log_grows_once_for_each_append(far: Any) -> None:
    append = far.carrier.append
    assert append(LOG, 0, b"") == 0 and list(far.carrier.list(LOG)) == []
    assert append(LOG, 0, b"first ") == 6
    assert append(LOG, 0, b"first ") == 6  # a try before this one got through
    assert append(LOG, 6, b"second") == 12
    assert append(LOG, 20, b"third") == 12
    assert append(LOG, 0, b"") == 12
    far.carrier.seal(LOG)
    assert far.blobs.path(*LOG).read_bytes() == b"first second"


@pytest.mark.parametrize(
    "ref", [Ref("acct", "data", "secret.txt"), Ref("acct", "data", "in/rows.csv2"), Ref("other", "data", "in/rows.csv")]
)
def test_what_no_task_names_is_not_read(far: Any, ref: Ref) -> None:
    for call in (lambda: list(far.carrier.list(ref)), lambda: far.carrier.fetch(ref, far.root / "x")):
        with pytest.raises(ArmError) as refused:
            call()
        assert refused.value.status == 410


def test_what_is_read_is_not_written(far: Any) -> None:
    source = far.root / "source"
    source.write_bytes(b"changed")
    for ref in (GIVEN, CODE.below("b.py"), Ref("acct", "data", "secret.txt")):
        for call in (lambda ref=ref: far.carrier.store(source, ref), lambda ref=ref: far.carrier.append(ref, 0, b"x")):
            with pytest.raises(ArmError) as refused:
                call()
            assert refused.value.status == 410
    assert far.blobs.path(*GIVEN).read_bytes() == b"a,b"


@pytest.mark.parametrize("name", ["out/../secret.txt", "out/./x", "..", "out/" + "x" * 2000, "out/\0"])
def test_names_that_no_blob_can_have_are_refused(far: Any, name: str) -> None:
    with pytest.raises(ArmError) as refused:
        far.carrier.append(Ref("acct", "data", name), 0, b"x")
    assert refused.value.status in (400, 410)


def test_once_a_task_has_ended_its_blobs_are_out_of_reach(far: Any) -> None:
    with far.dialled.database.write() as connection:
        (task,) = node_tasks.of_node(connection, far.dialled.node)
        node_tasks.say(connection, task.id, TaskState("one", Phase.EXITED))
    with pytest.raises(ArmError) as refused:
        far.carrier.append(LOG, 0, b"late")
    assert refused.value.status == 410


def test_a_server_that_is_away_may_be_tried_again(far: Any) -> None:
    far.dialled.stop_server()
    with pytest.raises(OSError, match="cannot be reached"):
        far.carrier.append(LOG, 0, b"x")
    far.dialled.start_server()
    assert far.carrier.append(LOG, 0, b"x") == 1


def test_without_its_token_nothing_is_had(far: Any) -> None:
    stranger = NodeCarrier(httpx.Client(base_url=f"http://127.0.0.1:{far.dialled.port}"))
    with pytest.raises(ArmError) as refused:
        stranger.append(LOG, 0, b"x")
    assert refused.value.status == 401


def test_a_full_disk_of_the_platform_may_be_tried_again(far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody frees it: neither a log nor an output is given up for it."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    own, source = Ref(PLATFORM_ACCOUNT, "environments", "x.log"), far.root / "source"
    source.write_bytes(b"data")
    task = replace(far.task, name="two", owner="/owner/two", log=own)
    far.dialled.engine.ensure(task)
    calls = (
        lambda: far.carrier.store(source, OUT.below("a")),
        lambda: far.carrier.append(LOG, 0, b"data"),
        lambda: far.carrier.store(source, own),
        lambda: far.carrier.append(own, 0, b"data"),
    )
    with monkeypatch.context() as patched:
        patched.setattr(StagedWriter, "write", full)
        for call in calls:
            with pytest.raises(OSError, match="no space left") as refused:
                call()
            assert refused.value.errno is None, "it is not this machine's disk that is full"
    for call in calls:
        call()


def test_a_body_that_the_store_tears_may_be_tried_again(far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    far.blobs.path(*GIVEN).write_bytes(bytes(3 << 20))
    opened = type(far.dialled.blobs).open

    async def torn(service: Any, target: Any) -> Any:
        reader, blob = await opened(service, target)
        read = reader.read

        def fails(start: int, length: int) -> bytes:
            if start:
                raise OSError("the store has cut it off")
            return read(start, length)

        return SimpleNamespace(read=fails, close=reader.close), blob

    with monkeypatch.context() as patched:
        patched.setattr(type(far.dialled.blobs), "open", torn)
        with pytest.raises(OSError, match="cannot be reached"):
            far.carrier.fetch(GIVEN, far.root / "target")
    assert not (far.root / "target").exists() and not list(far.root.glob(".target*"))
    far.carrier.fetch(GIVEN, far.root / "target")
    assert (far.root / "target").stat().st_size == 3 << 20


@pytest.mark.parametrize("query", ["name=a&at=\u00b2", "name=a&at=-1", "name=a%00&at=0", "name=a&account=%00&at=0"])
def test_a_query_that_makes_no_sense_is_refused(far: Any, query: str) -> None:
    assert far.client.post(f"{PREFIX}/blob?{query}", json={}).status_code == 400
