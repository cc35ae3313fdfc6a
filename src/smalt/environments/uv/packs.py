"""A built environment as one file, for other machines of the same platform: all that came with packages, and bytecode.

What is a machine's own is not in it: the interpreter's links, `pyvenv.cfg`, the marker. The machine that unpacks it
makes these anew, and rewrites the first lines of scripts. `python -m smalt.environments.uv.packs ENVS KEY` packs.

The file is a tar with gzip; its first member says the prefix that scripts name, and the lock.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from smalt.agent.overlay import with_interpreter
from smalt.environments.uv.layout import Layout
from smalt.environments.uv.locks import Resolution, foreign_line, parse_lock, read_lock
from smalt.environments.uv.process import say

_ABOUT = "about.json"
_ABOUT_MOST_BYTES = 16 << 20
_LEVEL = 1  # the quickest; it makes a third of what is on disk
_TOP_OWN = frozenset(("pyvenv.cfg", ".complete", ".lock", ".gitignore", "CACHEDIR.TAG", "lib64"))
_BIN_OWN = ("python", "activate", "deactivate", "Activate", "pydoc.bat")
_CHUNK = 1 << 20
_ASK = (
    "import platform, sys, sysconfig; print(sys.implementation.name, platform.python_version(),"
    " sysconfig.get_config_var('SOABI'), *platform.libc_ver())"
)


class Unfit(ValueError):
    """It cannot be packed for other machines, or what was packed cannot be used; the message says why."""


@cache
def platform_of(interpreter: str) -> str:
    """What the files of an environment depend on: system, processor, C library, build of Python. Raises OSError."""
    command = [interpreter, "-I", "-S", "-c", _ASK]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except subprocess.SubprocessError as error:
        raise OSError(f"{interpreter} does not say what it is: {error}") from error
    return "-".join([platform.system(), platform.machine(), *told.split()])


def pack(layout: Layout, key: str) -> Path:
    """The file. Raises Unfit, OSError."""
    prefix, resolution = layout.prefix(key), read_lock(layout.lock(key))
    if resolution is None:
        raise Unfit("it has no lock")
    if foreign_line(resolution.text, ()):
        raise Unfit("packages of it come from addresses of their own")
    if any(not one.name.endswith("-none-any.whl") for one in layout.wheels(key).glob("*.whl")):
        raise Unfit("packages of it were compiled here, for this machine's libraries and processor")
    path = layout.packed(key)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    about = {"prefix": str(prefix), "lock": layout.lock(key).read_text()}
    try:
        with tarfile.open(part, "w:gz", compresslevel=_LEVEL) as archive:
            _add_text(archive, _ABOUT, json.dumps(about))
            for file, name in _files(prefix):
                _add(archive, file, name, str(prefix))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def unpack(path: Path, prefix: Path) -> Resolution:
    """Into a fresh virtual environment; what its lock says. Raises Unfit, OSError."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            members = iter(archive)
            before, resolution = _about(archive, next(members, None))
            for member in members:
                _extract(archive, member, prefix)
    except Unfit:
        raise
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError) as error:  # names and times, too
        raise Unfit(f"it is torn ({error or type(error).__name__})") from error
    old, new = os.fsencode(f"{before}/bin"), os.fsencode(prefix / "bin")
    for script in (prefix / "bin").iterdir():
        if not script.is_symlink() and (text := with_interpreter(str(script), old, new)) is not None:
            script.write_bytes(text)
    return resolution


def _files(prefix: Path) -> Iterator[tuple[Path, str]]:
    """Plain files, by name; a virtual environment has no links but its own."""
    for folder, folders, names in os.walk(prefix):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            inside = str(file.relative_to(prefix))
            if not file.is_symlink() and not _is_own(inside):
                yield file, inside


def _is_own(name: str) -> bool:
    """Whether each virtual environment has one of its own."""
    top, _, rest = name.partition("/")
    return top in _TOP_OWN or (top == "bin" and rest.startswith(_BIN_OWN) and not rest.startswith("python-"))


def _add(archive: tarfile.TarFile, file: Path, name: str, prefix: str) -> None:
    with file.open("rb") as opened:
        info = archive.gettarinfo(fileobj=opened)
        if name.endswith((".pth", "direct_url.json")) and prefix.encode() in opened.read():
            raise Unfit(f"{name} leads to where it was built")
        opened.seek(0)
        info.name, info.type, info.linkname = name, tarfile.REGTYPE, ""
        info.mtime, info.uid, info.gid, info.uname, info.gname = int(info.mtime), 0, 0, "", ""
        info.size = os.fstat(opened.fileno()).st_size  # a hard link's is said to be 0
        archive.addfile(info, opened)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    data, info = text.encode(), tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _about(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> tuple[str, Resolution]:
    if member is None or member.name != _ABOUT or member.size > _ABOUT_MOST_BYTES:
        raise Unfit("it does not say what it is")
    opened = archive.extractfile(member)
    try:
        about = json.loads(opened.read()) if opened else {}
        prefix, resolution = str(about["prefix"]), parse_lock(str(about["lock"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Unfit("it does not say what it is") from error
    if resolution is None or foreign_line(resolution.text, ()):
        raise Unfit("its lock cannot be used")
    return prefix, resolution


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, prefix: Path) -> None:
    """Never through a link, nor over what the machine has made."""
    parts = PurePosixPath(member.name).parts
    if not member.isreg() or not parts or member.name.startswith("/") or ".." in parts or _is_own("/".join(parts)):
        raise Unfit(f"'{member.name[:100]}' does not belong there")
    opened, path = archive.extractfile(member), prefix.joinpath(*parts)
    assert opened is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # uv puts a file of its own among the packages
    mode = 0o755 if member.mode & 0o100 else 0o644
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(file, "wb") as target:
        while chunk := opened.read(_CHUNK):
            target.write(chunk)
    os.utime(path, (member.mtime, member.mtime))  # bytecode holds for a source of this time


def main(arguments: list[str]) -> int:
    """Exit status 0: the file is there. 1: it cannot be packed."""
    layout, key = Layout(Path(arguments[0])), arguments[1]
    try:
        path = pack(layout, key)
    except (Unfit, OSError) as error:
        say(f"Not packed: {error}.")
        return 1
    say(f"Packed: {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
