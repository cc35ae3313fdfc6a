"""The root's disk: whether it can be written, what is free, and what its file system can do."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smalt.cli.root import CliError, check_folder
from smalt.doctor.finding import Finding, NotTried, no, none, ok, warn
from smalt.doctor.machine import Machine
from smalt.reserve import MIB, Reserve

LITTLE_BYTES = 10 * 10**9
FEW_INODES = 100_000
_FICLONE = 0x40049409
_REMOTE = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|9p|ceph|lustre|glusterfs|beegfs|gpfs|afs|fuse\.\w*(sshfs|s3|gcs|blob|rclone)\w*)"
)
_VOLATILE = ("tmpfs", "ramfs", "overlay")


@dataclass(frozen=True)
class FileSystem:
    kind: str
    mounted_at: str


def file_system(machine: Machine) -> FileSystem:
    """That of the ground, as the kernel lists it."""
    best = FileSystem("unknown", "/")
    for line in machine.read("proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda one: chr(int(one[1], 8)), before.split()[4])
        if machine.ground.is_relative_to(place) and len(place) >= len(best.mounted_at):
            best = FileSystem(after.split()[0], place)
    return best


def root(machine: Machine) -> Finding:
    folder = machine.settings.root
    means, remedy = "Smalt cannot start here", "smalt up --root DIR, a folder that is yours"
    try:
        check_folder(folder)
        with machine.scratch():
            pass
    except CliError as error:
        return no(str(error).rstrip("."), means, remedy)
    except NotTried as error:
        return no(str(error), means, remedy)
    if folder.exists():
        return ok(f"{folder}, which you can write")
    return ok(f"{folder} is not there yet and can be made")


def disk(machine: Machine) -> Finding:
    return disk_found(machine, os.statvfs(machine.ground))


def disk_found(machine: Machine, told: os.statvfs_result) -> Finding:
    free, size = told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize
    fact = f"{free / 10**9:.1f} GB of {size / 10**9:.0f} GB are free"
    ground = shlex.quote(str(machine.ground))
    remedy = f"du -xh --max-depth=2 {ground} | sort -h | tail"
    needed = Reserve(machine.settings.root).needed_bytes
    if free < needed:
        return no(f"{free / MIB:.0f} MiB are free", f"Smalt needs {needed // MIB} MiB to start", remedy)
    if free < LITTLE_BYTES:
        return warn(fact, "environments of several GB, and what jobs write, may not fit", remedy)
    if told.f_files and told.f_favail < FEW_INODES:
        means = "environments have tens of thousands of files, which may not fit"
        return warn(f"{fact}, but only {told.f_favail} files can be made", means, f"df -i {ground}")
    return ok(fact)


def kind_of_file_system(machine: Machine) -> Finding:
    found = file_system(machine)
    fact = f"{found.kind}, mounted at {found.mounted_at}"
    if _REMOTE.fullmatch(found.kind):
        means = "SQLite may lose data on a network's file system, and Smalt's locks may not hold"
        return warn(fact, means, "smalt up --root DIR, on a disk of this machine")
    if found.kind in _VOLATILE:
        means = "everything is gone with the container or at the machine's next start"
        return warn(fact, means, "smalt up --root DIR, on a disk (docker run -v smalt:DIR …)")
    return ok(fact)


def hard_links(machine: Machine) -> Finding:
    with machine.scratch() as folder:
        try:
            _files(folder, folder).link()
        except OSError as error:
            means = "Smalt makes its secrets, and environments from uv's cache, by hard links"
            return no(
                f"not on this file system ({error.strerror})", means, "smalt up --root DIR, on ext4, XFS or Btrfs"
            )
    return _across(machine, _Pair.link, "jobs whose environments are built anew fail, and environments take more disk")


def clones(machine: Machine) -> Finding:
    """Copies that share their blocks until one is changed (reflinks)."""
    means = "copies of inputs and outputs take time, and disk, by their size"
    remedy = "smalt up --root DIR, on Btrfs, or on XFS made with -m reflink=1"
    with machine.scratch() as folder:
        try:
            _files(folder, folder).clone()
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS):
                return none(f"not on {file_system(machine).kind}", means, remedy)
            return none(f"refused ({error.strerror})", means, remedy)
    return _across(machine, _Pair.clone, means)


@dataclass(frozen=True)
class _Pair:
    source: Path
    target: Path

    def link(self) -> None:
        os.link(self.source, self.target)

    def clone(self) -> None:
        with self.source.open("rb") as reading, self.target.open("wb") as writing:
            fcntl.ioctl(writing, _FICLONE, reading.fileno())


def _files(source: Path, target: Path) -> _Pair:
    pair = _Pair(source / "source", target / "target")
    pair.source.write_bytes(b"smalt" * 1000)
    return pair


def _across(machine: Machine, share: Callable[[_Pair], None], means: str) -> Finding:
    """The same from environments to blobs, which may be mounted each by itself."""
    settings = machine.settings
    if not (settings.envs.is_dir() and settings.blobs.is_dir()):
        return ok("work")
    with machine.scratch(settings.envs) as source, machine.scratch(settings.blobs) as target:
        try:
            share(_files(source, target))
        except OSError as error:
            fact = f"work, but not from envs/ to blobs/ ({error.strerror})"
            return warn(fact, means, f"df {settings.envs} {settings.blobs}, and have both on one file system")
    return ok("work, also from envs/ to blobs/")
