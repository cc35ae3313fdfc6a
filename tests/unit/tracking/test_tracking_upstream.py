"""Patience with a peer that is killed and comes back: real sockets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from smalt.tracking.process.upstream import Outgoing, Unavailable, Upstream

REQUEST = Outgoing("POST", "/log", [("content-type", "text/plain")], b"body", repeatable=True)
ONCE = replace(REQUEST, target="/create", repeatable=False)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers, or breaks the connection for the first `broken` requests; `cut` stops in the middle of an answer."""

    def __init__(self, path: Path, broken: int = 0, cut: bool = False) -> None:
        self.path, self.broken, self.cut = path, broken, cut
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> Peer:
        self.server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                if self.broken:
                    self.broken -= 1
                    if self.cut:
                        writer.write(ANSWER[:-1])
                    break
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            pass
        writer.close()


def send(tmp_path: Path, broken: int = 0, cut: bool = False, times: int = 1) -> tuple[list[bytes], list[bytes]]:
    async def main() -> tuple[list[bytes], list[bytes]]:
        upstream = Upstream(tmp_path / "s", patience_s=5)
        async with Peer(tmp_path / "s", broken, cut) as peer:
            answers = [(await upstream.send(REQUEST)).content for _ in range(times)]
            await upstream.close()
            return answers, peer.bodies

    return asyncio.run(main())


def test_an_answer(tmp_path: Path) -> None:
    assert send(tmp_path, times=2) == ([b"ok", b"ok"], [b"body", b"body"])


@pytest.mark.parametrize("cut", [False, True])
def test_a_connection_that_breaks_is_tried_again_with_the_whole_body(tmp_path: Path, cut: bool) -> None:
    assert send(tmp_path, broken=2, cut=cut) == ([b"ok"], [b"body"] * 3)


@pytest.mark.parametrize("cut", [False, True])
def test_what_must_not_be_done_twice_is_sent_once(tmp_path: Path, cut: bool) -> None:
    async def main() -> list[bytes]:
        upstream = Upstream(tmp_path / "s", patience_s=5)
        async with Peer(tmp_path / "s", broken=1, cut=cut) as peer:
            with pytest.raises(Unavailable, match="may have done"):
                await upstream.send(ONCE)
            await upstream.close()
            return peer.bodies

    assert asyncio.run(main()) == [b"body"]


@pytest.mark.parametrize("request_", [REQUEST, ONCE])
def test_requests_wait_until_somebody_listens(tmp_path: Path, request_: Outgoing) -> None:
    async def main() -> list[bytes]:
        upstream = Upstream(tmp_path / "s", patience_s=5)
        waiting = [asyncio.create_task(upstream.send(request_)) for _ in range(5)]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert not done
        async with Peer(tmp_path / "s"):
            answers = [(await one).content for one in waiting]
            await upstream.close()
            return answers

    assert asyncio.run(main()) == [b"ok"] * 5


def test_patience_ends(tmp_path: Path) -> None:
    async def main() -> None:
        upstream = Upstream(tmp_path / "s", patience_s=0.05)
        with pytest.raises(Unavailable):
            await upstream.send(REQUEST)
        await upstream.close()

    asyncio.run(main())


def test_who_does_not_answer_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        upstream = Upstream(tmp_path / "s", answer_s=0.1)
        server = await asyncio.start_unix_server(silent, str(tmp_path / "s"))
        with pytest.raises(Unavailable, match="in time"):
            await upstream.send(REQUEST)
        await upstream.close()
        server.close()

    asyncio.run(main())
