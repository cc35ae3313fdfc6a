"""MLflow's process is started by who needs it: the request waits for it, and not without end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from smalt.tracking.process.upstream import Outgoing, Unavailable, Upstream
from smalt.unix_socket import listen_for_words, say, words

ASKED = Outgoing("POST", "/api/2.0/mlflow/experiments/create", [], b"{}", repeatable=False)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.readline():
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    writer.close()


def test_the_first_requests_start_it_and_are_answered(tmp_path: Path) -> None:
    socket = tmp_path / "mlflow.sock"
    needed: list[float] = []

    async def story() -> list[int]:
        starting: list[asyncio.Task[None]] = []

        async def start() -> None:
            while len(needed) < 3:  # it takes a while
                await asyncio.sleep(0.01)
            servers.append(await asyncio.start_unix_server(_answer, socket))

        def need() -> None:
            needed.append(time.monotonic())
            if not starting:
                starting.append(asyncio.get_running_loop().create_task(start()))

        servers: list[asyncio.Server] = []
        upstream = Upstream(socket, patience_s=20, need=need)
        answers = await asyncio.gather(*(upstream.send(ASKED) for _ in range(5)))
        asked = len(needed)
        await upstream.send(ASKED)
        assert len(needed) == asked, "it is there"
        await upstream.close()
        servers[0].close()
        return [answer.status_code for answer in answers]

    assert asyncio.run(story()) == [200] * 5


def test_who_waits_for_what_cannot_start_is_told_so(tmp_path: Path) -> None:
    needed: list[bool] = []

    async def story() -> None:
        upstream = Upstream(tmp_path / "mlflow.sock", patience_s=1.0, need=lambda: needed.append(True))
        with pytest.raises(Unavailable):
            await upstream.send(ASKED)
        await upstream.close()

    asyncio.run(story())
    assert len(needed) > 1, "asked again: who was asked may have been started again meanwhile"


def test_words_are_heard_by_who_listens(tmp_path: Path) -> None:
    path = tmp_path / "run" / "needs.sock"
    say(path, "mlflow")  # nobody is there: lost, and nobody is held up
    channel = listen_for_words(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(words(channel)) == []
    say(path, "mlflow")
    say(path, "größe" * 100)
    assert [word[:6] for word in words(channel)] == ["mlflow", "größeg"]
    channel.close()
    say(path, "mlflow")
