"""A control group that the kernel still holds goes later, and until then its task's folder remembers it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from live.platform import eventually
from smalt.agent.limits import CGROUPS_FILE
from smalt.engines.local import LocalEngine
from smalt.engines.local.folders import TRASH


@pytest.fixture
def held(local: Any, tmp_path: Path) -> Path:
    """The control group of task `t`, which has ended: a folder with something in it cannot be removed either."""
    group = tmp_path / "smalt-group"
    (group / "inside").mkdir(parents=True)
    local.run("t", command="true")
    (local.folder("t") / CGROUPS_FILE).write_text(str(group))
    local.engine.remove("t")
    assert group.exists()
    assert local.engine.observe("t") is None
    return group


def graves(local: Any) -> list[Path]:
    return list((local.settings.tasks / TRASH).iterdir())


def test_it_goes_with_the_next_removal(local: Any, held: Path) -> None:
    assert len(graves(local)) == 1
    local.run("u", command="true")
    local.engine.remove("u")
    eventually(lambda: len(graves(local)) == 1, "that of u goes")
    assert held.exists()
    (held / "inside").rmdir()
    local.engine.remove("none")
    assert not held.exists()
    eventually(lambda: not graves(local), "the folder goes")


def test_removals_side_by_side_leave_it_to_one_of_them(local: Any, held: Path) -> None:
    """Each looks for what is left over."""
    (held / "inside").rmdir()
    together, busy = threading.Barrier(2, timeout=300), local.engine._busy

    class Seen(set[Path]):
        def __sub__(self, other: Any) -> Any:
            found = super().__sub__(other)
            together.wait()
            return found

    local.engine._busy = Seen(busy)
    with ThreadPoolExecutor(2) as both:
        for one in [both.submit(local.engine.remove, name) for name in ("none", "other")]:
            one.result()
    assert not held.exists()
    eventually(lambda: not graves(local), "the folder goes")


def test_it_goes_at_the_next_start(local: Any, held: Path) -> None:
    (held / "inside").rmdir()
    LocalEngine(local.settings, nursery=False)
    assert not held.exists()
    eventually(lambda: not graves(local), "the folder goes")
