"""Calls that wait for agents: few for each task, and so many connections at most."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading

import pytest

from smalt.arm.errors import ArmError
from smalt.web import reaching
from smalt.web.reaching import Reaching


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_who_waits_too_long_for_a_turn_is_told_so() -> None:
    of_all, hangs = Reaching(turn_s=0.05), threading.Event()

    def hang() -> socket.socket:
        assert hangs.wait(60)
        return socket.socket()

    first = [asyncio.ensure_future(of_all.run("a", hang)) for _ in range(4)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(ArmError, match="hangs") as refused:
            await of_all.run("a", socket.socket)
        assert refused.value.status == 503
        (await of_all.run("b", socket.socket)).close()
    finally:
        hangs.set()
    for line in await asyncio.gather(*first):
        line.close()
    (await of_all.run("a", socket.socket)).close()


@pytest.mark.anyio
async def test_a_line_for_who_has_gone_is_closed() -> None:
    of_all, hangs = Reaching(), threading.Event()
    ours, theirs = socket.socketpair()

    def hang() -> socket.socket:
        assert hangs.wait(60)
        return ours

    asked = asyncio.ensure_future(of_all.run("a", hang))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    hangs.set()
    with theirs:
        theirs.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""


def test_connections_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "_MOST_LINES", 4)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 32
    of_all = Reaching()
    with of_all.held("a"), of_all.held("a"):
        with pytest.raises(ArmError, match="2 connections already"), of_all.held("a"):
            raise AssertionError
        with of_all.held("b"), of_all.held("c"):
            with pytest.raises(ArmError, match="of all jobs") as refused, of_all.held("d"):
                raise AssertionError
            assert refused.value.status == 503
        with of_all.held("b"):
            pass
    with of_all.held("a"):
        pass
