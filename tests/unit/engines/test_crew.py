"""Threads that do things side by side for somebody who waits."""

from __future__ import annotations

import threading

import pytest

from smalt.engines.local.carry.crew import Crew


def test_an_error_is_told_once_what_was_begun_has_ended() -> None:
    crew = Crew("test", 4)
    ended: list[int] = []
    all_begun, failed = threading.Barrier(4), threading.Event()

    def do(one: int) -> None:
        all_begun.wait(10)
        if one == 0:
            failed.set()
            raise OSError("away")
        failed.wait(10)
        for _ in range(1000):  # so that the error is there long before
            threading.Event().wait(0.0001)
        ended.append(one)

    with pytest.raises(OSError, match="away"):
        crew.each(range(4), do, lambda: None)
    assert sorted(ended) == [1, 2, 3]
    crew.close()


def test_who_is_over_does_not_wait() -> None:
    class Over(Exception):
        pass

    crew, begun, gate, over = Crew("test", 2), threading.Event(), threading.Event(), threading.Event()

    def do(_: int) -> None:
        begun.set()
        gate.wait(10)

    def check() -> None:
        if over.is_set():
            raise Over

    threading.Thread(target=lambda: (begun.wait(10), over.set())).start()
    with pytest.raises(Over):
        crew.each(range(2), do, check)
    gate.set()
    crew.close()
