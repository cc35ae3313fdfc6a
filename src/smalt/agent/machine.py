"""What a task behind walls sees of the machine: which folders and files, which devices, which way to an interpreter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

# Programs and libraries. Symbolic links among them (`/bin` on a merged `/usr`) stay links.
TOP = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/snap")
# Of `/etc` what libraries read and nothing secret. Accounts and names are written anew.
ETC = (
    *("ssl", "ca-certificates", "ca-certificates.conf", "pki", "crypto-policies", "alternatives"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "locale.conf", "default/locale"),
    *("nsswitch.conf", "resolv.conf", "host.conf", "gai.conf", "services", "protocols", "rpc", "networks"),
    *("os-release", "lsb-release", "debian_version", "redhat-release", "machine-id", "mime.types", "magic"),
    *("fonts", "pip.conf", "gitconfig", "OpenCL", "vulkan", "glvnd", "nvidia", "python3", "java-11-openjdk"),
    *("bash.bashrc", "profile", "inputrc", "terminfo", "skel", "uv", "shells"),
)
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_MOST_LINKS = 40
_SHARED_GPU_DEVICES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


def hops(path: Path) -> tuple[dict[str, str], str]:
    """Each symbolic link on the way to `path` with what it says, and the real path. Raises OSError (ELOOP, ENOENT)."""
    links: dict[str, str] = {}
    passed = 0
    pending, here = [part for part in str(path).split("/") if part], "/"
    while pending:
        part = pending.pop(0)
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120
            continue
        step = os.path.join(here, part)  # noqa: PTH118
        if not stat.S_ISLNK(os.lstat(step).st_mode):
            here = step
            continue
        to = os.readlink(step)  # noqa: PTH115
        links[step] = to
        passed += 1
        if passed > _MOST_LINKS:
            raise OSError(40, os.strerror(40), str(path))
        pending = [one for one in to.split("/") if one and one != "."] + pending
        here = "/" if to.startswith("/") else here
    return links, here


def interpreter(python: Path, hidden: list[str]) -> tuple[dict[str, str], str]:
    """Each link on the way to an interpreter, and the folder that it is installed in. Raises OSError as `hops`.

    Empty where that is the platform's, in `hidden`, or one like `/home`: a package may name any folder as its own.
    """
    links, real = hops(python)
    home = Path(real).parents[1]
    ours = any(home.is_relative_to(one) for one in hidden)
    return links, "" if ours or len(home.parts) <= 2 else str(home)


def gpu_devices(gpus: list[int] | None, dev: Path = Path("/dev")) -> list[str]:
    """Names below `/dev` that a task with these GPUs needs, by minor number; None: all that there are; empty: none."""
    if gpus == []:
        return []
    own = sorted(one.name for one in dev.glob("nvidia[0-9]*")) if gpus is None else [f"nvidia{one}" for one in gpus]
    found = [name for name in (*own, *_SHARED_GPU_DEVICES) if (dev / name).exists()]
    return found + ([f"nvidia-caps/{one.name}" for one in sorted((dev / "nvidia-caps").glob("*"))] if found else [])
