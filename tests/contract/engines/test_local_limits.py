"""Limits that hold where no cgroup can be written, and those that no cgroup has: real tasks, each of an agent's own."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fakes.refs import FINDER, ref
from smalt.agent import attempt, disk
from smalt.agent.disk import KEEP_FREE_BYTES
from smalt.agent.launcher import attend
from smalt.agent.limits import Cgroups
from smalt.agent.wire import (
    Address,
    InputSpec,
    Limits,
    Outcome,
    OutputSpec,
    Probe,
    ServerSpec,
    TaskSpec,
    TaskState,
    WallsSpec,
)

MIB = 2**20
MORE = "Its VM size is S (x); a larger one has more."
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root becomes other users and mounts disks")

Run = Callable[..., tuple[TaskState, str]]


@pytest.fixture
def root() -> Iterator[Path]:
    with TemporaryDirectory(prefix="smalt-limits-") as place:  # pytest's own is closed to other users
        Path(place).chmod(0o711)
        yield Path(place)


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a task without cgroups to its end: the last state, and its system log."""
    monkeypatch.setattr(attempt, "make_cgroups", lambda *_: (Cgroups([]), "cgroups cannot be written here"))
    return lambda command, **values: end(root / "task", command, **values)


def end(folder: Path, command: str, user: int = 0, **values: Any) -> tuple[TaskState, str]:
    """`user`: as whom the agent runs."""
    folder.mkdir(parents=True)
    spec = TaskSpec(**{"name": "t", "owner": "/o", "command": command, **values})
    (folder / "task.json").write_text(spec.to_json())
    address = Address(f"unix:{folder}/run/sock" if spec.listens else "")
    (folder / "places.json").write_text(FINDER.places(spec, address).to_json())
    if user:
        subprocess.run(["chown", "-R", f"{user}:{user}", folder], check=True)
    pid = os.fork()
    if pid == 0:
        try:
            if user:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as of a process that did not change its user
            attend(folder, "", -1)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    return TaskState.from_json((folder / "state.json").read_text()), (folder / "system.log").read_text()


def eats(mib: int) -> str:
    return f"python3 -c 'import time; x = bytearray({mib} << 20); time.sleep(60)'"


def test_memory_holds_without_cgroups(run: Run) -> None:
    limits = Limits(memory_bytes=200 * MIB, more=MORE)
    command = f"{eats(120)} & {eats(120)} & wait"
    state, system = run(command, limits=limits)
    assert state.outcome is Outcome.OUT_OF_MEMORY
    assert state.error.strip() == (f"The command needed more memory than its node has (200 MiB) and was killed. {MORE}")
    assert "memory 200 MiB (the agent looks)" in system


AGENTS = [
    pytest.param({}, id="in the open"),
    pytest.param({"walls": WallsSpec(user=61_995)}, id="root, own user", marks=needs_root),
    pytest.param({"walls": WallsSpec(), "user": 61_994}, id="plain user", marks=needs_root),
]


@pytest.mark.parametrize("agent", AGENTS)
def test_what_processes_share_counts_once(run: Run, agent: dict[str, Any]) -> None:
    """Four processes with the same 100 MiB: whoever adds up resident sizes finds 400.

    While they come to share it, each may be counted with as many as had it at that moment: 100 + 50 + 33 + 25.
    """
    share = (
        "import mmap, os, time; m = mmap.mmap(-1, 100 << 20); os.fork(); os.fork()\n"
        "for at in range(0, len(m), 4096): m[at] = 1\n"
        "time.sleep(1.5)"
    )
    state, _ = run(f"python3 -c '{share}'", limits=Limits(memory_bytes=250 * MIB), **agent)
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 0), state.error


@pytest.mark.parametrize("agent", AGENTS)
def test_what_the_platform_itself_needs_around_a_task_is_not_the_tasks(run: Run, agent: dict[str, Any]) -> None:
    """The first process behind walls is a copy of the agent, which nobody else may look into."""
    large = bytearray(200 * MIB)
    state, _ = run("sleep 1.5", limits=Limits(memory_bytes=100 * MIB), **agent)
    assert (state.outcome, state.exit_code) == (Outcome.EXITED, 0), state.error
    assert large


