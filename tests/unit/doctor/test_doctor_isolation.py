"""By what jobs can be kept apart: tried for real, and why it is refused, by what stands in /proc."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fakes.machines import NOBODY, as_nobody, everything_below, machine, program
from live.patience import PATIENCE_S
from live.processes import alive
from smalt.doctor import child, idmapped, isolation
from smalt.doctor.child import attempt
from smalt.doctor.finding import State
from smalt.doctor.machine import Machine
from smalt.settings import Settings

REFUSED = OSError(errno.EPERM, os.strerror(errno.EPERM))
KINDS = {
    "user": isolation.user_namespaces,
    "mount": isolation.mount_namespaces,
    "pid": isolation.pid_namespaces,
    "net": isolation.network_namespaces,
}
AS_ROOT = "" if os.geteuid() == 0 else "sudo "
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone becomes another user")


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def test_what_a_child_raises_is_told() -> None:
    assert attempt(lambda: None) is None
    error = attempt(lambda: fail(errno.ENOSPC))
    assert error is not None and error.errno == errno.ENOSPC


def test_a_process_with_many_files_open_tries_as_well() -> None:
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        assert attempt(lambda: None) is None
    finally:
        for one in many:
            os.close(one)


def test_a_child_that_is_killed_or_hangs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = attempt(lambda: os.kill(os.getpid(), signal.SIGSYS))
    assert killed is not None and killed.errno == errno.EPERM
    monkeypatch.setattr(child, "PATIENCE_S", 0.05)
    began = time.monotonic()
    silent = attempt(lambda: time.sleep(600))
    assert silent is not None and silent.errno == errno.ETIMEDOUT
    assert time.monotonic() - began < 60


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    def hang() -> None:
        told.write_text(str(os.getpid()))
        time.sleep(60)

    parent = os.fork()
    if parent == 0:
        attempt(hang)
        os._exit(0)
    deadline = time.monotonic() + PATIENCE_S
    while not told.exists() or not told.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    while alive(int(told.read_text())):
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.01)


def test_the_child_alone_is_crippled() -> None:
    before = {one: Path(f"/proc/self/ns/{one}").readlink() for one in ("user", "mnt", "pid", "net", "uts")}
    name = os.uname().nodename
    for look in KINDS.values():
        look(Machine(Settings(Path("/nonexistent"))))
    assert {one: Path(f"/proc/self/ns/{one}").readlink() for one in before} == before
    assert os.uname().nodename == name


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no program that tries the same")
@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_unshare_says(kind: str, tmp_path: Path) -> None:
    asked = ["unshare", "--user", *([f"--{kind}", "--fork"] if kind != "user" else []), "true"]
    works = subprocess.run(asked, check=False, capture_output=True).returncode == 0
    found = KINDS[kind](machine(tmp_path))
    assert (found.state is not State.NO) is works, found


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None or shutil.which("unshare") is None, reason="nothing tries the same")
@pytest.mark.parametrize("kind", KINDS)
def test_it_says_to_a_plain_user_what_unshare_says(kind: str, tmp_path: Path) -> None:
    become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    asked = [*become, "unshare", "--user", *([f"--{kind}", "--fork"] if kind != "user" else []), "true"]
    works = subprocess.run(asked, check=False, capture_output=True, cwd="/").returncode == 0
    examined = machine(tmp_path)
    assert (as_nobody(lambda: KINDS[kind](examined).state) != State.NO) is works


@pytest.mark.parametrize(
    ("files", "number", "why", "remedy"),
    [
        ({"proc/sys/user/max_user_namespaces": "0\n"}, errno.ENOSPC, "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"),
        ({"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, errno.EPERM, "kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            {"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n", "proc/sys/user/max_user_namespaces": "9\n"},
            errno.EPERM,
            "kernel.apparmor_restrict_unprivileged_userns is 1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"proc/sys/user/max_net_namespaces": "0\n"}, errno.ENOSPC, "user.max_net_namespaces is 0", "sysctl -w user.max_net_namespaces=15000"),
        ({"proc/sys/user/max_net_namespaces": "9\n"}, errno.ENOSPC, "exist already", "sysctl -w user.max_net_namespaces=15000"),
    ],
    ids=["limit", "debian", "apparmor", "of-this-kind", "full"],
)  # fmt: skip
def test_the_sysctl_that_forbids_is_named(
    tmp_path: Path, files: dict[str, str], number: int, why: str, remedy: str
) -> None:
    told = isolation.refusal(machine(tmp_path, files), "net", OSError(number, os.strerror(number)))
    assert why in told[0]
    assert told[1] == AS_ROOT + remedy


def test_a_filter_of_system_calls_is_named(tmp_path: Path) -> None:
    examined = machine(tmp_path, {"proc/self/status": "Name:\tpython\nSeccomp:\t2\nSeccomp_filters:\t1\n"})
    why, remedy = isolation.refusal(examined, "user", REFUSED)
    assert "seccomp" in why and "seccomp=unconfined" in remedy


def test_a_kernel_without_namespaces_and_an_unknown_cause(tmp_path: Path) -> None:
    examined = machine(tmp_path, {"proc/self/status": "Seccomp:\t0\n"})
    assert isolation.refusal(examined, "user", OSError(errno.EINVAL, ""))[0] == "not in this kernel"
    assert isolation.refusal(examined, "user", REFUSED)[0] == os.strerror(errno.EPERM)


def test_a_refused_namespace_says_what_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "attempt", lambda act: REFUSED)
    examined = machine(tmp_path, {"proc/sys/kernel/unprivileged_userns_clone": "0\n"})
    for look in KINDS.values():
        found = look(examined)
        assert (found.state, found.fact) == (State.NO, "refused: kernel.unprivileged_userns_clone is 0")
        assert found.means and found.remedy.endswith("sysctl -w kernel.unprivileged_userns_clone=1")


def test_process_numbers_without_a_proc_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "attempt", lambda act: REFUSED if act is isolation.mount_own_proc else None)
    found = isolation.pid_namespaces(machine(tmp_path))
    assert found.state is State.WARN and "/proc" in found.fact


def test_bubblewrap(tmp_path: Path) -> None:
    examined = machine(tmp_path)
    assert isolation.bubblewrap(examined).state is State.NONE
    program(tmp_path, "bwrap", 'test "$1" = --version && echo bubblewrap 0.11.0 || exit 0')
    found = isolation.bubblewrap(examined)
    assert found.state is State.OK and found.fact.startswith("0.11.0 at ")
    program(tmp_path, "bwrap", 'test "$1" = --version && echo bubblewrap 0.11.0 || { echo "bwrap: No" >&2; exit 1; }')
    found = isolation.bubblewrap(examined)
    assert found.state is State.NO and found.fact.endswith("no sandbox starts: bwrap: No")


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    path = program(tmp_path, "bwrap", f"/bin/sleep 601 & echo $! > {tmp_path}/pid; wait")
    began = time.monotonic()
    assert machine(tmp_path).ask([str(path)], timeout_s=1.5) == (False, "no answer within 1.5 s")
    assert time.monotonic() - began < 60
    deadline = time.monotonic() + PATIENCE_S
    while alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "fact", "remedy"),
    [
        (errno.EOPNOTSUPP, "in the kernel, but not switched on", "lsm=landlock,yama,bpf"),
        (errno.ENOSYS, "not in this kernel", "CONFIG_SECURITY_LANDLOCK"),
        (errno.EPERM, "refused (Operation not permitted)", "seccomp=unconfined"),
    ],
)
def test_landlock(tmp_path: Path, number: int, fact: str, remedy: str) -> None:
    examined = machine(tmp_path, {"sys/kernel/security/lsm": "yama,bpf"})
    assert isolation.landlock_found(examined, lambda: 7).fact == "version 7 of its interface"

    def refused() -> int:
        raise OSError(number, os.strerror(number))

    found = isolation.landlock_found(examined, refused)
    assert (found.state, found.fact) == (State.NO, fact) and remedy in found.remedy


@needs_root
def test_idmapped_mounts_leave_nothing(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    found = idmapped.idmapped_mounts(Machine(Settings(tmp_path)))
    assert found.state in (State.OK, State.NO) and found.fact
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert everything_below(tmp_path) == set()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_idmapped_mounts_refused(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def refused(folder: str, namespace: int) -> None:
        fail(number)

    monkeypatch.setattr(idmapped.syscalls, "map_ids", refused)
    found = idmapped.idmapped_mounts(machine(tmp_path))
    assert found.state is State.NO and found.means and found.remedy


def test_idmapped_mounts_need_user_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(idmapped, "attempt", lambda act: REFUSED)
    found = idmapped.idmapped_mounts(machine(tmp_path, {"proc/sys/user/max_user_namespaces": "0"}))
    assert (found.state, found.fact) == (State.NO, "refused with user namespaces: user.max_user_namespaces is 0")


def test_only_root_maps_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert idmapped.idmapped_mounts(machine(tmp_path)).state is State.NONE
