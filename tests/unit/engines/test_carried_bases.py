"""Where the logs of a carried task begin in the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smalt.agent.wire import Ref
from smalt.engines.local.carry.follow import Bases


def test_where_the_logs_of_a_task_begin_is_read_again_whoever_noted_it(tmp_path: Path) -> None:
    """Each log is followed by a thread of its own, and all note it in one file at the same moment."""
    refs = [Ref("account", "container", "n" * length) for length in range(1, 60, 7)]
    lengths = [len(ref.name) for ref in refs]
    for number in range(20):
        path = tmp_path / str(number)
        with ThreadPoolExecutor(len(refs)) as threads:
            list(threads.map(Bases(path).set, refs, lengths))
        again = Bases(path)
        assert [again.get(ref) for ref in refs] == lengths


@pytest.mark.parametrize("torn", ['{"a": 1}}', "", "[1]", "7"])
def test_a_note_of_it_that_cannot_be_read_does_not_keep_the_task_from_being_carried(tmp_path: Path, torn: str) -> None:
    (tmp_path / "logs").write_text(torn)
    assert Bases(tmp_path / "logs").get(Ref("a", "b", "c")) is None