@pytest.mark.parametrize("agent", AGENTS)
def test_the_kernel_tells_what_a_task_wrote(root: Path, agent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By processes that have ended, too; on a disk that is said to be almost full."""
    monkeypatch.setattr(disk, "free_bytes", lambda _: MIB)
    writes = "for i in 1 2 3 4 5 6 7 8; do head -c 4M /dev/zero > f$i; sleep 0.1; done; sleep 60"
    state, _ = end(root / "task", writes, **agent)
    assert state.outcome is Outcome.OUT_OF_DISK, state.error
    assert "almost full (1 MiB are free" in state.error


def test_memory_of_a_replica_holds_without_cgroups(run: Run, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text("def init():\n  global x\n  x = bytearray(200 << 20)\ndef run(data):\n  return 1\n")
    server = ServerSpec(script="score.py")
    limits = Limits(memory_bytes=150 * MIB, more=MORE)
    state, _ = run("", server=server, code=ref(code), limits=limits, ready=Probe("/ready"))
    assert state.outcome is Outcome.OUT_OF_MEMORY and "(150 MiB)" in state.error and MORE in state.error


def test_enough_memory_is_no_matter(run: Run) -> None:
    command = "python3 -c 'import time; x = bytearray(50 << 20); time.sleep(0.3)'"
    assert run(command, limits=Limits(memory_bytes=200 * MIB))[0].exit_code == 0


def test_open_files_and_core_dumps(run: Run) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    command = "ulimit -Sn; ulimit -Hn; ulimit -c; python3 -c 'x = [open(\"/dev/null\") for _ in range(100)]'"
    state, _ = run(command, open_files_most=64, log=None)
    assert state.exit_code == 1 and "OSError: [Errno 24] Too many open files" in state.error
    assert f"A process may have 64 files open (RLIMIT_NOFILE). `ulimit -n` in its command gets it up to {hard}." in (
        state.error
    )
    assert "Error: A process" in state.error and f"\n64\n{hard}\n0\n" in state.error


@needs_root
def test_processes_hold_behind_walls_without_cgroups(run: Run) -> None:
    fork = "import os, time\nfor _ in range(100):\n  if os.fork() == 0: time.sleep(60)"
    walls = WallsSpec(user=61_997)
    state, system = run(f"python3 -c '{fork}'", processes_most=20, walls=walls)
    assert state.exit_code == 1 and "BlockingIOError" in state.error
    assert "The tasks of its workspace may have 20 processes and threads together" in state.error
    assert "20 processes and threads of the whole workspace" in system


@needs_root
def test_shared_memory_holds_behind_walls(run: Run) -> None:
    limits = Limits(shm_bytes=8 * MIB)
    command = "df --output=size -B1 /dev/shm | tail -1; head -c 20M /dev/zero > /dev/shm/x"
    state, _ = run(command, limits=limits, walls=WallsSpec(user=61_996))
    assert state.exit_code == 1 and f"{8 * MIB}\n" in state.error
    assert "the disk, or /dev/shm, which holds 8 MiB here. shm_size in the job's resources changes that" in state.error


def test_a_file_larger_than_the_nodes_disk_is_refused(run: Run) -> None:
    state, _ = run("head -c 20M /dev/zero > big", limits=Limits(disk_bytes=8 * MIB, more=MORE))
    assert "No file may be larger than its node's disk (8 MiB)" in state.error and MORE in state.error


def test_a_folder_over_the_nodes_disk_ends_its_task(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_WALK_EVERY_S", 0.0)  # others free space on this disk meanwhile
    command = "for i in 1 2 3; do head -c 4M /dev/urandom > $TMPDIR/f$i; done; sleep 60"
    state, _ = run(command, limits=Limits(disk_bytes=8 * MIB, more=MORE))
    assert state.outcome is Outcome.OUT_OF_DISK
    assert "The command's own folder holds 12 MiB, more than its node's disk (8 MiB), and it was ended." in state.error


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk that is not much larger than what has to stay free."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(KEEP_FREE_BYTES + 450 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    made = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no image can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@needs_root
def test_a_task_that_fills_the_disk_ends_before_it_is_full(small: Path) -> None:
    """Also through an output in the store, which is no part of its own folder."""
    output = OutputSpec("o", target=ref(small / "store" / "o"))
    command = "while head -c 4M /dev/zero >> ${{outputs.o}}/fill; do :; done; sleep 60"
    state, _ = end(small / "task", command, outputs=[output])
    assert state.outcome is Outcome.OUT_OF_DISK, state.error
    assert "The disk of this machine is almost full" in state.error
    assert disk.free_bytes(small) > KEEP_FREE_BYTES / 4, "the platform had room all the time"


@needs_root
def test_a_task_that_writes_little_works_on_a_disk_that_is_almost_full(small: Path) -> None:
    with (small / "other").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, disk.free_bytes(small) - KEEP_FREE_BYTES // 2)
    state, _ = end(small / "task", "head -c 4M /dev/zero > x; sleep 0.3; head -c 4M /dev/zero > y")
    assert state.exit_code == 0


@needs_root
def test_inputs_do_not_fill_the_disk_either(small: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for at in range(10):
        (data / f"{at}").write_bytes(os.urandom(4 << 20) * 16)
    state, _ = end(small / "task", "true", inputs=[InputSpec("d", "uri_folder", "download", source=ref(data))])
    assert state.outcome is Outcome.OUT_OF_DISK and state.started_at == 0, state.error
    assert "almost full" in state.error
    assert disk.free_bytes(small) > KEEP_FREE_BYTES / 4
