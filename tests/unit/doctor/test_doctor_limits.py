"""What can be bounded, on machines made of files: cgroups of both versions, memory, open files, GPUs."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from fakes.machines import machine, program
from smalt.agent import limits as agent
from smalt.doctor import gpus, limits
from smalt.doctor.finding import Finding, State
from smalt.doctor.machine import Machine
from smalt.settings import Settings

GROUPS = "sys/fs/cgroup"


def meminfo(total_gib: float, available_gib: float) -> dict[str, str]:
    lines = {"MemTotal": total_gib, "MemFree": 0.1, "MemAvailable": available_gib}
    return {"proc/meminfo": "".join(f"{name}:  {int(gib * 2**20)} kB\n" for name, gib in lines.items())}


def cgroups(examined: Machine, monkeypatch: pytest.MonkeyPatch) -> Finding:
    monkeypatch.setattr(agent, "_ROOT", examined.base / GROUPS)
    return limits.cgroups(examined)


def version_1(tmp_path: Path, *controllers: str) -> Machine:
    examined = machine(tmp_path)
    for one in controllers:
        (examined.base / GROUPS / one).mkdir(parents=True)
    return examined


def test_cgroups_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cgroups(version_1(tmp_path, "memory", "cpu", "pids"), monkeypatch)
    assert (found.state, found.fact) == (State.OK, "version 1: memory, cpu and pids can be written")


def test_cgroups_1_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cgroups(version_1(tmp_path, "memory", "pids"), monkeypatch)
    assert (found.state, found.fact) == (State.WARN, "version 1: cpu cannot be written (memory, pids can)")
    assert found.means == "jobs run without a limit of processor time" and found.remedy


def test_cgroups_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = machine(tmp_path, {f"{GROUPS}/cgroup.controllers": "cpu memory pids"})
    found = cgroups(examined, monkeypatch)
    assert (found.state, found.fact) == (State.OK, "version 2: memory, cpu and pids can be written")


def test_no_cgroups_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cgroups(machine(tmp_path), monkeypatch)
    assert (found.state, found.fact) == (State.NO, "none are mounted")


def test_cgroups_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{GROUPS}/{one}": "no folder" for one in ("memory", "cpu", "pids")}
    found = cgroups(machine(tmp_path, files), monkeypatch)
    assert (found.state, found.fact) == (State.NO, "version 1: memory, cpu, pids cannot be written")
    assert found.means == (
        "jobs run without a limit of processor time, processes; their agents look at jobs' memory once a second"
    )


def test_the_groups_tried_are_gone() -> None:
    before = {str(one) for one in Path("/sys/fs/cgroup").glob("*/smalt-doctor-*")}
    limits.cgroups(Machine(Settings(Path("/nonexistent"))))
    assert {str(one) for one in Path("/sys/fs/cgroup").glob("*/smalt-doctor-*")} == before


@pytest.mark.parametrize(
    ("total", "available", "state"), [(16, 8, State.OK), (16, 0.5, State.WARN), (1.5, 1.2, State.WARN)]
)
def test_memory(tmp_path: Path, total: float, available: float, state: State) -> None:
    found = limits.memory(machine(tmp_path, meminfo(total, available)))
    assert found.state is state and found.fact == f"{total:.1f} GiB, {available:.1f} available"


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/a/b\n", f"{GROUPS}/a/b/memory.max": "max\n", f"{GROUPS}/a/memory.max": f"{2**30}\n"},
        {"proc/self/cgroup": "4:memory:/a\n1:cpu:/\n", f"{GROUPS}/memory/a/memory.limit_in_bytes": f"{2**30}\n"},
    ],
    ids=["version-2", "version-1"],
)
def test_memory_of_a_container(tmp_path: Path, files: dict[str, str]) -> None:
    found = limits.memory(machine(tmp_path, {**meminfo(64, 32), **files}))
    assert found.state is State.WARN and found.fact.endswith("this container may have 1.0")


def test_memory_that_nobody_tells(tmp_path: Path) -> None:
    assert limits.memory(machine(tmp_path)).state is State.WARN


@pytest.mark.parametrize(
    ("soft", "hard", "state", "remedy"),
    [
        (65_536, 65_536, State.OK, ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, State.OK, ""),
        (1024, 524_288, State.WARN, "ulimit -n 65536"),
        (1024, 8192, State.WARN, "ulimit -n 8192"),
        (1024, 1024, State.WARN, "prlimit --nofile=65536 --pid $$"),
    ],
)
def test_open_files(soft: int, hard: int, state: State, remedy: str) -> None:
    found = limits.open_files_found(soft, hard)
    assert (found.state, found.remedy.removeprefix("sudo ")) == (state, remedy)


DRIVER = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\n"}
DEVICES = {"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": ""}


@pytest.mark.parametrize(
    ("files", "state", "fact"),
    [
        ({}, State.NONE, "none"),
        (DRIVER, State.WARN, "driver 550.54.15, but no device"),
        (DEVICES, State.WARN, "2, and no driver answers"),
        ({**DRIVER, **DEVICES}, State.OK, "2, driver 550.54.15"),
    ],
)
def test_gpus(tmp_path: Path, files: dict[str, str], state: State, fact: str) -> None:
    found = gpus.gpus(machine(tmp_path, files))
    assert (found.state, found.fact) == (state, fact)


def test_gpus_by_name_and_a_driver_that_fails(tmp_path: Path) -> None:
    examined = machine(tmp_path, {**DRIVER, **DEVICES})
    program(tmp_path, "nvidia-smi", "echo NVIDIA A100; echo NVIDIA A100")
    assert gpus.gpus(examined).fact == "2 × NVIDIA A100, driver 550.54.15"
    program(tmp_path, "nvidia-smi", "echo Driver/library version mismatch >&2; exit 9")
    found = gpus.gpus(examined)
    assert found.state is State.WARN and found.fact.endswith("nvidia-smi: Driver/library version mismatch")
