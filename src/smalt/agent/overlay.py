"""A task's own virtual environment over a shared one: sees all of it, takes every `pip install`, costs milliseconds.

Its interpreter is the shared one's base interpreter; a `.pth` adds the shared site-packages behind its
own, so that what is installed here wins; console scripts are copied with their first line changed, so that
`pip` or `mlflow` run in here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from smalt.agent.failures import SetupError

_NOT_MIRRORED = ("bin", "lib", "lib64", "include", "pyvenv.cfg", "conda-meta")
_NOT_SCRIPTS = ("activate", "deactivate", "Activate", "pydoc.bat", "python")
_VERSION_1 = Path(__file__).parent / "inject" / "version1"


def make_overlay(shared: Path, place: Path) -> Path:
    """Build the overlay at `place` (which must not exist); returns its `bin`. Raises SetupError."""
    configuration = _configuration(shared)
    library = _library(shared)
    base = _base_interpreter(shared, configuration, library.parent.name)
    own = place / "lib" / library.parent.name / "site-packages"
    binaries = place / "bin"
    own.mkdir(parents=True)
    binaries.mkdir()
    (place / "lib64").symlink_to("lib")
    for name in ("python", "python3", library.parent.name):
        (binaries / name).symlink_to(base if name == "python" else "python")
    (place / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n"
        f"version = {configuration.get('version_info') or configuration.get('version', '')}\nprompt = smalt\n"
    )
    # addsitedir, not a plain path line: only it reads the .pth files that are in there.
    (own / "_smalt_shared.pth").write_text(f"import site; site.addsitedir({str(library)!r})\n")
    _copy_scripts(shared, binaries)
    _mirror_data(shared, place)
    return binaries


def see_behind(overlay: Path, other: Path) -> None:
    """What another environment of the same Python has is found there, behind all else. Its .pth files are not read.

    Raises SetupError.
    """
    library = _library(other)
    place = overlay / "lib" / library.parent.name / "site-packages"
    if not place.is_dir():
        raise SetupError(f"The environment {other} is of another Python ({library.parent.name}).")
    (place / "_smalt_tools.pth").write_text(f"{library}\n")  # in the order of their names: behind the shared one


def see_run(overlay: Path) -> None:
    """Scripts for the SDK of version 1 find their run, where that is not installed (`inject/version1`)."""
    (place,) = overlay.glob("lib/python3.*/site-packages")
    (place / "_smalt_version1.pth").write_text(f"{_VERSION_1}\n")  # in the order of their names: behind all others


def jupyter_variables(shared: Path) -> dict[str, str]:
    """Where Jupyter has its files, if it is there: it serves none that is a link, as those of an overlay are."""
    data = shared / "share" / "jupyter"
    return {"JUPYTER_PATH": str(data), "JUPYTERLAB_DIR": str(data / "lab")} if (data / "lab").is_dir() else {}


def _configuration(shared: Path) -> dict[str, str]:
    try:
        lines = (shared / "pyvenv.cfg").read_text().splitlines()
    except OSError as error:
        raise SetupError(
            f"The environment {shared} is not a virtual environment ({error.strerror}: pyvenv.cfg); build it again."
        ) from error
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _library(shared: Path) -> Path:
    found = sorted(shared.glob("lib/python3.*/site-packages"))
    if len(found) != 1:
        raise SetupError(f"The environment {shared} has no site-packages, or several; build it again.")
    return found[0]


def _base_interpreter(shared: Path, configuration: dict[str, str], version: str) -> Path:
    home = configuration.get("home", "")
    for candidate in (Path(home) / version, Path(home) / "python3", Path(os.path.realpath(shared / "bin" / "python"))):
        if candidate.is_absolute() and os.access(candidate, os.X_OK):
            return candidate
    raise SetupError(f"The interpreter of environment {shared} is gone ({home}/{version}); build it again.")


def _copy_scripts(shared: Path, binaries: Path) -> None:
    old, new = os.fsencode(shared / "bin"), os.fsencode(binaries)
    with os.scandir(shared / "bin") as entries:
        for entry in entries:
            if entry.name.startswith(_NOT_SCRIPTS) or not entry.is_file():
                continue
            target = binaries / entry.name
            script = with_interpreter(entry.path, old, new)
            if script is None:
                target.symlink_to(entry.path)
                continue
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
            with os.fdopen(descriptor, "wb") as file:
                file.write(script)


def with_interpreter(path: str, old: bytes, new: bytes) -> bytes | None:
    """The script with the interpreter in `new` in its head; None if it is none, or does not run the one in `old`.

    Two forms of head exist: `#!PYTHON`, and `#!/bin/sh` with `'''exec' "PYTHON" "$0" "$@"` for paths that are long or
    have spaces. The second works for every path, so it is what we write where the first would not.
    """
    if os.stat(path).st_size > 1 << 20:  # noqa: PTH116
        return None
    content = Path(path).read_bytes()
    first, newline, rest = content.partition(b"\n")
    if not first.startswith(b"#!"):
        return None
    if first.startswith(b"#!" + old + b"/python"):
        interpreter, _, options = first[2 + len(old) :].partition(b" ")
        return _head(new + interpreter, options) + rest
    second, _, body = rest.partition(b"\n")
    if first == b"#!/bin/sh" and second.startswith(b"'''exec'") and old in second:
        return first + newline + second.replace(old, new) + b"\n" + body
    return None


def _head(interpreter: bytes, options: bytes) -> bytes:
    plain = b"#!" + interpreter + (b" " + options if options else b"") + b"\n"
    if len(plain) <= 127 and b" " not in interpreter:
        return plain
    return b"#!/bin/sh\n'''exec' \"" + interpreter + b'" ' + options + b' "$0" "$@"\n' + b"' '''\n"


def _mirror_data(shared: Path, place: Path) -> None:
    """`share`, `etc` and the like: real folders, so that installs stay in the overlay, with links to the files."""
    pending = [(one, place / one.name) for one in shared.iterdir() if one.name not in _NOT_MIRRORED and one.is_dir()]
    while pending:
        source, target = pending.pop()
        target.mkdir(exist_ok=True)
        with os.scandir(source) as entries:
            for entry in entries:
                if stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode):
                    pending.append((Path(entry.path), target / entry.name))
                else:
                    (target / entry.name).symlink_to(entry.path)
