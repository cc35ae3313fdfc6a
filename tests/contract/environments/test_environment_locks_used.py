"""Which lock a build uses: its own for ever, a shipped one where it fits, else one that is made now."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smalt.environments.uv import build as build_module
from smalt.environments.uv.build import Build
from smalt.environments.uv.layout import Layout, read_json
from smalt.environments.uv.locks import Resolution, read_lock, versions, write_lock
from smalt.environments.uv.resolve import Unresolvable

KEY = "a" * 40
WRONG = "alpha==7.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "envs")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build_module, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped" / "alpha.txt"


@pytest.fixture
def run(layout: Layout, wheels: Path, shipped: Path) -> Callable[[], int]:
    definition: dict[str, Any] = {
        "title": "t",
        "python": OWN,
        "interpreter": sys.executable,
        "exact": True,
        "image": "",
        "notes": ["planned"],
        "plain_key": KEY,
        "options": ["--no-index", f"--find-links {wheels}"],
        "conda": [],
        "seeds": [],
        "serving": [],
        "pip": ["alpha"],
    }
    layout.prefix(KEY).parent.mkdir(parents=True)
    held = os.open(layout.envs / "held", os.O_CREAT | os.O_RDWR)
    return lambda: Build(layout, KEY, definition, held).run()


def installed(layout: Layout) -> str:
    return next(layout.prefix(KEY).glob("lib/python3.*/site-packages/alpha.py")).read_text()


def test_without_any_lock_one_is_made(wheel: Callable[..., Path], run: Callable[[], int], layout: Layout) -> None:
    wheel("alpha", "1.0")
    assert run() == 0
    lock = read_lock(layout.lock(KEY))
    assert lock is not None and versions(lock.text) == {"alpha": "1.0"}
    assert (read_json(layout.marker(KEY)) or {})["notes"] == ["planned"]
    assert layout.lock(KEY).stat().st_mode & 0o077 == 0
    assert run() == 0  # complete: nothing more is done


def test_a_shipped_lock_is_taken_over(
    wheel: Callable[..., Path], run: Callable[[], int], layout: Layout, shipped: Path
) -> None:
    wheel("alpha", "1.0")
    wheel("alpha", "2.0")
    write_lock(shipped, KEY, Resolution("alpha==1.0\n", (), ("curated",)))
    assert run() == 0
    assert "1.0" in installed(layout)
    assert (read_json(layout.marker(KEY)) or {})["notes"] == ["planned", "curated"]


def test_a_shipped_lock_of_another_key_is_not_looked_at(
    wheel: Callable[..., Path], run: Callable[[], int], layout: Layout, shipped: Path
) -> None:
    wheel("alpha", "1.0")
    wheel("alpha", "2.0")
    write_lock(shipped, "b" * 40, Resolution("alpha==1.0\n", (), ()))
    assert run() == 0
    assert "2.0" in installed(layout)


def test_a_shipped_lock_that_does_not_fit_is_replaced(
    wheel: Callable[..., Path], run: Callable[[], int], layout: Layout, shipped: Path
) -> None:
    wheel("alpha", "1.0")
    write_lock(shipped, KEY, Resolution(WRONG, (), ("curated",)))
    assert run() == 0
    assert "1.0" in installed(layout)
    assert (read_json(layout.marker(KEY)) or {})["notes"] == ["planned"]


def test_an_own_lock_is_never_replaced(wheel: Callable[..., Path], run: Callable[[], int], layout: Layout) -> None:
    wheel("alpha", "1.0")
    write_lock(layout.lock(KEY), KEY, Resolution(WRONG, (), ()))
    before = layout.lock(KEY).read_text()
    with pytest.raises(Unresolvable, match="alpha"):
        run()
    assert layout.lock(KEY).read_text() == before
    assert read_json(layout.marker(KEY)) is None


def test_other_bits_than_those_of_the_lock_are_refused(
    wheel: Callable[..., Path], run: Callable[[], int], layout: Layout
) -> None:
    wheel("alpha", "1.0")
    write_lock(layout.lock(KEY), KEY, Resolution(WRONG.replace("7.0", "1.0"), (), ()))
    with pytest.raises(Unresolvable, match=r"(?i)hash"):
        run()
    assert read_json(layout.marker(KEY)) is None
