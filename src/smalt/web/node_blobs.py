"""`/nodes/v1/blob` and `/nodes/v1/blobs`: what a node's tasks name, for as long as they have not ended.

GET    blobs?account=&container=&name=&after=   a page: the blob itself, or what is below the folder
GET    blob?account=&container=&name=           its bytes; If-Match: 412 where it has another ETag
PUT    blob?…                                   the body is the blob, at once and whole
POST   blob?…&at=N                              the body is appended where the blob has N bytes; answers its length, and
                                                how often such a blob is appended to at most (s)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from smalt.agent.wire import Ref
from smalt.arm.errors import ArmError, invalid
from smalt.arm.ports import Carrier
from smalt.arm.threads import Threads
from smalt.blob.names import Target, check_blob
from smalt.blob.operations.service import BlobService
from smalt.blob.protocol.blob import Blob
from smalt.blob.store.catalog import Properties
from smalt.blob.store.objects import ObjectReader, Staged
from smalt.blob.store.staging import StagedWriter
from smalt.engines.remote import RemoteEngine
from smalt.settings import PLATFORM_ACCOUNT
from smalt.store.nodes import Machine

_CHUNK = 1 << 20
_PAGE = 1000


class _Length(Exception):
    """What is appended does not fit there: the blob's length is another."""

    def __init__(self, length: int) -> None:
        self.length = length


class NodeBlobs:
    """Raises ArmError: 410 for what none of the node's tasks names, and what the blob service raises.

    `own` has what the platform itself writes, such as the logs of deployments: the blob service knows no such account.
    """

    def __init__(
        self, engine: RemoteEngine, service: Callable[[], BlobService], threads: Threads, own: Carrier
    ) -> None:
        self._engine, self._service, self._threads, self._own = engine, service, threads, own

    async def listing(self, http: Request, machine: Machine) -> Response:
        ref = await self._ref(http, machine, writes=False)
        if ref.account == PLATFORM_ACCOUNT:
            own = await self._threads.run(lambda: list(self._own.list(ref)))
            return JSONResponse({"entries": [one._asdict() for one in own], "after": ""})
        service, after, found = self._service(), http.query_params.get("after", ""), list[dict[str, object]]()
        target = Target(ref.account, ref.container, ref.name)
        blob = None
        if ref.name and not ref.name.endswith("/"):
            blob = await service.find(target)
        if blob is not None and not after:
            found.append(_entry("", blob))
        folder = f"{ref.name.rstrip('/')}/" if ref.name else ""
        page, after = await service.list(target, folder, after, _PAGE, "")
        below = [one for one in page if isinstance(one, Blob) and one.info.name != folder]  # but a folder's marker
        found += [_entry(one.info.name.removeprefix(folder), one) for one in below]
        return JSONResponse({"entries": found, "after": after})

    async def get(self, http: Request, machine: Machine) -> Response:
        target = _blob(await self._ref(http, machine, writes=False))
        reader, blob = await self._service().open(target)
        wanted = http.headers.get("if-match", "").strip('"')
        if wanted and wanted != blob.etag:
            reader.close()
            raise ArmError(412, "ConditionNotMet", f"'{target.blob[:80]}' was changed meanwhile.")
        headers = {"etag": f'"{blob.etag}"', "content-length": str(blob.info.size)}
        return StreamingResponse(
            _bytes(self._service(), reader, blob.info.size), headers=headers, media_type="application/octet-stream"
        )

    async def put(self, http: Request, machine: Machine) -> Response:
        ref, service = await self._ref(http, machine, writes=True), self._service()
        target = _blob(ref)
        if ref.account == PLATFORM_ACCOUNT:
            staged = await received(service, http)
            await self._threads.run(self._store_own, ref, staged)
            return JSONResponse({"length": staged.size, "etag": ""})
        await service.require_container(target)
        staged = await received(service, http)
        properties = Properties(created=staged.version / 1e9)
        blob = await service.commit(target, staged, lambda before: None, properties)
        return JSONResponse({"length": blob.info.size, "etag": blob.etag})

    async def append(self, http: Request, machine: Machine) -> Response:
        at = http.query_params.get("at", "")
        if not (at.isascii() and at.isdecimal()) or len(at) > 18:
            raise invalid("at: the length of the blob so far, in bytes.", "at")
        ref, service = await self._ref(http, machine, writes=True), self._service()
        target = _blob(ref)
        if ref.account == PLATFORM_ACCOUNT:
            staged = await received(service, http)
            return self._grown(await self._threads.run(self._append_own, ref, int(at), staged))
        await service.require_container(target)
        staged = await received(service, http)
        try:
            return self._grown(await _append(service, target, staged, int(at)))
        except _Length as found:
            return self._grown(found.length)

    def _grown(self, length: int) -> Response:
        return JSONResponse({"length": length, "every_s": self._own.append_every_s})

    def _store_own(self, ref: Ref, staged: Staged) -> None:
        try:
            self._own.store(Path(staged.path), ref)
        finally:
            self._service().drop_staged(staged)

    def _append_own(self, ref: Ref, at: int, staged: Staged) -> int:
        """The new length."""
        try:
            return self._own.append(ref, at, Path(staged.path).read_bytes())
        finally:
            self._service().drop_staged(staged)

    async def _ref(self, http: Request, machine: Machine, writes: bool) -> Ref:
        given = http.query_params
        if wrong := next((name for name, text in given.items() if "\0" in text), ""):
            raise invalid(f"{wrong}: it has a NUL.", wrong)
        ref = Ref(given.get("account", ""), given.get("container", ""), given.get("name", ""))
        if {".", ".."} & set(ref.name.split("/")):
            raise invalid("name: it has a segment '.' or '..'.", "name")
        tasks = await self._threads.run(self._engine.known.tasks, machine)
        if not any(one.may(ref, writes) for one in tasks):
            raise ArmError(
                410,
                "NotOfThisNode",
                f"No task that node '{machine.name}' runs has '{ref.name[:80]}'; end those that do.",
            )
        return ref


