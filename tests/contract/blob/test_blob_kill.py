"""The server is killed in the middle of uploads, then started again on the same root: nothing half-written is visible."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from live.patience import PATIENCE_S

SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from smalt.auth.keyring import Keyring
from smalt.blob.accounts.accounts import Accounts, BlobAccounts
from smalt.blob.store.folder import FolderStore
from smalt.blob.server import BlobApp
from smalt.blob.operations.service import BlobService
from smalt.settings import Settings
from smalt.store import tables
from smalt.store.database import Database

root = Path(sys.argv[1])
database = Database(f"sqlite:///{root / 'smalt.db'}")
with database.write() as connection:
    tables.metadata.create_all(connection)
store = FolderStore(root / "blobs")
accounts = Accounts(database, Keyring(Settings(root)))
port = BlobAccounts(accounts, store)
port.ensure_account("acct")
port.ensure_container("acct", "data")
print(port.sas("acct", "racwdl", 600), flush=True)
app = BlobApp(BlobService(accounts, store, store.staging), None)
config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="error")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])
"""
BLOCK = {"x-ms-blob-type": "BlockBlob"}


@contextlib.contextmanager
def server(root: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The process, the container's URL and a SAS; killed at the end if it still runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    command = [sys.executable, "-c", SERVER, str(root), str(listener.fileno())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[listener.fileno()])
    try:
        assert process.stdout is not None
        sas = process.stdout.readline().strip()
        yield process, f"http://127.0.0.1:{listener.getsockname()[1]}/acct.blob.core.smalt/data", sas
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        listener.close()


def block_id(number: int) -> str:
    return base64.b64encode(b"%04d" % number).decode()


def half_a_put(url: str, sas: str, name: str, size: int) -> socket.socket:
    """A connection on which half of a PUT's body was sent."""
    host, _, path = url.removeprefix("http://").partition("/")
    address, _, port = host.partition(":")
    connection = socket.create_connection((address, int(port)))
    head = f"PUT /{path}/{name}?{sas} HTTP/1.1\r\nHost: {host}\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: {size}\r\n\r\n"
    connection.sendall(head.encode() + b"y" * (size // 2))
    return connection


def test_kill_in_the_middle_of_uploads(tmp_path):
    blocks = {number: os.urandom(1 << 20) for number in (1, 2, 3)}
    with server(tmp_path) as (process, url, sas):
        client = httpx.Client()
        headers = {**BLOCK, "x-ms-meta-a": "1"}
        assert client.put(f"{url}/kept?{sas}", content=b"before", headers=headers).status_code == 201
        for number in (1, 2):
            answer = client.put(f"{url}/big?comp=block&blockid={block_id(number)}&{sas}", content=blocks[number])
            assert answer.status_code == 201
        torn = [half_a_put(url, sas, name, 4 << 20) for name in ("kept", "new")]
        assert client.get(f"{url}/kept?{sas}").content == b"before"  # the halves arrived: one process, one loop
        process.kill()
        process.wait(PATIENCE_S)
        for connection in torn:
            connection.close()
    with server(tmp_path) as (_, url, sas):
        client = httpx.Client()
        kept = client.get(f"{url}/kept?{sas}")
        assert (kept.content, kept.headers["x-ms-meta-a"]) == (b"before", "1")
        assert [client.get(f"{url}/{name}?{sas}").status_code for name in ("new", "big")] == [404, 404]
        listed = client.get(f"{url}?restype=container&comp=list&{sas}").text
        assert listed.count("<Blob>") == 1
        client.put(f"{url}/big?comp=block&blockid={block_id(3)}&{sas}", content=blocks[3])
        inner = "".join(f"<Latest>{block_id(number)}</Latest>" for number in blocks)
        done = client.put(f"{url}/big?comp=blocklist&{sas}", content=f"<BlockList>{inner}</BlockList>")
        assert done.status_code == 201
        assert client.get(f"{url}/big?{sas}").content == b"".join(blocks.values())


def test_kill_while_small_blobs_are_written(tmp_path):
    """Every blob that was acknowledged is whole and has its metadata; one that was not is whole or absent."""
    acknowledged: list[int] = []
    with server(tmp_path) as (process, url, sas), httpx.Client() as client:
        for number in range(200):
            headers = {**BLOCK, "x-ms-meta-n": str(number)}
            if number == 150:
                connection = half_a_put(url, sas, "n150", 1000)
                process.kill()
                connection.close()
            try:
                client.put(f"{url}/n{number}?{sas}", content=b"%d" % number * 100, headers=headers).raise_for_status()
            except httpx.TransportError:
                break
            acknowledged.append(number)
    assert len(acknowledged) >= 150
    with server(tmp_path) as (_, url, sas), httpx.Client() as client:
        for number in acknowledged:
            got = client.get(f"{url}/n{number}?{sas}")
            assert (got.content, got.headers["x-ms-meta-n"]) == (b"%d" % number * 100, str(number))
        assert client.get(f"{url}/n{len(acknowledged)}?{sas}").status_code == 404
