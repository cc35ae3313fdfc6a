"""`/nodes/v1/environment`: environments that one machine of a cluster has built, for the others.

HEAD   environment?key=&platform=   404: there is none, it may be stored; 200: there is one; 403: it may not
GET    environment?…                the pack, and its hash in a header
PUT    environment?…                the body is the pack; 409 where another was first
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from smalt.arm.errors import ArmError, not_found
from smalt.arm.ports import BlobReader, Carrier
from smalt.arm.threads import Threads
from smalt.blob.operations.service import BlobService
from smalt.engines.remote import RemoteEngine
from smalt.engines.remote.messages import SHA256_HEADER
from smalt.kinds.assets.environment_pack import Pack, Packs, taken
from smalt.store.nodes import Machine
from smalt.web.node_blobs import received

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_WALLED = ("walls", "network")  # there a job sees environments, and cannot write them


class NodeEnvironments:
    """Raises ArmError: 410 for what no task of the machine had, 403 where its jobs could have changed it."""

    def __init__(
        self, engine: RemoteEngine, packs: Packs, service: Callable[[], BlobService], threads: Threads, own: Carrier
    ) -> None:
        self._engine, self._packs, self._service, self._threads = engine, packs, service, threads
        self._own = own

    async def get(self, http: Request, machine: Machine) -> Response:
        """And HEAD."""
        pack = await self._pack(http, machine)
        if http.method == "HEAD":
            _check_walls(machine)
            if not await self._threads.run(self._packs.has, pack):
                raise _none(pack)
            return Response()
        found = await self._threads.run(self._packs.open, pack)
        if found is None:
            raise _none(pack)
        reader, sha256 = found
        headers = {SHA256_HEADER: sha256, "content-length": str(reader.size)}
        return StreamingResponse(
            self._bytes(pack, reader, sha256), headers=headers, media_type="application/octet-stream"
        )

    async def put(self, http: Request, machine: Machine) -> Response:
        pack = await self._pack(http, machine)
        _check_walls(machine)
        if await self._threads.run(self._packs.has, pack):
            raise taken()
        digest, service = hashlib.sha256(), self._service()
        made = await received(service, http, digest.update)
        try:
            bring = partial(self._own.store, Path(made.path))
            await self._threads.run(self._packs.store, pack, made.size, digest.hexdigest(), bring)
        finally:
            await self._threads.run(service.drop_staged, made)
        return JSONResponse({"sha256": digest.hexdigest()})

    async def _pack(self, http: Request, machine: Machine) -> Pack:
        pack = Pack(machine.compute, http.query_params.get("platform", ""), http.query_params.get("key", ""))
        pack.check()
        if not await self._threads.run(self._engine.known.uses, machine, pack.key):
            raise ArmError(410, "NotOfThisNode", f"No task of node '{machine.name}' has environment {pack.key}.")
        return pack

    async def _bytes(self, pack: Pack, reader: BlobReader, sha256: str) -> AsyncIterator[bytes]:
        """What is not what it was is forgotten; who has it by then sees that by itself."""
        digest, at = hashlib.sha256(), 0
        try:
            while at < reader.size and (chunk := await self._threads.run(reader.read, at, _CHUNK)):
                digest.update(chunk)
                at += len(chunk)
                yield chunk
        finally:
            reader.close()
        if digest.hexdigest() != sha256:
            _LOG.error("environment %s is not in the store as it was stored: it is forgotten", pack.key)
            await self._threads.run(self._packs.forget, pack)


def _check_walls(machine: Machine) -> None:
    if machine.isolation not in _WALLED:
        message = f"What node '{machine.name}' has built is not given to others: its jobs have no walls."
        raise ArmError(403, "NodeWithoutWalls", message)


def _none(pack: Pack) -> ArmError:
    return not_found("Environment", pack.key)