async def _append(service: BlobService, target: Target, data: Staged, at: int) -> int:
    """The new length. Raises _Length; uses the file up."""
    blob = await service.find(target)
    size = blob.info.size if blob else 0
    if size != at or not data.size:
        service.drop_staged(data)
        raise _Length(size)

    def is_new(before: Blob | None) -> None:
        if before is not None:
            raise _Length(before.info.size)

    def fits(before: Blob | None) -> Blob:
        if before is None or before.info.size != at:
            raise _Length(before.info.size if before else 0)
        return before

    if blob is None:
        made = await service.commit(target, data, is_new, Properties(created=data.version / 1e9), must_be_new=True)
        return made.info.size
    grown, _ = await service.append(target, data, fits)
    return grown.info.size


async def received(service: BlobService, http: Request, seen: Callable[[bytes], object] = len) -> Staged:
    """The body as a file of the staging area, received in constant memory; `seen` is given all of it, by pieces."""
    with await service.in_thread(service.staging.writer) as writer:
        batch = bytearray()
        async for chunk in http.stream():
            batch += chunk
            if len(batch) >= _CHUNK:
                await service.in_thread(_write, writer, batch, seen)
                batch = bytearray()
        if batch:
            await service.in_thread(_write, writer, batch, seen)
        stated = http.headers.get("content-length")
        if stated is not None and int(stated) != writer.size:
            raise ArmError(400, "RequestIncomplete", "The connection ended before the body did.")
        return writer.finish()


def _write(writer: StagedWriter, batch: bytearray, seen: Callable[[bytes], object]) -> None:
    seen(bytes(batch))
    writer.write(batch)


async def _bytes(service: BlobService, reader: ObjectReader, size: int) -> AsyncIterator[bytes]:
    try:
        at = 0
        while at < size and (chunk := await service.in_thread(reader.read, at, min(_CHUNK, size - at))):
            at += len(chunk)
            yield chunk
    finally:
        reader.close()


def _blob(ref: Ref) -> Target:
    check_blob(ref.name)
    return Target(*ref)


def _entry(name: str, blob: Blob) -> dict[str, object]:
    return {"name": name, "size": blob.info.size, "etag": blob.etag}
