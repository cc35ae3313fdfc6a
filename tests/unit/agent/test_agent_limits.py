"""Control groups, in a tree that stands for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt.agent import limits


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(limits, "_ROOT", tmp_path)
    return tmp_path


def entrance(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "cgroup.procs"


@pytest.mark.parametrize("seen", [True, False])
def test_to_stir_moves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    """Version 1: this process's own group of `pids`; the topmost where a container sees no other."""
    monkeypatch.setattr(limits, "_paths", lambda: {"pids": "/user/one", "": "/user/two"})
    own = entrance(root / "pids" / ("user/one" if seen else ""))
    limits.stir()
    assert own.read_text() == "0"
    assert [one for one in root.rglob("*") if one.is_file()] == [own]


def test_to_stir_moves_nothing_in_version_2(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_paths", lambda: {"": "/user/two"})
    own = entrance(root / "user" / "two")
    (root / "cgroup.controllers").touch()
    limits.stir()
    assert own.read_text() == "0"


def test_a_machine_that_lets_nobody_move_anything_is_no_failure(root: Path) -> None:
    limits.stir()
    assert not list(root.iterdir())


def test_to_stir_needs_no_groups(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> dict[str, str]:
        raise FileNotFoundError("/proc/self/cgroup")

    monkeypatch.setattr(limits, "_paths", none)
    limits.stir()
    assert not list(root.iterdir())


def test_of_a_record_that_was_cut_short_no_group_above_is_killed(tmp_path: Path) -> None:
    group = tmp_path / "user" / "smalt-0123"
    for one in (entrance(group), entrance(group.parent)):
        one.touch()
    (tmp_path / limits.CGROUPS_FILE).write_text(f"{group.parent}\n\0\0\n{group}\n")
    assert limits.recorded(tmp_path).folders == [group]
