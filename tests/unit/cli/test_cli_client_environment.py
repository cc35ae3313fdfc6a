"""Two commands that need one client environment at the same moment."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from smalt.cli import client_environment
from smalt.cli.client_environment import install


def test_an_environment_is_made_by_one_and_used_by_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other waits: else it would remove what is being made."""
    calls = tmp_path / "calls"
    os.mkfifo(tmp_path / "go")
    uv = tmp_path / "uv"
    uv.write_text(
        "#!/bin/sh\n"
        f"echo $3 >> '{calls}'\n"
        f"if [ $3 = venv ]; then read x < '{tmp_path / 'go'}'; mkdir -p '{tmp_path / 'env' / 'bin'}'; fi\n"
        f"if [ $3 = pip ]; then : > '{tmp_path / 'env' / 'bin' / 'python'}'; fi\n"
    )
    uv.chmod(0o755)
    monkeypatch.setattr(client_environment, "find_uv_bin", lambda: str(uv))
    pinned, waits = tmp_path / "pinned.txt", threading.Event()
    pinned.write_text("")

    def say(text: str) -> None:
        if "waiting" in text:
            waits.set()

    def made(_: int) -> Path:
        return install(tmp_path / "env", tmp_path, dict(os.environ), say, ["client==1"], pinned)

    with ThreadPoolExecutor(2) as both:
        found = [both.submit(made, number) for number in range(2)]
        waited = waits.wait(300)
        for _ in range(1 if waited else 2):
            (tmp_path / "go").write_text("x\n")
        assert [one.result() for one in found] == [tmp_path / "env" / "bin" / "python"] * 2
    assert waited
    assert calls.read_text().split() == ["venv", "pip"]
