"""A full disk is an error of the command, never a lost task."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.carriers import BOTH
from fakes.refs import ref
from smalt.agent.wire import Outcome, OutputSpec

pytestmark = [BOTH, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small(local: Any, disk: Path) -> Iterator[Any]:
    """A root of its own on a disk of 2 MB."""
    made = type(local)(disk)
    yield made
    made.close()


def test_a_command_that_fills_the_disk_ends_with_its_own_code(small: Any) -> None:
    state, _ = small.run(command="cat /dev/zero > fill; echo more >> fill2 || exit 7")
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 7)
    assert "exited with status code 7" in state.error


@pytest.mark.parametrize(("size", "outcome"), [(1 << 20, Outcome.EXITED), (4 << 20, Outcome.SETUP)])
def test_an_output_is_stored_on_another_disk_whole_or_not_at_all(
    local: Any, disk: Path, size: int, outcome: Outcome
) -> None:
    state, _ = local.run(
        command=f"head -c {size} /dev/zero > ${{{{outputs.o}}}}/big",
        outputs=[OutputSpec("o", mode="upload", target=ref(disk / "store"))],
    )
    assert (state.outcome, state.exit_code) == (outcome, 0)
    stored = [(one.name, one.stat().st_size) for one in (disk / "store").iterdir()]
    if outcome is Outcome.EXITED:
        assert stored == [("big", size)]
    else:
        assert stored == []
        assert "Output 'o' could not be stored: No space left" in state.error


def test_a_task_that_finds_the_disk_full_says_so(small: Any, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "big").write_bytes(b"x" * (4 << 20))
    state, _ = small.run(command="true", code=ref(code))
    assert state.outcome is Outcome.SETUP
    assert "No space left" in state.error
