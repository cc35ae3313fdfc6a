"""The root folder: who may open it, which one is refused, and that only one supervisor has it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from smalt.cli.root import CliError, holder, prepare, remember, take_lock
from smalt.config import read_settings
from smalt.settings import Settings


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_root_is_private_and_remembers_its_address(tmp_path: Path) -> None:
    root = tmp_path / "a" / "smalt"
    prepare(Settings(root, "ml.example", 9443))
    remember(Settings(root, "ml.example", 9443))
    assert read_settings(root) == Settings(root, "ml.example", 9443)
    assert [mode(root), mode(root / "logs"), mode(root / "secrets"), mode(root / "config.json")] == [0o700] * 3 + [
        0o600
    ]
    assert json.loads((root / "config.json").read_text()) == {"layout": 1, "host": "ml.example", "port": 9443}


def test_a_file_or_a_shared_folder_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match="not a folder"):
        prepare(Settings(tmp_path / "file"))
    with pytest.raises(CliError, match="cannot be used"):
        prepare(Settings(tmp_path / "file" / "below"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(CliError, match="for other things too"):
        prepare(Settings(shared))
    assert mode(shared) == 0o777
    assert list(shared.iterdir()) == []


def test_a_folder_of_sockets_that_is_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # other commands, of other shells, must find the same folder
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    settings = Settings(tmp_path / "a-root-whose-path-is-too-long-for-sockets-to-stand-below-it")
    assert settings.run.parent == Path("/tmp")  # where anyone could have put something before us
    settings.run.symlink_to(elsewhere)
    try:
        with pytest.raises(CliError, match="not ours"):
            prepare(settings)
    finally:
        settings.run.unlink()
    assert mode(elsewhere) == 0o755


def test_one_process_at_a_time_has_the_lock_and_it_ends_with_the_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from smalt.cli.root import take_lock; lock = take_lock(Path(sys.argv[1]));"
        "lock.claim(); print('held', flush=True); sys.stdin.read()"
    )
    assert holder(tmp_path) is None
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    assert holder(tmp_path) == other.pid
    assert take_lock(tmp_path) is None
    other.kill()
    other.communicate()
    assert holder(tmp_path) is None
    lock = take_lock(tmp_path)
    assert lock is not None
    assert holder(tmp_path) == 0  # not the id of the one before
    lock.claim()
    assert holder(tmp_path) == os.getpid()
    lock.close()
    assert holder(tmp_path) is None


def test_who_only_looks_bars_nobody_however_long_it_takes(tmp_path: Path) -> None:
    with (tmp_path / "up.lock").open("w+") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)  # as `holder` does
        stalled = threading.Timer(0.5, fcntl.flock, (looking, fcntl.LOCK_UN))
        stalled.start()
        lock = take_lock(tmp_path)
        stalled.join()
    assert lock is not None
    lock.close()
