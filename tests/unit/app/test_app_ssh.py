"""SSH into a job, with asyncssh's own client: what is typed early, forwarded ports, and what is said where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncssh
import pytest

from smalt.agent.visit import Visit
from smalt.web.ssh import serve

Connected = Callable[[], Awaitable[asyncssh.SSHClientConnection]]


class Job:
    """`opening` lets visits in; `lines` has the job's end of each."""

    def __init__(self) -> None:
        self.opening = asyncio.Event()
        self.visits: list[Visit] = []
        self.lines: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.ports: list[int] = []

    async def open(self, visit: Visit) -> socket.socket:
        self.visits.append(visit)
        await self.opening.wait()
        return await self._line()

    @contextlib.asynccontextmanager
    async def reach(self, port: int) -> AsyncIterator[socket.socket]:
        self.ports.append(port)
        yield await self._line()

    async def _line(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        await self.lines.put(theirs)
        return ours


@contextlib.asynccontextmanager
async def connected(job: Job) -> AsyncIterator[asyncssh.SSHClientConnection]:
    host, own = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    ours, theirs = socket.socketpair()
    serving = asyncio.ensure_future(serve(ours, host, [own.export_public_key().decode()], job.open, job.reach))
    client = await asyncssh.connect(
        sock=theirs, host="x", known_hosts=None, client_keys=[own], username="u", config=None
    )
    try:
        yield client
    finally:
        client.abort()
        await asyncio.wait_for(serving, 20)


async def received(line: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(line, 1 << 20), 20)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_is_typed_before_the_job_takes_it_is_bounded_and_not_lost() -> None:
    job, sent = Job(), 0
    async with connected(job) as client:
        process = await client.create_process("cat", encoding=None)

        async def pour() -> None:
            nonlocal sent
            while sent < 64 << 20:
                process.stdin.write(bytes(65536))
                sent += 65536
                await process.stdin.drain()

        pouring = asyncio.ensure_future(pour())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pouring), 1)
        assert sent < 8 << 20
        job.opening.set()
        line, got = await job.lines.get(), 0
        while got < 16 << 20:
            got += len(await received(line))
        pouring.cancel()
        line.close()


@pytest.mark.anyio
async def test_frames_are_in_order_and_sizes_only_the_last() -> None:
    job = Job()
    async with connected(job) as client:
        process = await client.create_process("cat", term_type="xterm", term_size=(80, 24), encoding=None)
        process.stdin.write(b"typed")
        for width in range(100, 200):
            process.change_terminal_size(width, 30)
        process.stdin.write_eof()
        await (await client.create_process("true", encoding=None)).stdin.drain()  # asked after: the server has it all
        while len(job.visits) < 2:
            await asyncio.sleep(0)
        job.opening.set()
        line, said = await job.lines.get(), b""
        while b"e\0\0\0\0" not in said:
            said += await received(line)
        assert said.endswith(b"d\0\0\0\5typede\0\0\0\0") and said.count(b"w") == 1 and b"[30, 199]" in said
        line.close()


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_forwarded_port_goes_with_its_client(how: str) -> None:
    job = Job()
    async with connected(job) as client:
        _, writer = await client.open_connection("localhost", 8080)
        writer.write(b"hi")
        line = await job.lines.get()
        assert await received(line) == b"hi"
        getattr(client, how)()
        assert await received(line) == b""
        line.close()


@pytest.mark.anyio
async def test_the_end_of_one_direction_is_not_that_of_the_other() -> None:
    job = Job()
    async with connected(job) as client:
        reader, writer = await client.open_connection("localhost", 8080)
        line = await job.lines.get()
        writer.write(b"all")
        writer.write_eof()
        assert await received(line) == b"all" and await received(line) == b""
        await asyncio.get_running_loop().sock_sendall(line, b"answer")
        line.close()
        assert await reader.read() == b"answer"


@pytest.mark.anyio
@pytest.mark.parametrize("port", [0, 65536, 2**32 - 1])
async def test_what_is_no_port_is_not_reached(port: int) -> None:
    job = Job()
    async with connected(job) as client:
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_connection("localhost", port)
    assert not job.ports


@pytest.mark.anyio
async def test_a_door_that_closes_at_once_says_so() -> None:
    job = Job()
    job.opening.set()
    async with connected(job) as client:
        process = await client.create_process("true", encoding=None)
        (await job.lines.get()).close()
        done = await process.wait()
        assert done.exit_status == 255 and b"closed the door" in (done.stderr or b"")  # type: ignore[operator]
