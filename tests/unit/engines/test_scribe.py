"""Logs are appended as they are written: at once after quiet, then as often as the store likes; nobody asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.carriers import FolderCarrier
from smalt.engines.local.carry.follow import Followed
from smalt.engines.local.carry.scribe import TICK_S, Scribe

LIMIT_S = 30.0


class Log:
    """As much of a `Followed` as a scribe uses; `at` bytes are in the store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base = folder, str(folder.parent)
        self.file = folder / "log"
        self.at, self.pushes = 0, 0
        self.changed = threading.Condition()
        self.fails = 0

    def grew(self) -> bool:
        return self.file.exists() and self.file.stat().st_size > self.at

    def push(self) -> bool:
        with self.changed:
            self.pushes += 1
            self.changed.notify_all()
            if self.fails:
                self.fails -= 1
                raise RuntimeError("for once")
            self.at = self.file.stat().st_size
            return True

    def say(self, text: str) -> None:
        with self.file.open("a") as file:
            file.write(text)

    def until(self, size: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.at >= size, LIMIT_S), f"{self.at} of {size} bytes"


class Pieces:
    """A store that is asked how often it likes appends for each time that something was written."""

    def __init__(self) -> None:
        self.asked, self.changed = 0, threading.Condition()

    @property
    def append_every_s(self) -> float:
        with self.changed:
            self.asked += 1
            self.changed.notify_all()
        return TICK_S

    def until_asked(self, times: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked >= times, LIMIT_S)


def logs(*found: Log) -> list[Followed]:
    return [cast("Followed", one) for one in found]


@pytest.fixture
def carrier() -> FolderCarrier:
    return FolderCarrier()


@pytest.fixture
def scribe(carrier: FolderCarrier) -> Iterator[Scribe]:
    made = Scribe(carrier)
    yield made
    made.close()


@pytest.fixture
def log(tmp_path: Path, scribe: Scribe) -> Log:
    made = Log(tmp_path / "logs")
    scribe.follow(logs(made))
    return made


def test_what_is_written_is_appended_without_being_asked_for(log: Log) -> None:
    for count in range(1, 6):
        log.say("line\n")
        log.until(5 * count)


def test_a_log_that_does_not_rest_is_appended_as_often_as_the_store_likes(log: Log, carrier: FolderCarrier) -> None:
    carrier.append_every_s = 0.1
    begun, size = time.monotonic(), 0
    while time.monotonic() - begun < 0.5:
        log.say("line\n")
        size += 5
    log.until(size)
    assert log.pushes <= (time.monotonic() - begun) / carrier.append_every_s + 2


def test_where_each_append_leaves_a_piece_only_who_asks_appends(tmp_path: Path) -> None:
    carrier, log = Pieces(), Log(tmp_path / "logs")
    scribe = Scribe(cast("Any", carrier))
    try:
        scribe.follow(logs(log))
        log.say("a")
        carrier.until_asked(1)
        log.say("b")
        carrier.until_asked(2)
        assert log.pushes == 0
        scribe.look(logs(log))
        log.until(2)
    finally:
        scribe.close()


def test_one_that_fails_is_taken_up_again(log: Log) -> None:
    log.fails = 1
    log.say("a")
    with log.changed:
        assert log.changed.wait_for(lambda: log.pushes >= 1, LIMIT_S)
    log.say("b")
    log.until(2)


def test_two_logs_of_one_folder_and_one_that_is_left(tmp_path: Path, scribe: Scribe) -> None:
    first, second = Log(tmp_path / "logs"), Log(tmp_path / "logs")
    second.file = second.folder / "second"
    scribe.follow(logs(first, second))
    first.say("a")
    first.until(1)
    scribe.leave(logs(first))
    second.say("b")
    second.until(1)
    scribe.leave(logs(second))
    assert not cast("Any", scribe)._folders


def test_a_folder_that_cannot_be_watched_is_looked_at(
    tmp_path: Path, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(28, "No space left on device")  # as the kernel says it where its limit is reached

    monkeypatch.setattr("smalt.agent.linux.watch_writes", refused)
    log = Log(tmp_path / "logs")
    scribe.follow(logs(log))
    log.say("a")
    scribe.look(logs(log))
    log.until(1)
