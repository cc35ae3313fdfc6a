"""What GPUs do, as `nvidia-smi` says it, and how full a disk is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from smalt.engines.local import meter
from smalt.engines.local.meter import MIB, gpu_uses

# nvidia-smi's answers to --query-gpu and --query-compute-apps
GPUS = """
GPU-a, 80, 81920, 400.00
GPU-b, 10, 81920, [N/A]
"""
PROCESSES = """
7, GPU-a, 3000
8, GPU-a, 1000
7, GPU-b, 500
9, GPU-b, [N/A]
"""


def test_time_power_and_memory_of_gpus_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    answers = f'case "$1" in --query-gpu=*) cat <<E\n{GPUS.strip()}\nE\n;; *) cat <<E\n{PROCESSES.strip()}\nE\nesac\n'
    program.write_text(f"#!/bin/sh\n{answers}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    of = {"GPU-a": 81920 * MIB, "GPU-b": 81920 * MIB}
    found = gpu_uses()
    assert {pid: (one.memory_bytes, dict(one.of)) for pid, one in found.items()} == {
        7: (3500 * MIB, of),
        8: (1000 * MIB, {"GPU-a": 81920 * MIB}),
    }
    assert [found[pid].share for pid in (7, 8)] == pytest.approx([0.8 * 0.75 + 0.1, 0.2])
    assert [found[pid].watts for pid in (7, 8)] == pytest.approx([300, 100])


def test_a_disk_is_as_full_as_df_says(tmp_path: Path) -> None:
    mounted, percent = meter._disk(tmp_path)
    assert Path(mounted).is_mount() and tmp_path.is_relative_to(mounted)
    total, used, free = shutil.disk_usage(tmp_path)
    assert used < total and percent == pytest.approx(100 * used / (used + free), abs=0.5)
