"""What a task leaves is deleted behind: whoever removes it waits for none of its files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live.patience import PATIENCE_S
from live.platform import eventually
from smalt.agent import wire
from smalt.engines.local import LocalEngine, graves
from smalt.engines.local.folders import TRASH
from smalt.engines.local.graves import Graves

delete_tree = graves.delete_tree


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is deleted behind before it is set."""
    opened = threading.Event()

    def held(folder: Path) -> None:
        assert opened.wait(PATIENCE_S)
        delete_tree(folder)

    monkeypatch.setattr(graves, "delete_tree", held)
    yield opened
    opened.set()


def left(local: Any) -> list[Path]:
    return list((local.settings.tasks / TRASH).iterdir())


def test_a_removal_waits_for_no_file(local: Any, gate: threading.Event) -> None:
    local.run("t", command="mkdir many && touch many/one")
    folder = local.folder("t")
    local.engine.remove("t")
    assert not folder.exists() and local.engine.observe("t") is None
    (grave,) = left(local)
    assert list(grave.rglob("many/one")) and not (grave / wire.TASK_FILE).exists()
    local.run("t", command="true")  # the name is free
    gate.set()
    eventually(lambda: not left(local), "the files go")
    assert folder.exists()


def test_what_was_left_goes_at_the_next_start(
    local: Any, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("t", "u"):
        local.run(name, command="true")
        local.engine.remove(name)
    local.engine.close()
    gate.set()
    eventually(lambda: len(left(local)) == 1, "the one that was begun goes, and the other stays")

    def none_is_ended(*_: Any) -> None:
        raise AssertionError("it had ended")

    monkeypatch.setattr("smalt.engines.local.engine.bury", none_is_ended)
    LocalEngine(local.settings, nursery=False)
    eventually(lambda: not left(local), "it goes")


def test_a_start_waits_for_none_of_what_it_finds(
    local: Any, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalt.engines.local.engine.Graves", lambda: Graves(most=1))
    trash, older = local.settings.tasks / TRASH, local.settings.root / "serving"
    found = [trash / f"{number}.ended" for number in range(5)] + [trash / "cut", older / "e" / "r1", older / "e" / "r2"]
    for folder in found:
        folder.mkdir(parents=True)
    LocalEngine(local.settings, nursery=False)  # the gate is closed: one that is deleted here would hang
    gate.set()
    eventually(lambda: not left(local) and not any(folder.exists() for folder in found), "all go behind")


def test_at_most_so_many_wait(tmp_path: Path, gate: threading.Event) -> None:
    behind, folders = Graves(most=1), [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    behind.take(folders[0])
    eventually(lambda: not behind._waiting, "the first is begun")
    behind.take(folders[1])
    gate.set()
    behind.take(folders[2])
    assert not folders[2].exists()
    eventually(lambda: not any(folder.exists() for folder in folders), "all go")
    behind.close()
