"""What the benchmarks need is looked for before the first of them begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench"


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / script), *arguments]
    return subprocess.run(command, env={"PATH": str(folder), "HOME": str(folder)}, capture_output=True, text=True)


def test_all_that_is_missing_is_listed_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, "reach.py", "--azurite", str(tmp_path), "--python", "/nowhere/python")
    assert (done.returncode, done.stdout) == (1, "")
    first, *lines = done.stderr.splitlines()
    assert first == "The benchmarks cannot begin:"
    assert [line.split()[1].rstrip(",").rpartition("/")[2] for line in lines] == ["wrk", "node", "main.js", "python"]
    for how in ("apt-get install wrk", "apt-get install nodejs", "npm install", "leave --python out"):
        assert how in done.stderr


@pytest.mark.parametrize("script", ["deployment.py", "serving.py", "platform_blobs.py"])
def test_a_single_one_looks_too(tmp_path: Path, script: str) -> None:
    done = run(tmp_path, script, *(["--azurite", str(tmp_path)] if script == "platform_blobs.py" else []))
    assert done.returncode == 1
    assert "wrk" in done.stderr


def test_where_everything_is_it_says_so_and_a_part_needs_no_more_than_its_own(tmp_path: Path) -> None:
    for name in ("wrk", "node"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    main = tmp_path / "node_modules/azurite/dist/src/blob/main.js"
    main.parent.mkdir(parents=True)
    main.touch()
    done = run(tmp_path, "needs.py", "--azurite", str(tmp_path), "--python", sys.executable)
    assert "azureml-inference-server-http" in done.stderr  # this interpreter does not have it
    done = run(tmp_path, "needs.py", "--azurite", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "Everything is here.\n")
    assert "not gardening" in run(tmp_path, "reach.py", "--only", "gardening").stderr
