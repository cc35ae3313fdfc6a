"""Fetching what another machine has built: whole, or not at all, and never for as long as the other side likes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from smalt.node import packs
from smalt.node.packs import NodePacks

KEY = "ab" * 20
DATA = bytes(range(256)) * 4096


class Environments:
    def __init__(self, root: Path) -> None:
        self._root = root

    def fetched(self, key: str) -> Path:
        return self._root / "packs" / f"{key}.tar.gz"

    def platform(self, definition: object) -> str:
        return "Linux"

    def lock(self, key: str) -> None:
        return None


class Clock:
    """Each piece that comes takes `each_s`."""

    def __init__(self, each_s: float) -> None:
        self.now, self.each_s = 1000.0, each_s

    def monotonic(self) -> float:
        return self.now

    def pieces(self, size: int) -> Iterator[bytes]:
        for at in range(0, len(DATA), size):
            self.now += self.each_s
            yield DATA[at : at + size]


def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, size: int, sha256: str = "") -> bytes | None:
    monkeypatch.setattr(packs, "time", clock)
    headers = {"x-smalt-sha256": sha256 or hashlib.sha256(DATA).hexdigest()}
    given = clock.pieces(size)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, content=given)

    environments = Environments(tmp_path)
    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://platform")
    came = NodePacks(client, cast("Any", environments)).fetch(KEY, {})
    files = list((tmp_path / "packs").iterdir())
    assert files == ([environments.fetched(KEY)] if came else []), "nothing is left of what is given up"
    return files[0].read_bytes() if came else None


def test_what_comes_whole_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(tmp_path, monkeypatch, Clock(0.01), 1 << 14) == DATA


def test_what_trickles_in_is_given_up_and_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(5)
    assert fetched(tmp_path, monkeypatch, clock, 16) is None
    assert clock.now < 1000 + 70, "and soon"


def test_what_is_slow_at_first_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(tmp_path, monkeypatch, Clock(10), len(DATA) // 4) == DATA


def test_what_is_not_what_was_stored_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(tmp_path, monkeypatch, Clock(0), 1 << 14, "00" * 32) is None
