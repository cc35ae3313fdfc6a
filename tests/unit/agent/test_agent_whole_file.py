from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smalt.agent.whole_file import write_whole

_TEXTS = [json.dumps(["x" * length]) for length in (0, 10, 1000, 100_000)]


def test_who_reads_while_several_write_finds_one_of_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, _TEXTS[0])
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(lambda text=text: [write_whole(path, text) for _ in range(200)]) for text in _TEXTS]
        while not all(one.done() for one in writing):
            assert path.read_text() in _TEXTS
        for one in writing:
            one.result()
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    write_whole(path, "before", sync=True)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "after", sync=True)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
